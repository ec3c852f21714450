//! Asks a running sidecar by its admin interface: what `kv-cache status` and the other commands do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::telling::address::Address;
use crate::telling::status::Status;
use crate::telling::top::View;

/// How long the sidecar may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a running sidecar for its status.
///
/// # Errors
/// If there is none at `address`, or it answers something else.
pub fn status(address: impl Into<Address>) -> Result<Status> {
    let address = address.into();
    let body = expect_ok(&address, ask(&address, "GET", "/status")?)?;
    serde_json::from_str(&body).with_context(|| format!("{address} is not kv-cache's admin address"))
}

/// Asks a running sidecar for the keys that are asked for most. Takes a moment if nobody asked just before.
///
/// # Errors
/// Like [`status`].
pub fn top(address: &Address) -> Result<View> {
    let body = expect_ok(address, ask(address, "GET", "/top")?)?;
    serde_json::from_str(&body).with_context(|| format!("{address} is not kv-cache's admin address"))
}

/// Asks a running sidecar to do something: `flush`, `enable`, `disable`, `reload`. What it says of it.
///
/// # Errors
/// If there is none at `address`, or it refuses; with its reasons.
pub fn act(address: &Address, action: &str) -> Result<String> {
    expect_ok(address, ask(address, "POST", &format!("/{action}"))?)
}

/// A sidecar's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status code.
    pub code: u16,
    /// What it says.
    pub body: String,
}

fn expect_ok(address: &Address, answer: Answer) -> Result<String> {
    match answer.code {
        200 => Ok(answer.body),
        404 => bail!("{address} does not know how to; is it this version of kv-cache?"),
        _ => bail!("{}", answer.body.trim_end()),
    }
}

/// One request and its answer.
///
/// # Errors
/// If nobody answers at `address`, or not by HTTP.
pub fn ask(address: &Address, method: &str, path: &str) -> Result<Answer> {
    let nobody = || {
        format!(
            "no kv-cache answers at {address}; is it running in this network namespace? --admin names another address"
        )
    };
    match address {
        Address::Tcp(tcp) => {
            let stream = TcpStream::connect_timeout(tcp, PATIENCE).with_context(nobody)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, &tcp.to_string(), method, path)
        }
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket).with_context(nobody)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, "localhost", method, path)
        }
    }
    .with_context(|| format!("asking {address} for {path}"))
}

fn exchange(mut stream: impl Read + Write, host: &str, method: &str, path: &str) -> Result<Answer> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Kv-Cache: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer is not HTTP")?;
    Ok(Answer { code, body: body.to_owned() })
}
