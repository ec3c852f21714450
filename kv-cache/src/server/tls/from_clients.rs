//! TLS from clients.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::renewing::Renewing;
use super::{Identity, TlsError, authorities, certificates, private_key, provider, unfit};

/// What the configuration says of TLS from clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// This side's certificate.
    pub identity: Identity,
    /// The authorities of client certificates; with it, clients must have one.
    pub client_authorities: Option<PathBuf>,
}

/// TLS from clients.
pub struct FromClients {
    files: ClientFiles,
    config: Renewing<ServerConfig>,
}

impl FromClients {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(files: ClientFiles) -> Result<Self, TlsError> {
        let Identity { certificate, key } = &files.identity;
        let read = [certificate, key].into_iter().chain(&files.client_authorities).cloned().collect();
        let from = files.clone();
        Ok(Self { files, config: Renewing::new(read, move || server_config(&from))? })
    }

    /// The handshake. The caller limits its time.
    ///
    /// # Errors
    /// If it fails.
    pub async fn handshake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        Ok(TlsAcceptor::from(self.config.current()).accept(tcp).await?.into())
    }

    /// Reads the files again if they have changed; on an error the old ones go on. Whether they had. Connections that there
    /// are stay as they are.
    ///
    /// # Errors
    /// What is wrong with the new ones.
    pub fn look(&self) -> Result<bool, TlsError> {
        self.config.renew_if_changed()
    }
}

/// By what the configuration says: what the files hold is read again anyway.
impl PartialEq for FromClients {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for FromClients {}

impl fmt::Debug for FromClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromClients").field("files", &self.files).finish_non_exhaustive()
    }
}

fn server_config(files: &ClientFiles) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3");
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            const KEY: &str = "tls.client_ca_file";
            let roots = Arc::new(authorities(KEY, path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            let unusable =
                |error| TlsError::content(KEY, path, format!("cannot be used to verify clients: {error}"));
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
    };
    let chain = certificates("tls.certificate_file", &files.identity.certificate)?;
    let key = private_key("tls.key_file", &files.identity.key)?;
    let made = builder.with_single_cert(chain, key);
    made.map_err(|error| unfit("tls.certificate_file", &files.identity, &error))
}
