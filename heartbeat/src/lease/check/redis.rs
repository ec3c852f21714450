//! PING, with AUTH in front of it where there is a password.

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::encode;
use redis_protocol::resp2::types::{OwnedFrame as Frame, Resp2Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Failure;
use crate::lease::place::Link;
use crate::lease::secret::Secret;

/// Longest answer that is read, in bytes. An error takes some dozens.
const ANSWER_BYTES_MAX: usize = 4096;

/// Asks on a new connection, as a client would.
pub(super) async fn ask(
    mut link: Box<dyn Link>,
    username: &str,
    password: Option<&Secret>,
) -> Result<(), Failure> {
    let mut requests = Vec::new();
    if let Some(password) = password {
        let user = Some(username).filter(|user| !user.is_empty());
        let words = ["AUTH"].into_iter().chain(user).chain([password.reveal()]);
        append(&mut requests, words)?;
    }
    append(&mut requests, ["PING"])?;
    link.write_all(&requests).await?;
    let mut received = Vec::new();
    if password.is_some() {
        expect(&mut link, &mut received, b"OK").await?;
    }
    expect(&mut link, &mut received, b"PONG").await
}

fn append<'w>(requests: &mut Vec<u8>, words: impl IntoIterator<Item = &'w str>) -> Result<(), Failure> {
    let words = words.into_iter().map(|word| Frame::BulkString(word.as_bytes().to_vec())).collect();
    let frame = Frame::Array(words);
    let at = requests.len();
    requests.resize(at + frame.encode_len(false), 0);
    // It was measured, and is plain text.
    encode(&mut requests[at..], &frame, false).map_err(|_| Failure::NotRedis)?;
    Ok(())
}

/// Reads one answer, which must be this word.
async fn expect(link: &mut Box<dyn Link>, received: &mut Vec<u8>, word: &[u8]) -> Result<(), Failure> {
    loop {
        if let Some((answer, bytes)) = decode(received).map_err(|_| Failure::NotRedis)? {
            received.drain(..bytes);
            return match answer {
                Frame::SimpleString(text) if text == word => Ok(()),
                Frame::Error(text) => Err(Failure::Refused(text)),
                _ => Err(Failure::NotRedis),
            };
        }
        if received.len() > ANSWER_BYTES_MAX {
            return Err(Failure::NotRedis);
        }
        if link.read_buf(received).await? == 0 {
            return Err(Failure::Closed);
        }
    }
}
