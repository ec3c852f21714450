//! Where a server is: an address or a name, with a port.
//!
//! A name is resolved at each connect, never kept: so a server that moves by DNS, as managed ones do on a failover, is
//! followed. The kernel path is the exception: its programs stand before one server, so there the addresses are fixed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

/// Longest name, by RFC 1035.
const NAME_BYTES_MAX: usize = 253;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// At an address.
    Address(SocketAddr),
    /// Wherever its name leads.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Where its name once led.
    Fixed {
        /// The name.
        host: String,
        /// The addresses, all with the same port; never none.
        addresses: Vec<SocketAddr>,
    },
}

/// What [`Endpoint::from_str`] takes, for messages.
pub const EXPECTED: &str =
    "an address or a name with port, such as 127.0.0.1:6379, [::1]:6379 or cache.example.com:6379";

/// The text is not an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be {EXPECTED}")]
pub struct NoEndpoint;

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(NoEndpoint)?;
        let port = port.parse().map_err(|_| NoEndpoint)?;
        if is_name(host) { Ok(Self::Name { host: host.to_owned(), port }) } else { Err(NoEndpoint) }
    }
}

fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let plain = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // Digits alone at the end are a misspelt address.
    let last = labels.rsplit('.').next().unwrap_or_default();
    host.len() <= NAME_BYTES_MAX
        && labels.split('.').all(plain)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Fixed { host, .. } => write!(f, "{host}:{}", self.port()),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl Endpoint {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
            Self::Fixed { addresses, .. } => addresses.first().map_or(0, SocketAddr::port),
        }
    }

    /// The name, or the address without its port.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Address(address) => address.ip().to_string(),
            Self::Name { host, .. } | Self::Fixed { host, .. } => host.clone(),
        }
    }

    /// Whether it says by itself that it is this machine.
    #[must_use]
    pub fn says_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().is_loopback() || address.ip().is_unspecified(),
            Self::Name { host, .. } | Self::Fixed { host, .. } => host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Its addresses now; never none.
    ///
    /// # Errors
    /// If the name leads nowhere.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match self {
            Self::Address(address) => return Ok(vec![*address]),
            Self::Name { host, port } => (host.as_str(), *port),
            Self::Fixed { addresses, .. } => return Ok(addresses.clone()),
        };
        let told = |why: &dyn fmt::Display| format!("{host} cannot be resolved: {why}");
        let found = lookup_host((host, port)).await;
        let addresses: Vec<_> = found.map_err(|error| io::Error::new(error.kind(), told(&error)))?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, told(&"it has no address")));
        }
        Ok(addresses)
    }

    /// This one, with the addresses that it has now.
    #[must_use]
    pub fn fixed(&self, addresses: Vec<SocketAddr>) -> Self {
        match self {
            Self::Name { host, .. } if !addresses.is_empty() => Self::Fixed { host: host.clone(), addresses },
            _ => self.clone(),
        }
    }

    /// Connects to the first of its addresses that answers, within `limit`: each gets its share of the time, so one that
    /// is silent does not hide the others.
    ///
    /// # Errors
    /// If the name leads nowhere or none of its addresses answers; the error names what was tried last.
    pub async fn connect(&self, limit: Duration) -> io::Result<TcpStream> {
        self.connect_by(limit, TcpStream::connect).await
    }

    /// Likewise; `open` opens the connection to an address.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_by<F: Future<Output = io::Result<TcpStream>>>(
        &self,
        limit: Duration,
        open: impl Fn(SocketAddr) -> F,
    ) -> io::Result<TcpStream> {
        let deadline = Instant::now() + limit;
        let resolved = timeout_at(deadline, self.resolve()).await;
        let slow =
            || io::Error::new(io::ErrorKind::TimedOut, format!("{self} was not resolved in {limit:?}"));
        let addresses = resolved.map_err(|_| slow())??;
        let mut failed = None;
        for (at, address) in addresses.iter().enumerate() {
            let left = (addresses.len() - at) as u32;
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let connected = timeout(share, open(*address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                // Which of a name's addresses it was is worth a word.
                Err(error) if matches!(self, Self::Address(_)) => failed = Some(error),
                Err(error) => failed = Some(io::Error::new(error.kind(), format!("{address}: {error}"))),
            }
        }
        Err(failed.unwrap_or_else(slow))
    }
}

/// Whether this network namespace has the address.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        for text in ["127.0.0.1:6379", "[::1]:6379"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert!(matches!(endpoint, Endpoint::Address(_)) && endpoint.says_local(), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
        for text in ["cache.example.com:6379", "redis:1", "a_b.c-d.:80", "localhost:6379"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert!(matches!(endpoint, Endpoint::Name { .. }), "{text}");
            assert_eq!(endpoint.says_local(), text.starts_with("localhost"), "{text}");
            assert_eq!(endpoint.to_string(), text);
        }
        let long = format!("{}:1", "a".repeat(254));
        for text in
            ["", "redis", ":6379", "redis:", "redis:x", "redis:65536", "300.1.2.3:1", "a b:1", "::1:1", &long]
        {
            assert_eq!(text.parse::<Endpoint>(), Err(NoEndpoint), "{text}");
        }
    }

    #[test]
    fn local_addresses_are_known() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()), local, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_whichever_address_answers() {
        // `localhost` may be ::1 first, where nobody listens.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Endpoint::Name { host: "localhost".into(), port };
        let stream = endpoint.connect(Duration::from_secs(2)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        let fixed = endpoint.fixed(endpoint.resolve().await.unwrap());
        assert_eq!((fixed.to_string(), fixed.port()), (endpoint.to_string(), port));
        fixed.connect(Duration::from_secs(2)).await.unwrap();
        drop(listener);
        let error = endpoint.connect(Duration::from_secs(2)).await.unwrap_err();
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_is_named() {
        let endpoint: Endpoint = "nosuch.invalid:6379".parse().unwrap();
        let error = endpoint.connect(Duration::from_secs(10)).await.unwrap_err();
        assert!(error.to_string().contains("nosuch.invalid"), "{error}");
    }
}
