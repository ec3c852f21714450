//! The little of a response that a client has to know: its status and its length.

use crate::bench::generator::Heard;
use anyhow::{Context, Result, bail};

/// What a response's head says.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) body_bytes: usize,
    /// Its own length.
    bytes: usize,
}

impl Head {
    /// What has become of the input that begins with it: all or nothing.
    pub(super) fn heard(&self, input: &[u8]) -> Heard {
        let whole = self.bytes + self.body_bytes;
        if input.len() < whole {
            return Heard { used: 0, answered: None };
        }
        Heard { used: whole, answered: Some(1) }
    }
}

/// Reads a response's head. `None` while it is not whole. A response without a length, or one behind which the server closes
/// the connection, is an error: nobody who asks here makes a second connection.
pub(super) fn head(input: &[u8]) -> Result<Option<Head>> {
    let (mut status, mut body_bytes, mut bytes) = (None, None, 0);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        bytes += line.len();
        let Some(line) = line.strip_suffix(b"\n") else { return Ok(None) };
        let line = line.strip_suffix(b"\r").context("a line of a response's head ends without CR")?;
        if status.is_none() {
            status = Some(status_of(line)?);
        } else if line.is_empty() {
            let body_bytes = body_bytes.context("a response without Content-Length")?;
            return Ok(status.map(|status| Head { status, body_bytes, bytes }));
        } else if let Some(value) = value_of(line, b"content-length") {
            body_bytes = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
        } else if value_of(line, b"connection")
            .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"close"))
        {
            bail!("the server closes the connection behind a response with {}", status.unwrap_or_default());
        }
    }
    Ok(None)
}

fn status_of(line: &[u8]) -> Result<u16> {
    let digits = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.with_context(|| format!("no response of HTTP/1.1: {:?}", String::from_utf8_lossy(line)))
}

/// The value of a field, if it has this name.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    if !field.eq_ignore_ascii_case(name) { None } else { rest.strip_prefix(b":") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: &[u8] =
        b"HTTP/1.1 429 Too Many Requests\r\nServer: nginx\r\ncontent-LENGTH: 5\r\nRetry-After: 1\r\n\r\nslow\n";

    #[test]
    fn a_response_is_heard_once_it_is_whole() {
        let head_bytes = REFUSAL.len() - 5;
        for cut in 0..REFUSAL.len() {
            let input = &REFUSAL[..cut];
            match head(input).unwrap() {
                None => assert!(cut < head_bytes, "{cut}"),
                Some(head) => {
                    let heard = head.heard(input);
                    assert_eq!((heard.used, heard.answered), (0, None), "{cut}");
                }
            }
        }
        let expected = Head { status: 429, body_bytes: 5, bytes: head_bytes };
        assert_eq!(head(REFUSAL).unwrap(), Some(expected));
        let two = REFUSAL.repeat(2);
        let heard = head(&two).unwrap().unwrap().heard(&two);
        assert_eq!((heard.used, heard.answered), (REFUSAL.len(), Some(1)));
    }

    #[test]
    fn what_cannot_be_counted_is_an_error() {
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Content-Length"),
            ("HTTP/1.1 429 No\r\nContent-Length: five\r\n\r\n", "Content-Length"),
            ("HTTP/1.1 429 No\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", "closes"),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0"),
            ("HTTP/1.1 200 OK\n\n", "CR"),
            ("+PONG\r\n", "PONG"),
        ] {
            let error = head(response.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
