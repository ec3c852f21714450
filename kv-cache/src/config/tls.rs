//! The configuration of TLS, on both sides. Files are read at once: what is wrong with them is a mistake like others.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use xps_runtime::config::{Reader, Section};
use xps_runtime::endpoint::Endpoint;

use crate::server::tls::{ClientFiles, FromClients, Identity, RedisFiles, TlsError, ToRedis};

/// Clients that come with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    /// The port they come to.
    pub port: u16,
    /// How they are accepted.
    pub clients: Arc<FromClients>,
}

/// TLS to Redis at `address`, if it is asked for.
pub(super) fn to_redis(reader: &mut Reader, address: &Endpoint) -> Option<Arc<ToRedis>> {
    let mut section = reader.section("redis");
    let wanted = section.boolean("tls", false);
    let authorities = path(&mut section, "tls_ca_file");
    let name = section.string("tls_server_name", "");
    let certificate = path(&mut section, "tls_certificate_file");
    let key = path(&mut section, "tls_key_file");
    let of_tls = ["tls_ca_file", "tls_server_name", "tls_certificate_file", "tls_key_file"];
    if !wanted {
        let given: Vec<_> = of_tls.into_iter().filter(|key| section.is_given(key)).collect();
        for key in given {
            reader.mistake("redis", key, format!("redis.{key} means nothing without redis.tls = true"));
        }
        return None;
    }
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (certificate, _) => {
            let (given, missing) = match certificate {
                Some(_) => ("tls_certificate_file", "tls_key_file"),
                None => ("tls_key_file", "tls_certificate_file"),
            };
            reader.mistake("redis", given, format!("redis.{given} needs redis.{missing} as well"));
            return None;
        }
    };
    let (named_by, name) =
        if name.is_empty() { ("address", address.host()) } else { ("tls_server_name", name) };
    // A name may end in a dot, which no certificate does.
    let Ok(name) = ServerName::try_from(name.trim_end_matches('.').to_owned()) else {
        let message = format!("redis.{named_by} has no name that a certificate could be for: {name:?}");
        reader.mistake("redis", named_by, message);
        return None;
    };
    let made = ToRedis::new(RedisFiles { authorities, identity }, name);
    made.map_err(|error| told(reader, "redis", "tls", &error)).ok().map(Arc::new)
}

/// The listener for clients with TLS, if there is to be one.
pub(super) fn listener(reader: &mut Reader) -> Option<TlsListener> {
    let mut section = reader.section("tls");
    let port = section.integer("port", 0, 1..=u16::MAX);
    let certificate = path(&mut section, "certificate_file");
    let key = path(&mut section, "key_file");
    let client_authorities = path(&mut section, "client_ca_file");
    let given = section.is_given("port");
    if !given {
        let others = ["certificate_file", "key_file", "client_ca_file"];
        let without: Vec<_> = others.into_iter().filter(|key| section.is_given(key)).collect();
        for key in without {
            reader.mistake("tls", key, format!("tls.{key} means nothing without tls.port"));
        }
        return None;
    }
    let (Some(certificate), Some(key)) = (certificate, key) else {
        reader.mistake("tls", "port", "tls.port needs tls.certificate_file and tls.key_file");
        return None;
    };
    let files = ClientFiles { identity: Identity { certificate, key }, client_authorities };
    let made = FromClients::new(files).map_err(|error| told(reader, "tls", "port", &error)).ok();
    made.map(|clients| TlsListener { port, clients: Arc::new(clients) })
}

fn path(section: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    Some(section.string(key, "")).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where the error belongs: at the key that it names, or at `otherwise`.
fn told(reader: &mut Reader, section: &str, otherwise: &str, error: &TlsError) {
    let key = match error {
        TlsError::Read { key, .. } | TlsError::Content { key, .. } => key.split_once('.').map(|(_, key)| key),
        TlsError::NoRoots => None,
    };
    reader.mistake(section, key.unwrap_or(otherwise), error.to_string());
}
