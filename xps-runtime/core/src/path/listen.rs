//! Who gets a connection to the accelerated port: a program at socket lookup (`BPF_PROG_TYPE_SK_LOOKUP`).
//!
//! The kernel asks it only for packets that belong to no socket: SYNs, and what answers a SYN cookie. The ingress program has
//! decided at the SYN, and left its decision in a mark. So ports are translated nowhere: the server's own listener accepts
//! the connection, and its socket has the accelerated port, as firewalls, conntrack and ICMP errors know it.

use crate::abi::Control;
use crate::flow::FlowKey;
use crate::handshake::{self, Mark};

/// Key of a listening socket of the server.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerKey {
    /// The address that clients connect to, IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// The plain port.
    pub port: u16,
    /// Zero.
    pub padding: [u16; 3],
}

/// The handshake table.
pub trait Marks {
    /// A mark.
    fn mark(&self, slot: u32) -> Option<*mut Mark>;
}

/// Whether the server gets the connection; otherwise it is the user path's.
#[inline(always)]
pub fn is_for_server<M: Marks>(marks: &M, control: &Control, key: &FlowKey) -> bool {
    match find(marks, handshake::tag(control.secret, key)) {
        // SAFETY: plain data that any CPU may overwrite.
        Some(mark) => unsafe { (*mark).flags & handshake::ACCELERATED != 0 },
        None => false,
    }
}

/// The server could not be given the connection after all: it is the user path's, and nobody's to answer.
#[inline(always)]
pub fn leave<M: Marks>(marks: &M, control: &Control, key: &FlowKey) {
    if let Some(mark) = find(marks, handshake::tag(control.secret, key)) {
        // SAFETY: as above.
        unsafe { (*mark).flags = handshake::RELAYED };
    }
}

/// The mark of a connection.
#[inline(always)]
pub(crate) fn find<M: Marks>(marks: &M, tag: u64) -> Option<*mut Mark> {
    let first = marks.mark(handshake::slot(tag))?;
    // SAFETY: plain data that any CPU may overwrite: who reads more looks at the tag again.
    if unsafe { (*first).tag } == tag {
        return Some(first);
    }
    let second = marks.mark(handshake::other_slot(tag))?;
    // SAFETY: likewise.
    if unsafe { (*second).tag } == tag { Some(second) } else { None }
}
