//! TLS to Redis ([`ToRedis`]) and from clients ([`FromClients`]), from PEM files that are read again when they change.
//!
//! Both speak TLS 1.2 and 1.3, without ALPN. What is wrong with a file is told by the configuration's key, what is wrong
//! with a peer's certificate by what to do about it ([`explained`]). Keys never appear in messages.

mod from_clients;
mod renewing;
mod to_redis;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, Error, RootCertStore};
use thiserror::Error as ThisError;

pub use from_clients::{ClientFiles, FromClients};
pub use renewing::follow;
pub use to_redis::{RedisFiles, ToRedis};

/// Why TLS cannot be set up from the files. Names the configuration's key.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} {path} cannot be read: {source}")]
    Read {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file has not what it is for.
    #[error("{key} {path} {what}")]
    Content {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The machine trusts nobody.
    #[error(
        "this system has no certificates of authorities; install them (Debian: ca-certificates) or set redis.tls_ca_file"
    )]
    NoRoots,
}

impl TlsError {
    fn content(key: &'static str, path: &Path, what: impl Into<String>) -> Self {
        Self::Content { key, path: path.to_owned(), what: what.into() }
    }
}

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
}

/// The certificates of a file; at least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(key, path)?).collect();
    let found = found.map_err(|error| TlsError::content(key, path, format!("is not PEM: {error}")))?;
    if found.is_empty() {
        let what = "holds no certificate; a PEM file with BEGIN CERTIFICATE is needed";
        return Err(TlsError::content(key, path, what));
    }
    Ok(found)
}

fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(key, path)?).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound => {
                "holds no key; a PEM file with BEGIN PRIVATE KEY is needed, not encrypted".to_owned()
            }
            error => format!("is not PEM: {error}"),
        };
        TlsError::content(key, path, what)
    })
}

/// The authorities of a file.
fn authorities(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| {
            TlsError::content(key, path, format!("holds a certificate that is none: {error}"))
        })?;
    }
    Ok(roots)
}

/// What is wrong with a certificate and its key, if they do not go together.
fn unfit(keys: &'static str, identity: &Identity, error: &Error) -> TlsError {
    let what = match error {
        Error::InconsistentKeys(_) => {
            format!("does not belong to the key in {}", identity.key.display())
        }
        error => format!("cannot be used with the key in {}: {error}", identity.key.display()),
    };
    TlsError::content(keys, &identity.certificate, what)
}

/// Whether TLS is what failed.
#[must_use]
pub fn is_tls(error: &io::Error) -> bool {
    fault(error).is_some()
}

fn fault(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// An error of a connection to Redis, and what to do about it.
#[must_use]
pub fn explained(error: &io::Error) -> String {
    let Some(fault) = fault(error) else { return error.to_string() };
    let advice = match fault {
        Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                "set redis.tls_ca_file to the certificate of the authority that issued it"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew Redis's certificate, or set this machine's clock right"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "set this machine's clock right"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "set redis.tls_server_name to a name that Redis's certificate has"
            }
            _ => "replace Redis's certificate",
        },
        Error::InvalidMessage(_) => "what answers does not speak TLS: set redis.tls = false, or the TLS port",
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied,
        ) => {
            "Redis asks for a client certificate that it trusts: set redis.tls_certificate_file and redis.tls_key_file"
        }
        _ => return format!("TLS failed: {fault}"),
    };
    format!("TLS failed: {fault}; {advice}")
}
