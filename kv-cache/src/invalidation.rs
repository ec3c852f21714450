//! What comes on the tracking connection ([`crate::tracking`]): invalidations, and answers to questions. Sans-IO.

use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::OwnedFrame as Frame;

use crate::redis::RedisError;

/// Longest message that is taken: a push holds the keys that one round of Redis's event loop has changed.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// These keys may have changed.
    Changed(Vec<Vec<u8>>),
    /// Any key may have changed.
    All,
    /// An answer to a question.
    Answer(Answer),
    /// A push of another kind.
    Other,
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

/// Reads messages out of a stream.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Bytes that were received and are not read yet.
    pub(crate) received: Vec<u8>,
    at: usize,
}

impl Reader {
    /// The next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, RedisError> {
        let decoded =
            decode(&self.received[self.at..]).map_err(|error| RedisError::Protocol(error.to_string()))?;
        let Some((frame, length)) = decoded else {
            self.received.drain(..self.at);
            self.at = 0;
            if self.received.len() > MESSAGE_BYTES_MAX {
                return Err(RedisError::Protocol(format!("larger than {MESSAGE_BYTES_MAX} bytes")));
            }
            return Ok(None);
        };
        self.at += length;
        Ok(Some(message(frame)))
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Push { data, .. } => invalidation(data),
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

fn invalidation(data: Vec<Frame>) -> Message {
    let bytes = |frame: &Frame| match frame {
        Frame::BlobString { data, .. } | Frame::SimpleString { data, .. } => Some(data.clone()),
        _ => None,
    };
    let mut parts = data.into_iter();
    if parts.next().as_ref().and_then(bytes).as_deref() != Some(b"invalidate".as_slice()) {
        return Message::Other;
    }
    match parts.next() {
        Some(Frame::Array { data, .. }) => {
            let keys: Vec<_> = data.iter().filter_map(bytes).collect();
            // A key of another form would be one that is missed.
            if keys.len() == data.len() { Message::Changed(keys) } else { Message::All }
        }
        _ => Message::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Vec<Message> {
        let mut reader = Reader::default();
        let mut messages = Vec::new();
        // Cut anywhere, it is the same.
        for byte in bytes {
            reader.received.push(*byte);
            while let Some(message) = reader.next().expect("RESP3") {
                messages.push(message);
            }
        }
        messages
    }

    #[test]
    fn invalidations_are_told_from_answers() {
        let bytes = b"+PONG\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n\
            >3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n-ERR no\r\n";
        let expected = [
            Message::Answer(Answer::Text("PONG".into())),
            Message::Changed(vec![b"a".to_vec(), b"\r\n".to_vec()]),
            Message::All,
            Message::Other,
            Message::Answer(Answer::Error("ERR no".into())),
        ];
        assert_eq!(messages(bytes), expected);
    }

    #[test]
    fn what_is_not_a_list_of_keys_means_all() {
        for bytes in [
            b">2\r\n$10\r\ninvalidate\r\n$1\r\na\r\n".as_slice(),
            b">1\r\n$10\r\ninvalidate\r\n",
            b">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n",
        ] {
            assert_eq!(messages(bytes), [Message::All]);
        }
    }
}
