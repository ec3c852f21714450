//! Packets on their arrival, before the stack has made anything of them (XDP): the first packet of a connection goes no
//! further if its client is blocked.
//!
//! Only that one is looked for. A client is blocked for what it has asked on a connection, so without new connections it
//! cannot go on; and what it still has on those that exist is for the ingress program, which resets both sides with the next
//! request. If their packets were lost here, nobody would tell either side: the server's socket would wait for its time-out,
//! the answers that are under way would be sent again and again, and a reset that was lost would not be sent again.
//!
//! Nothing else is dropped: no other port, and nothing where the agent does not vouch for its tables, or takes no
//! connections (S12), and nothing that is for another host's address (T4).
//!
//! Fragments pass. The ingress program drops the first one of a packet for one of our ports, whoever sends it; later ones do
//! not tell their ports, may belong to any service, and are of no use without the first. So do packets with extension
//! headers, of which the same holds.
//!
//! A tag that the device has taken off is not seen here. So that it makes no difference whether it has, up to two tags are
//! read over.

use super::Action;
use crate::abi::{Control, VERSION};
use crate::packet::{self, ETHERNET, Skb, Unusual};
use crate::predicate::{Predicate, Role};
use crate::splice::tcp_flag;
use crate::verdict::Reason;

/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of the outer one of two (IEEE 802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Most tags that are read over.
const TAGS_MAX: u32 = 2;
/// Bytes of a tag.
const TAG: u32 = 4;

/// A packet that has just come, its tags still in it, and what the program needs of the world besides.
///
/// Pointers to maps' values stay valid while a program runs.
pub trait Arrival: Skb {
    /// Index of the predicate that looks at a port, 0 for none.
    fn port(&self, port: u16) -> u8;
    /// A predicate.
    fn predicate(&self, index: u8) -> Option<*const Predicate>;
    /// What the agent says.
    fn control(&self) -> Option<*const Control>;
    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Whether connections are taken at an address of this host; `None` if it is none.
    fn local(&self, address: &[u8; 16]) -> Option<bool>;
    /// Counts.
    fn count(&self, reason: Reason);
}

/// Whom a service has blocked.
pub trait Blocks {
    /// Whether there may be anybody. Asked for every packet of the device, whoever it is for.
    fn any(&self) -> bool;
    /// Whether it is this client, IPv4 as `::ffff:a.b.c.d`.
    fn blocked(&self, client: &[u8; 16]) -> bool;
}

/// The program: [`Action::Drop`] or [`Action::Next`].
#[inline(always)]
pub fn run<A: Arrival, B: Blocks>(packet: &A, blocks: &B) -> Action {
    if !blocks.any() || decide(packet, blocks).is_none() {
        return Action::Next;
    }
    packet.count(Reason::BlockedOnArrival);
    Action::Drop
}

/// `Some` if the packet goes no further.
#[inline(always)]
fn decide<A: Arrival, B: Blocks>(packet: &A, blocks: &B) -> Option<()> {
    let untagged = Untagged::of(packet)?;
    let (layout, _, port) = packet::locate(&untagged)?;
    let index = packet.port(port);
    if index == 0 || layout.unusual == Unusual::Fragment || layout.v6 && layout.unusual == Unusual::Options {
        return None;
    }
    let flags = untagged.half(layout.tcp + 12)? as u8;
    if flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) != tcp_flag::SYN {
        return None;
    }
    let (mut client, mut server) = ([0; 16], [0; 16]);
    packet::addresses(&untagged, layout.v6, &mut client, &mut server)?;
    // SAFETY: maps' values stay while the program runs; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*packet.predicate(index)? };
    let role = predicate.role(&server, port);
    // SAFETY: likewise.
    let control = unsafe { &*packet.control()? };
    let stops = role == Some(Role::Accelerated)
        && control.version == VERSION
        && control.accept != 0
        && control.stands(packet.now_ns())
        // Where they are not, the user path judges; in place the server is alone.
        && packet.local(&server).is_some_and(|taken| taken || !predicate.in_place())
        && blocks.blocked(&client);
    if stops { Some(()) } else { None }
}

/// A packet as if its tags had been taken off.
pub struct Untagged<'a, P> {
    packet: &'a P,
    /// Bytes of tags.
    tags: u32,
    protocol: u16,
}

impl<'a, P: Skb> Untagged<'a, P> {
    /// The packet, of which up to two tags are read over. `None` if it ends in one.
    #[inline(always)]
    pub fn of(packet: &'a P) -> Option<Self> {
        let (mut tags, mut protocol) = (0, packet.protocol());
        while tags < TAGS_MAX * TAG && (protocol == VLAN || protocol == SERVICE_VLAN) {
            // A tag's own type stands in front of it, the type of what follows at its end.
            protocol = packet.half(ETHERNET + tags + 2)?;
            tags += TAG;
        }
        Some(Self { packet, tags, protocol })
    }

    /// Bytes of tags behind the Ethernet header.
    #[inline(always)]
    #[must_use]
    pub const fn tags(&self) -> u32 {
        self.tags
    }
}

/// Offsets are those behind the Ethernet header.
impl<P: Skb> Skb for Untagged<'_, P> {
    #[inline(always)]
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.packet.head(offset + self.tags)
    }

    #[inline(always)]
    fn half(&self, offset: u32) -> Option<u16> {
        self.packet.half(offset + self.tags)
    }

    #[inline(always)]
    fn word(&self, offset: u32) -> Option<u32> {
        self.packet.word(offset + self.tags)
    }

    #[inline(always)]
    fn reach(&self, len: u32) {
        self.packet.reach(len + self.tags);
    }

    #[inline(always)]
    fn protocol(&self) -> u16 {
        self.protocol
    }

    #[inline(always)]
    fn uncut_len(&self) -> u32 {
        self.packet.uncut_len()
    }

    #[inline(always)]
    fn completed_later(&self, offset: u32) -> bool {
        self.packet.completed_later(offset + self.tags)
    }
}
