//! A packet in a process's memory, for tests.

use std::cell::RefCell;
use std::vec::Vec;

use xps_core::packet::{ETHERNET, Skb};

use super::Memory;
use super::echoes::Reflector;
use crate::datagram::{Action, Host, Packet, WORDS, run};
use crate::echo::{EchoKey, EchoOutcome, Echoes};
use crate::keys::Keys;
use crate::peer::Rate;
use crate::refusal::Refusal;
use crate::respond::{Node, NodeKey, Outcome, PeerKey, Tables};
use crate::wire::{ClusterId, Sequence};

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before the stack.
    Xdp,
    /// Where the stack has taken tags off.
    Tcx,
}

/// A host: its tables, its addresses, the port and the time.
#[derive(Debug, Default)]
pub struct Machine {
    /// The responder's tables.
    pub memory: Memory,
    /// IPv4 as `::ffff:a.b.c.d`.
    pub addresses: Vec<[u8; 16]>,
    /// The UDP port; 0: nothing is ours.
    pub port: u16,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub now_ns: u64,
    /// Index of the interface that packets come to.
    pub device: u32,
    /// Those whose echo packets are sent back.
    pub echoes: Reflector,
}

impl Machine {
    /// What a program does with a packet, and what it then looks like.
    #[must_use]
    pub fn run(&self, hook: Hook, bytes: &[u8]) -> (Action, Vec<u8>) {
        let bytes = RefCell::new(bytes.to_vec());
        let action = match hook {
            Hook::Xdp => run(&Frame::<true> { bytes: &bytes, device: self.device }, self),
            Hook::Tcx => run(&Frame::<false> { bytes: &bytes, device: self.device }, self),
        };
        (action, bytes.into_inner())
    }
}

impl Host for Machine {
    fn port(&self) -> u16 {
        self.port
    }

    fn is_here(&self, address: &[u8; 16]) -> bool {
        self.addresses.contains(address)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

impl Tables for Machine {
    fn keys(&self, cluster: ClusterId) -> Option<Keys> {
        self.memory.keys(cluster)
    }

    fn node(&self, key: &NodeKey) -> Option<Node> {
        self.memory.node(key)
    }

    fn admit(
        &self,
        key: &PeerKey,
        sequence: Sequence,
        rate: Rate,
        now_ns: u64,
    ) -> Option<Result<(), Refusal>> {
        self.memory.admit(key, sequence, rate, now_ns)
    }

    fn count(&self, outcome: Outcome) {
        self.memory.count(outcome);
    }
}

impl Echoes for Machine {
    fn reflects(&self) -> bool {
        self.echoes.reflects()
    }

    fn admit_echo(&self, key: &EchoKey, now_ns: u64) -> Option<bool> {
        self.echoes.admit_echo(key, now_ns)
    }

    fn count_echo(&self, outcome: EchoOutcome) {
        self.echoes.count_echo(outcome);
    }
}

struct Frame<'a, const TAGS: bool> {
    bytes: &'a RefCell<Vec<u8>>,
    device: u32,
}

impl<const TAGS: bool> Skb for Frame<'_, TAGS> {
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.bytes.borrow().get(offset as usize..)?.first_chunk().copied()
    }

    fn reach(&self, _: u32) {}

    fn protocol(&self) -> u16 {
        self.half(ETHERNET - 2).unwrap_or(0)
    }

    fn uncut_len(&self) -> u32 {
        0
    }

    fn completed_later(&self, _: u32) -> bool {
        false
    }
}

impl<const TAGS: bool> Packet for Frame<'_, TAGS> {
    const TAGS: bool = TAGS;

    fn end(&self) -> u32 {
        self.bytes.borrow().len() as u32
    }

    fn left_alone(&self) -> bool {
        false
    }

    fn device(&self) -> u32 {
        self.device
    }

    fn verified(&self) -> bool {
        false
    }

    fn message(&self, offset: u32) -> Option<[u32; WORDS]> {
        let bytes = self.head::<{ 4 * WORDS }>(offset)?;
        let (words, _) = bytes.as_chunks::<4>();
        Some(core::array::from_fn(|index| u32::from_ne_bytes(words[index])))
    }

    fn put<const N: usize>(&self, offset: u32, words: &[u32; N]) -> bool {
        let mut bytes = self.bytes.borrow_mut();
        let Some(place) = bytes.get_mut(offset as usize..offset as usize + 4 * N) else { return false };
        let (chunks, _) = place.as_chunks_mut::<4>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_ne_bytes();
        }
        true
    }
}
