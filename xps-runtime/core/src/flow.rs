//! One TCP connection of a server that XPS stands in front of.

use crate::handler::Reply;
use crate::outlet::Outlet;
use crate::splice::Splice;

/// Largest handler state, in bytes: with it, an element of the flow table (its own head, key and value) is 2,048 bytes long,
/// which is what the kernel allocates for anything longer than 1,024.
pub const HANDLER_STATE_MAX: usize = 400;

/// A connection: its addresses and ports, as its packets and the server's socket have them.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The client's address, IPv4 as `::ffff:a.b.c.d`.
    pub client: [u8; 16],
    /// The server's address, likewise.
    pub server: [u8; 16],
    /// The client's port.
    pub client_port: u16,
    /// The server's port.
    pub server_port: u16,
    /// Zero.
    pub padding: u32,
}

impl FlowKey {
    /// The key as words, for hashing.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> [u64; 5] {
        [
            half(&self.client, 0),
            half(&self.client, 8),
            half(&self.server, 0),
            half(&self.server, 8),
            u64::from(self.client_port) | u64::from(self.server_port) << 16,
        ]
    }
}

#[inline(always)]
fn half(bytes: &[u8; 16], at: usize) -> u64 {
    // SAFETY: `at` is 0 or 8.
    unsafe { u64::from_le(crate::word::load_u64(bytes.as_ptr().add(at))) }
}

/// The kernel's lock type; the verifier knows it by this name.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct bpf_spin_lock {
    /// Owned by the kernel.
    pub val: u32,
}

/// Value of the flow table.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow<S> {
    /// Guards `splice` (S14) and `outlet`. The handler's states are guarded by the claims in it.
    pub lock: bpf_spin_lock,
    /// How many pieces of the client's stream were remembered since the last reply ([`crate::binding`]).
    pub bound: u32,
    /// Sequence numbers and their translation.
    pub splice: Splice,
    /// How the server's packets leave.
    pub outlet: Outlet,
    /// The handler's state of this connection.
    pub handler: S,
    /// The last reply, kept until the client has acknowledged it (S3).
    pub reply: Reply,
}
