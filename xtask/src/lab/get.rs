//! One HTTP request, for what servers and sidecars say about themselves.

use super::Place;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The body of the answer; anything but 200 is an error.
pub(crate) fn get(place: &Place, address: SocketAddr, path: &str) -> Result<String> {
    place.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
            .with_context(|| format!("{address} does not answer"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: xps\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        body(&reply).with_context(|| format!("GET {path}"))
    })
}

fn body(reply: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP reply")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{}: {}", head.lines().next().unwrap_or_default(), body.trim());
    }
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok(body.to_owned());
    }
    let mut rest = body;
    let mut whole = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).context("bad chunk")?;
        if size == 0 {
            break;
        }
        whole.push_str(tail.get(..size).context("short chunk")?);
        rest = tail.get(size + 2..).unwrap_or_default();
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_and_chunked_bodies() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}").unwrap(), "{}");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), "{} ");
        assert!(body(b"HTTP/1.1 503 Service Unavailable\r\n\r\nnot yet").is_err());
    }
}
