//! Where an application listens that is checked.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use xps_runtime::endpoint::Endpoint;

/// What [`Place::from_str`] takes, for messages.
pub(super) const EXPECTED: &str =
    "an address or a name with port, such as 127.0.0.1:6379, or a unix socket, such as unix:/run/redis.sock";

/// What [`Url::from_str`] takes, for messages.
pub(super) const URL_EXPECTED: &str = "a URL such as http://127.0.0.1:8080/health, without user and password";

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a port.
    Tcp(Endpoint),
    /// To a unix socket.
    Unix(PathBuf),
}

/// A connection.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(EXPECTED),
            None => text.parse().map(Self::Tcp).map_err(|_| EXPECTED),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => write!(f, "{endpoint}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Place {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// If nothing listens there.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Box<dyn Link>> {
        match self {
            Self::Tcp(endpoint) => {
                let stream = endpoint.connect(limit).await?;
                stream.set_nodelay(true)?;
                // Many checks a second would fill the ports of this host with connections in TIME_WAIT. A reset ends them at
                // once, and nothing that was sent is of any more use then.
                stream.set_zero_linger()?;
                Ok(Box::new(stream))
            }
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }
}

/// What is asked for by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Who is asked.
    pub(super) place: Place,
    /// The field `Host`.
    pub(super) host: String,
    /// The path, with its query.
    pub(super) path: String,
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| URL_EXPECTED)?;
        let authority = uri.authority().ok_or(URL_EXPECTED)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(URL_EXPECTED);
        }
        // What `port` gives is also nothing where there is a wrong one.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => ":80",
            port => port.ok_or(URL_EXPECTED)?,
        };
        let endpoint = format!("{}{port}", authority.host()).parse().map_err(|_| URL_EXPECTED)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { place: Place::Tcp(endpoint), host: authority.to_string(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        for text in ["127.0.0.1:6379", "[::1]:6379", "redis:6379", "unix:/run/redis.sock"] {
            assert_eq!(text.parse::<Place>().expect("a place").to_string(), text);
        }
        for text in ["", "6379", "unix:", "unix:redis.sock", "/run/redis.sock"] {
            assert_eq!(text.parse::<Place>(), Err(EXPECTED), "{text}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        for (text, place, host, path) in [
            ("http://127.0.0.1:8080/health?x=1", "127.0.0.1:8080", "127.0.0.1:8080", "/health?x=1"),
            ("http://[::1]/", "[::1]:80", "[::1]", "/"),
            ("http://orders.internal", "orders.internal:80", "orders.internal", "/"),
        ] {
            let url: Url = text.parse().expect("a URL");
            assert_eq!(
                (url.place.to_string().as_str(), url.host.as_str(), url.path.as_str()),
                (place, host, path)
            );
        }
        for text in [
            "",
            "/health",
            "127.0.0.1:80",
            "https://a/",
            "http://u:p@a/",
            "http://",
            "http:///x",
            "http://a:/",
            "http://a:99999/",
        ] {
            assert_eq!(text.parse::<Url>(), Err(URL_EXPECTED), "{text}");
        }
    }
}
