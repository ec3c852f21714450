//! Replies of Redis as values.

use anyhow::{Context, Result, bail};

use crate::model::{Action, Answer, Value};
use crate::support::shown;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Null,
    Bulk(Vec<u8>),
    Array(Vec<Self>),
}

impl Reply {
    /// One whole reply.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let (reply, rest) = Self::first(bytes)?;
        if !rest.is_empty() {
            bail!("more than one reply: {}", shown(bytes));
        }
        Ok(reply)
    }

    fn first(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").context("no line")?;
        let (line, rest) = (std::str::from_utf8(&bytes[1..end])?, &bytes[end + 2..]);
        let reply = match bytes[0] {
            b'+' => Self::Simple(line.to_owned()),
            b'-' => Self::Error(line.to_owned()),
            b':' => Self::Integer(line.parse()?),
            b'_' => Self::Null,
            b'$' | b'*' if line == "-1" => Self::Null,
            b'$' => {
                let (text, rest) = rest.split_at_checked(line.parse()?).context("a short string")?;
                let rest = rest.strip_prefix(b"\r\n").context("no end of a string")?;
                return Ok((Self::Bulk(text.to_vec()), rest));
            }
            b'*' => {
                let (mut all, mut rest) = (Vec::new(), rest);
                for _ in 0..line.parse::<usize>()? {
                    let (one, more) = Self::first(rest)?;
                    all.push(one);
                    rest = more;
                }
                return Ok((Self::Array(all), rest));
            }
            _ => bail!("not expected here: {}", shown(bytes)),
        };
        Ok((reply, rest))
    }

    /// What it says of an action; `None` if that is nothing.
    pub(crate) fn answers(&self, action: Action) -> Result<Option<Answer>> {
        let answer = match (action, self) {
            (
                Action::Get(_) | Action::Take(_) | Action::Touch { .. } | Action::Exchange { .. },
                Self::Null,
            ) => Answer::Value(Value::Missing),
            (
                Action::Get(_) | Action::Take(_) | Action::Touch { .. } | Action::Exchange { .. },
                Self::Bulk(text),
            ) => Answer::Value(Value::of(text)),
            // SET, SETNX, SETRANGE.
            (Action::Put { .. }, Self::Simple(text)) if text == "OK" => Answer::Done,
            (Action::Put { .. }, Self::Null | Self::Integer(0)) => Answer::Refused,
            (Action::Put { .. }, Self::Integer(_)) => Answer::Done,
            (
                Action::Append { .. }
                | Action::Increment { .. }
                | Action::Delete(_)
                | Action::SetLife { .. }
                | Action::Copy { .. }
                | Action::Move { .. },
                Self::Integer(count),
            ) => Answer::Count(*count),
            // FLUSHALL, FLUSHDB.
            (Action::Delete(_), Self::Simple(text)) if text == "OK" => return Ok(None),
            (Action::Rename { .. } | Action::Swap, Self::Simple(text)) if text == "OK" => Answer::Done,
            (Action::Rename { .. }, Self::Error(text)) if text == "ERR no such key" => Answer::Refused,
            _ => bail!("{self:?} is no answer to {action:?}"),
        };
        Ok(Some(answer))
    }
}
