//! Where the admin interface is: an address with port, or a unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// What stands before the path of a unix socket.
const UNIX: &str = "unix:";

/// Longest path of a unix socket, in bytes (`sun_path` of unix(7), with its end).
const PATH_BYTES_MAX: usize = 107;

/// What an address looks like, for messages.
pub const EXPECTED: &str = "an address with port, such as 127.0.0.1:9180, or a unix socket with its whole path, such as unix:/run/sidecar.sock";

/// An address of the admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') && path.len() <= PATH_BYTES_MAX => {
                Ok(Self::Unix(path.into()))
            }
            Some(_) => Err(EXPECTED),
            None => text.parse().map(Self::Tcp).map_err(|_| EXPECTED),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Address {
    /// The address with port, if it is one.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["127.0.0.1:9180", "[::1]:9180", "unix:/run/sidecar.sock"] {
            assert_eq!(text.parse::<Address>().expect("an address").to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(PATH_BYTES_MAX));
        for text in ["", "9180", "localhost:9180", "unix:", "unix:sidecar.sock", "/run/sidecar.sock", &long] {
            assert_eq!(text.parse::<Address>(), Err(EXPECTED), "{text}");
        }
    }
}
