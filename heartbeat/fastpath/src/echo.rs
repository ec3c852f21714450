//! Echo packets of BFD (RFC 5881 section 4): sent back to those with whom sessions are held, unread.
//!
//! There are two forms. By the standard both addresses are the sender's own, so that forwarding alone brings the packet
//! back; some (FRR over IPv6) send it to their neighbour's address, and count on being answered. Either goes back where it
//! came from with a hop limit that is less by one, as forwarding leaves it: by that its sender tells it from one that is
//! still on its way there.
//!
//! Nothing is sent back to strangers, nor more often than was agreed: the agent enters those who may, by address and
//! interface.

use xps_core::flow::bpf_spin_lock;

use crate::peer::Rate;

/// UDP port of echo packets (RFC 5881 section 4).
pub const PORT_ECHO: u16 = 3785;
/// Hop limit of echo packets on their way: from further away nobody can make them arrive (RFC 5881 section 5).
pub(crate) const HOP_LIMIT: u32 = 255;

/// Who may.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EchoKey {
    address: [u8; 16],
    device: u32,
}

impl EchoKey {
    /// A system with this address, IPv4 as `::ffff:a.b.c.d`, on the interface with this index; 0: on any.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: [u8; 16], device: u32) -> Self {
        Self { address, device }
    }
}

/// How often, and what is left of that.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EchoPeer {
    /// Guards the rest. A process has a lock of its own around the entry.
    pub lock: bpf_spin_lock,
    padding: u32,
    rate: Rate,
    /// When it may as if it never had before.
    full_ns: u64,
}

impl EchoPeer {
    /// One that may so often.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { lock: bpf_spin_lock { val: 0 }, padding: 0, rate, full_ns: 0 }
    }

    /// Whether one more may be sent back, which is then charged. Called under the lock.
    #[inline(always)]
    pub fn admit(&mut self, now_ns: u64) -> bool {
        self.rate.charge(&mut self.full_ns, now_ns)
    }
}

/// What became of an echo packet, as it is counted.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoOutcome {
    /// Sent back.
    Reflected = 0,
    /// Dropped: more than was agreed.
    TooFast = 1,
    /// Left to the stack: no session is held with its sender, or it has come from further away.
    Stranger = 2,
    /// One of this host's own that has come back.
    Returned = 3,
}

impl EchoOutcome {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [Self::Reflected, Self::TooFast, Self::Stranger, Self::Returned];

    /// Its name in counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reflected => "reflected",
            Self::TooFast => "too_fast",
            Self::Stranger => "stranger",
            Self::Returned => "returned",
        }
    }
}

/// What sending back needs of the world.
pub trait Echoes {
    /// Whether it is done at all.
    fn reflects(&self) -> bool;
    /// [`EchoPeer::admit`] for this one, under its lock. `None` if there is no such entry.
    fn admit_echo(&self, key: &EchoKey, now_ns: u64) -> Option<bool>;
    /// Counts what became of a packet.
    fn count_echo(&self, outcome: EchoOutcome);
}

const _: () = assert!(size_of::<EchoKey>() == 20 && size_of::<EchoPeer>() == 32);
