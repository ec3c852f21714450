//! What comes on the tracking connection ([`crate::coherence::tracking`]): invalidations, and answers to questions. Sans-IO.

use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::OwnedFrame as Frame;

use crate::coherence::push::{Push, Step};
use crate::server::redis::{ANSWER_BYTES_MAX, RedisError};

/// How many bytes are received at once, and kept of pushes. An answer is kept until it is whole.
const RECEIVE_BYTES: usize = 32 << 10;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The key with this hash may have changed.
    Changed(u64),
    /// Any key may have changed.
    All,
    /// An answer to a question.
    Answer(Answer),
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A text.
    Text(String),
    /// An error.
    Error(String),
    /// Something else.
    Other,
}

/// Reads messages out of a stream, in their order: an answer comes behind the keys of the pushes before it.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Bytes that were received and are not read yet.
    pub(crate) received: Vec<u8>,
    at: usize,
    /// The push that they go on with.
    push: Option<Push>,
    secret: [u64; 2],
}

impl Reader {
    /// A stream's beginning. `secret` is that of the keys' hashes.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        Self { received: Vec::with_capacity(RECEIVE_BYTES), at: 0, push: None, secret }
    }

    /// The next message; `None` when more must be received for it.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, RedisError> {
        loop {
            let mut unread = &self.received[self.at..];
            let message = if let Some(push) = &mut self.push {
                let step = push.next(&mut unread)?;
                self.at = self.received.len() - unread.len();
                match step {
                    Step::Changed(hash) => Some(Message::Changed(hash)),
                    Step::All => Some(Message::All),
                    Step::More => None,
                    Step::End => {
                        self.push = None;
                        continue;
                    }
                }
            } else if unread.first() == Some(&b'>') {
                self.at += 1;
                self.push = Some(Push::new(self.secret));
                continue;
            } else {
                let decoded = decode(unread).map_err(|error| RedisError::Protocol(error.to_string()))?;
                decoded.map(|(frame, length)| {
                    self.at += length;
                    message(frame)
                })
            };
            if message.is_none() {
                self.make_room()?;
            }
            return Ok(message);
        }
    }

    fn make_room(&mut self) -> Result<(), RedisError> {
        self.received.drain(..self.at);
        self.at = 0;
        if self.received.len() > ANSWER_BYTES_MAX {
            return Err(RedisError::Protocol(format!("larger than {ANSWER_BYTES_MAX} bytes")));
        }
        if self.received.is_empty() {
            // What a long answer has taken.
            self.received.shrink_to(RECEIVE_BYTES);
        }
        Ok(())
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        // One that is hidden behind attributes, which no server sends.
        Frame::Push { .. } => Message::All,
        Frame::SimpleString { data, .. }
        | Frame::BlobString { data, .. }
        | Frame::VerbatimString { data, .. } => {
            Message::Answer(Answer::Text(String::from_utf8_lossy(&data).into_owned()))
        }
        Frame::SimpleError { data, .. } => Message::Answer(Answer::Error(data)),
        Frame::BlobError { data, .. } => {
            Message::Answer(Answer::Error(String::from_utf8_lossy(&data).into_owned()))
        }
        _ => Message::Answer(Answer::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::store::key_hash;

    const SECRET: [u64; 2] = [3, 5];

    fn take(reader: &mut Reader) -> Vec<Message> {
        std::iter::from_fn(|| reader.next().expect("RESP3")).collect()
    }

    /// Receives as much as there is room for, as from a socket, and gives what is left.
    fn receive<'a>(reader: &mut Reader, bytes: &'a [u8]) -> &'a [u8] {
        let room = (reader.received.capacity() - reader.received.len()).max(1);
        let (now, rest) = bytes.split_at(room.min(bytes.len()));
        reader.received.extend_from_slice(now);
        rest
    }

    fn changed(key: &[u8]) -> Message {
        Message::Changed(key_hash(SECRET, key))
    }

    fn text(text: &str) -> Message {
        Message::Answer(Answer::Text(text.into()))
    }

    #[test]
    fn answers_keep_their_place_among_invalidations() {
        let bytes = b"+PONG\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n$2\r\n>2\r\n\
            >2\r\n$10\r\ninvalidate\r\n_\r\n+OK\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n-ERR no\r\n:1\r\n\
            |1\r\n+a\r\n+b\r\n>1\r\n$1\r\nx\r\n=6\r\ntxt:me\r\n";
        let expected = [
            text("PONG"),
            changed(b"a"),
            changed(b"\r\n"),
            text(">2"),
            Message::All,
            text("OK"),
            Message::Answer(Answer::Error("ERR no".into())),
            Message::Answer(Answer::Other),
            // A push that is hidden behind attributes.
            Message::All,
            text("me"),
        ];
        for cut in 0..=bytes.len() {
            let mut reader = Reader::new(SECRET);
            let mut messages = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader.received.extend_from_slice(part);
                messages.extend(take(&mut reader));
            }
            assert_eq!(messages, expected, "cut at {cut}");
        }
        let mut reader = Reader::new(SECRET);
        let messages = bytes.iter().flat_map(|byte| {
            reader.received.push(*byte);
            take(&mut reader)
        });
        assert_eq!(messages.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn of_a_push_no_more_is_kept_than_is_received_at_once() {
        let keys = 500_000_usize;
        let mut many = format!(">2\r\n$10\r\ninvalidate\r\n*{keys}\r\n").into_bytes();
        (0..keys).for_each(|i| many.extend_from_slice(format!("$10\r\nkey:{i:06}\r\n").as_bytes()));
        let value = "v".repeat(4 << 20);
        let one = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{value}\r\n", value.len());
        let other = format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{value}\r\n", value.len());
        let line = format!(">1\r\n+{value}\r\n");
        let mut reader = Reader::new(SECRET);
        let pushes =
            [(many.as_slice(), keys), (one.as_bytes(), 1), (other.as_bytes(), 0), (line.as_bytes(), 1)];
        for (push, expected) in pushes {
            let (mut rest, mut messages) = (push, 0);
            while !rest.is_empty() {
                rest = receive(&mut reader, rest);
                messages += take(&mut reader).len();
                assert!(reader.received.capacity() <= RECEIVE_BYTES && reader.received.is_empty());
            }
            assert_eq!(messages, expected);
        }
    }

    #[test]
    fn what_a_long_answer_took_is_given_back() {
        let value = "v".repeat(1 << 20);
        let answer = format!("${}\r\n{value}\r\n", value.len());
        let mut reader = Reader::new(SECRET);
        let (mut rest, mut messages) = (answer.as_bytes(), Vec::new());
        while !rest.is_empty() {
            rest = receive(&mut reader, rest);
            messages.extend(take(&mut reader));
        }
        assert!(messages == [text(&value)]);
        assert!(reader.received.capacity() <= RECEIVE_BYTES);
    }

    #[test]
    fn an_answer_beyond_the_bound_is_an_error() {
        let mut reader = Reader::new(SECRET);
        reader.received = format!("${}\r\n", 1_u64 << 40).into_bytes();
        assert_eq!(reader.next().expect("RESP3"), None);
        reader.received.resize(ANSWER_BYTES_MAX + 1, b'v');
        let error = reader.next().expect_err("too much");
        assert!(error.to_string().ends_with("larger than 67108864 bytes"), "{error}");
    }
}
