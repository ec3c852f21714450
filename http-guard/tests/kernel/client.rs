//! A client that speaks HTTP/1 byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::PATIENCE;
use crate::namespace::Place;

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A connection from a place to an address.
    pub(crate) fn connect(place: &Place, to: SocketAddr) -> Result<Self> {
        let stream = place.run(|| Ok(TcpStream::connect_timeout(&to, PATIENCE)?));
        Self::over(stream.with_context(|| format!("connecting to {to}"))?)
    }

    /// A connection that the client opens with MPTCP, which the stack leaves to the proxy.
    pub(crate) fn multipath(place: &Place, to: SocketAddr) -> Result<Self> {
        let stream = place.run(|| {
            let protocol = Protocol::from(libc::IPPROTO_MPTCP);
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol))
                .context("no socket of MPTCP (CONFIG_MPTCP, net.mptcp.enabled)")?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok(TcpStream::from(socket))
        });
        Self::over(stream.with_context(|| format!("connecting to {to} with MPTCP"))?)
    }

    /// Takes a connected stream.
    pub(crate) fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &str) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_bytes())?)
    }

    /// Sends a request without a body, and reads its response.
    pub(crate) fn get(&mut self, path: &str) -> Result<Response> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: guard.test\r\n\r\n"))?;
        self.response().with_context(|| format!("the response to GET {path}"))
    }

    /// Reads a response.
    pub(crate) fn response(&mut self) -> Result<Response> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.read[..end].to_vec())?;
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status line: {line:?}"))?;
        let fields: Option<Vec<_>> = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        let fields = fields.with_context(|| format!("no fields: {head:?}"))?;
        let mut response = Response { status, fields, body: String::new() };
        let length: usize = response.field("content-length").context("no Content-Length")?.parse()?;
        while self.read.len() < end + length {
            self.more()?;
        }
        response.body = String::from_utf8(self.read[end..end + length].to_vec())?;
        self.read.drain(..end + length);
        Ok(response)
    }

    fn more(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes)?;
        ensure!(read != 0, "the end after {:?}", String::from_utf8_lossy(&self.read));
        self.read.extend_from_slice(&bytes[..read]);
        Ok(())
    }

    /// Reads a response if there is one before the connection ends, which it must within `limit`.
    pub(crate) fn last_response(&mut self, limit: Duration) -> Result<Option<Response>> {
        self.stream.set_read_timeout(Some(limit))?;
        let response = self.response();
        if let Ok(response) = response {
            self.ended(limit).with_context(|| format!("after {response:?}"))?;
            return Ok(Some(response));
        }
        ensure!(self.read.is_empty(), "half a response: {:?}", String::from_utf8_lossy(&self.read));
        self.ended(limit)?;
        Ok(None)
    }

    /// Checks that the connection ends within `limit`, with nothing more.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(limit))?;
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Ok(more) => bail!("{more} bytes more instead of an end"),
            Err(error) => Err(error).context("no end"),
        }
    }
}
