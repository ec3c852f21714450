//! What is said to a responder, and which datagrams are its answer.

use super::cpu::now_ns;
use crate::lab::heartbeat::{CLUSTER, KEY};
use anyhow::{Context, Result};
use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::wire::{
    Body, ClusterId, Incarnation, MESSAGE_BYTES, Message, NodeId, SendTime, Sequence,
};

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answerer {
    /// heartbeat, on whatever path: with a reply that carries a tag.
    Heartbeat,
    /// An echo: with the probe itself.
    Echo,
}

/// The language of one prober with one responder. All responders are sent the same kind of bytes.
#[derive(Clone, Copy)]
pub(super) struct Speech {
    answerer: Answerer,
    key: Key,
    keys: Keys,
    sender: NodeId,
    receiver: NodeId,
    /// What the first number is added to.
    base: u64,
}

impl Speech {
    /// Between these nodes.
    pub(super) fn new(answerer: Answerer, sender: u32, receiver: u32) -> Result<Self> {
        let (number, secret) = KEY;
        let key = Key::new(KeyId::new(number).context("there is no key 0")?, secret);
        let node = |number| NodeId::new(number).context("there is no node 0");
        Ok(Self {
            answerer,
            key,
            keys: Keys::new(ClusterId(CLUSTER), key),
            sender: node(sender)?,
            receiver: node(receiver)?,
            base: now_ns(),
        })
    }

    /// The same with another of the responder's nodes.
    pub(super) fn to(self, receiver: u32) -> Result<Self> {
        Self::new(self.answerer, self.sender.number(), receiver)
    }

    /// The same with sequences that are higher than all before: nobody sends a probe each nanosecond.
    pub(super) fn renewed(self) -> Self {
        Self { base: now_ns(), ..self }
    }

    /// The probe with this number, from 1.
    pub(super) fn probe(&self, number: u64) -> [u8; MESSAGE_BYTES] {
        let message = Message {
            cluster: ClusterId(CLUSTER),
            sender: self.sender,
            incarnation: Incarnation(1),
            receiver: self.receiver,
            sequence: Sequence(self.base + number),
            sent: SendTime(number),
            body: Body::Probe,
        };
        message.encode(&self.key)
    }

    /// The number of the probe that a datagram answers, if it does.
    pub(super) fn answered(&self, datagram: &[u8]) -> Option<u64> {
        let message = Message::decode(datagram, &self.keys).ok()?;
        let is_answer = match self.answerer {
            Answerer::Heartbeat => {
                message.body == Body::Reply { degraded: false } && message.sender == self.receiver
            }
            Answerer::Echo => message.body == Body::Probe && message.sender == self.sender,
        };
        is_answer.then(|| message.sequence.0.checked_sub(self.base)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_answers_and_a_probe_is_an_echo() {
        let echo = Speech::new(Answerer::Echo, 20, 10).unwrap();
        let speech = Speech { answerer: Answerer::Heartbeat, ..echo };
        let probe = speech.probe(7);
        assert_eq!((speech.answered(&probe), echo.answered(&probe)), (None, Some(7)));
        let asked = Message::decode(&probe, &speech.keys).unwrap();
        let (sender, receiver) = (asked.receiver, asked.sender);
        let reply = |degraded| Message { sender, receiver, body: Body::Reply { degraded }, ..asked };
        let of = |degraded| reply(degraded).encode(&speech.key);
        assert_eq!((speech.answered(&of(false)), echo.answered(&of(false))), (Some(7), None));
        assert_eq!(speech.answered(&of(true)), None, "degraded is not alive");
        let mut damaged = of(false);
        damaged[63] ^= 1;
        assert_eq!(speech.answered(&damaged), None);
    }
}
