//! Asks a running sidecar by its admin interface: what `status` and the other commands do.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Owner;
use super::address::Address;

/// How long the sidecar may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no {service} answers at {address}; is it running in this network namespace? --admin names another address"
    )]
    Nobody {
        /// Which service.
        service: &'static str,
        /// Where it was looked for.
        address: Address,
        /// The system's answer.
        source: io::Error,
    },
    /// The connection broke.
    #[error("asking {address} for {path}")]
    Broken {
        /// Who was asked.
        address: Address,
        /// For what.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else is there.
    #[error("{address} is not {service}'s admin address")]
    Stranger {
        /// Which service.
        service: &'static str,
        /// Who was asked.
        address: Address,
    },
    /// It is there, but of another version.
    #[error("{address} does not know how to; is it this version of {service}?")]
    Unknown {
        /// Which service.
        service: &'static str,
        /// Who was asked.
        address: Address,
    },
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

/// A sidecar's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status code.
    pub code: u16,
    /// What it says.
    pub body: String,
}

impl Owner {
    /// One request and its answer.
    ///
    /// # Errors
    /// If nobody answers at `address`, or not by HTTP.
    pub fn ask(&self, address: &Address, method: &str, path: &str) -> Result<Answer, ClientError> {
        let nobody = |source| ClientError::Nobody { service: self.name, address: address.clone(), source };
        let answer = match address {
            Address::Tcp(tcp) => {
                let stream = TcpStream::connect_timeout(tcp, PATIENCE).map_err(nobody)?;
                let exchange = || {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    self.exchange(&stream, &tcp.to_string(), method, path)
                };
                exchange()
            }
            Address::Unix(socket) => {
                let stream = UnixStream::connect(socket).map_err(nobody)?;
                let exchange = || {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    self.exchange(&stream, "localhost", method, path)
                };
                exchange()
            }
        };
        answer.map_err(|source| ClientError::Broken {
            address: address.clone(),
            path: path.to_owned(),
            source,
        })
    }

    /// Asks for something that a request gives; its text.
    ///
    /// # Errors
    /// If there is none at `address`, or it refuses; with its reasons.
    pub fn get(&self, address: &Address, path: &str) -> Result<String, ClientError> {
        self.expect_ok(address, self.ask(address, "GET", path)?)
    }

    /// Asks for something that `read` reads from the text that a request gives.
    ///
    /// # Errors
    /// If there is none at `address`, or it refuses, or it says something else.
    pub fn get_as<T, E>(
        &self,
        address: &Address,
        path: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ClientError> {
        let text = self.get(address, path)?;
        read(&text).map_err(|_| ClientError::Stranger { service: self.name, address: address.clone() })
    }

    /// Asks a running sidecar to do something, such as `reload`. What it says of it.
    ///
    /// # Errors
    /// If there is none at `address`, or it refuses; with its reasons.
    pub fn act(&self, address: &Address, action: &str) -> Result<String, ClientError> {
        self.expect_ok(address, self.ask(address, "POST", &format!("/{action}"))?)
    }

    fn expect_ok(&self, address: &Address, answer: Answer) -> Result<String, ClientError> {
        match answer.code {
            200 => Ok(answer.body),
            404 => Err(ClientError::Unknown { service: self.name, address: address.clone() }),
            _ => Err(ClientError::Refused(answer.body.trim_end().to_owned())),
        }
    }

    fn exchange(
        &self,
        mut stream: impl Read + Write,
        host: &str,
        method: &str,
        path: &str,
    ) -> io::Result<Answer> {
        let header = self.header;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{header}: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let other = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(other)?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(other)?;
        Ok(Answer { code, body: body.to_owned() })
    }
}
