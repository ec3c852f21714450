//! The protocol that client and server speak: messages with a number, so that each is told from every other, and with
//! bytes that follow from it, so that any byte out of place is found.
//!
//! `<kind><key><id>[.<version>]:<length>:<body>\n`

use crate::random::mix;

pub const KEYS: usize = 4;

/// A request that may be answered by the stack; one that may not; one with a long reply; and the last one, behind
/// whose reply the server closes.
pub const GET: u8 = b'g';
pub const SET: u8 = b's';
pub const BIG: u8 = b'b';
pub const QUIT: u8 = b'q';
/// Requests that must not reach the server, which the stack ends the connection for: with last words, with a reset, and
/// without any word.
pub const CLOSE: u8 = b'c';
pub const RESET: u8 = b'r';
pub const SILENCE: u8 = b'z';

/// Whether a request must not reach the server.
pub fn is_refused(kind: u8) -> bool {
    matches!(kind, CLOSE | RESET | SILENCE)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub key: usize,
    pub id: u32,
    pub version: Option<u32>,
    pub body: usize,
}

impl Message {
    /// The reply to a request while its key is at `version`.
    pub fn reply(&self, version: u32, longest: usize) -> Self {
        let seed = mix(u64::from(version) << 32 | self.key as u64) as usize;
        let body = match self.kind {
            BIG => seed % 9000,
            GET | CLOSE if seed.is_multiple_of(8) => seed / 8 % longest,
            GET | CLOSE => seed / 8 % 100,
            _ => 2,
        };
        Self { version: Some(version), body, ..*self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind, b'0' + self.key as u8];
        bytes.extend_from_slice(self.id.to_string().as_bytes());
        if let Some(version) = self.version {
            bytes.push(b'.');
            bytes.extend_from_slice(version.to_string().as_bytes());
        }
        bytes.extend_from_slice(format!(":{}:", self.body).as_bytes());
        bytes.extend((0..self.body).map(|at| self.byte(at)));
        bytes.push(b'\n');
        bytes
    }

    fn byte(&self, at: usize) -> u8 {
        mix(u64::from(self.id) << 32 | u64::from(self.version.unwrap_or(77)) << 16 | at as u64) as u8
    }
}

/// Takes the first message off `bytes`; `None` if it is not whole yet.
pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Message>, String> {
    let wrong = |what: &str, bytes: &[u8]| {
        Err(format!("{what} in {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)])))
    };
    let mut parts = bytes.splitn(3, |byte| *byte == b':');
    let (Some(head), Some(length), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return if bytes.len() > 64 { wrong("no header", bytes) } else { Ok(None) };
    };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u32>().ok());
    if head.len() < 3
        || !matches!(head[0], GET | SET | BIG | QUIT | CLOSE | RESET | SILENCE)
        || !(b'0'..=b'8').contains(&head[1])
    {
        return wrong("a bad header", bytes);
    }
    let mut numbers = head[2..].splitn(2, |byte| *byte == b'.');
    let id = numbers.next().and_then(number);
    let version = numbers.next().map(number);
    let (Some(id), Some(body)) = (id, number(length)) else { return wrong("a bad number", bytes) };
    if version == Some(None) || body > 20_000 {
        return wrong("a bad number", bytes);
    }
    let message = Message {
        kind: head[0],
        key: usize::from(head[1] - b'0'),
        id,
        version: version.flatten(),
        body: body as usize,
    };
    if rest.len() <= message.body {
        return Ok(None);
    }
    let whole = message.bytes();
    if bytes[..whole.len()] != whole {
        return wrong("bytes of another message", bytes);
    }
    bytes.drain(..whole.len());
    Ok(Some(message))
}
