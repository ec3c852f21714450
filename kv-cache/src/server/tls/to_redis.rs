//! TLS to Redis.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::renewing::Renewing;
use super::{Identity, TlsError, authorities, certificates, private_key, provider, unfit};

/// What the configuration says of TLS to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisFiles {
    /// The authorities; without it the system's.
    pub authorities: Option<PathBuf>,
    /// The client certificate.
    pub identity: Option<Identity>,
}

/// TLS to Redis.
pub struct ToRedis {
    files: RedisFiles,
    name: ServerName<'static>,
    config: Renewing<ClientConfig>,
}

impl ToRedis {
    /// Reads the files. `name` is what Redis's certificate must be for.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(files: RedisFiles, name: ServerName<'static>) -> Result<Self, TlsError> {
        let identity = files.identity.as_ref().map(|identity| [&identity.certificate, &identity.key]);
        let read = files.authorities.iter().chain(identity.into_iter().flatten()).cloned().collect();
        let from = files.clone();
        Ok(Self { files, name, config: Renewing::new(read, move || client_config(&from))? })
    }

    /// Reads the files again if they have changed; on an error the old ones go on. Whether they had. Connections that there
    /// are stay as they are.
    ///
    /// # Errors
    /// What is wrong with the new ones.
    pub fn look(&self) -> Result<bool, TlsError> {
        self.config.renew_if_changed()
    }

    /// The handshake. The caller limits its time.
    ///
    /// # Errors
    /// If it fails; [`super::explained`] says what to do.
    pub async fn handshake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.config.current());
        Ok(connector.connect(self.name.clone(), tcp).await?.into())
    }
}

/// By what the configuration says: what the files hold is read again anyway.
impl PartialEq for ToRedis {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, &self.name) == (&other.files, &other.name)
    }
}

impl Eq for ToRedis {}

impl fmt::Debug for ToRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToRedis")
            .field("files", &self.files)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn client_config(files: &RedisFiles) -> Result<ClientConfig, TlsError> {
    let roots = match &files.authorities {
        Some(path) => authorities("redis.tls_ca_file", path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let Some(identity) = &files.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("redis.tls_certificate_file", &identity.certificate)?;
    let key = private_key("redis.tls_key_file", &identity.key)?;
    let made = builder.with_client_auth_cert(chain, key);
    made.map_err(|error| unfit("redis.tls_certificate_file", identity, &error))
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Of the system's certificates some may be of a form that is not understood; the others serve.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}
