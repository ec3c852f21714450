//! What a service's maps offer. [`crate::service!`] implements it.

use aya_ebpf::bindings::__sk_buff;
use xps_core::abi::{Control, Device, Local, State};
use xps_core::flow::{Flow, FlowKey};
use xps_core::handler::{Handler, Reply};
use xps_core::handshake::Mark;
use xps_core::path::Scratch;
use xps_core::path::local::Asked;
use xps_core::predicate::Predicate;

/// The maps of a service with the handler `H`; pointers are to values, which stay while a program runs.
pub trait Maps<H: Handler> {
    /// The table of ports.
    fn ports() -> Option<*const [u8; 65536]>;
    /// A predicate.
    fn predicate(index: u32) -> Option<*const Predicate>;
    /// What the agent says.
    fn control() -> Option<*const Control>;
    /// What the programs say.
    fn state() -> Option<*mut State>;
    /// An interface.
    fn device(ifindex: u32) -> Option<*const Device>;
    /// An address of this host.
    fn local(address: &[u8; 16]) -> Option<*const Local>;
    /// [`xps_core::path::local::role`], a verified function of its own.
    fn role(ctx: *mut __sk_buff, asked: Asked) -> u32;
    /// [`xps_core::path::local::priority_tags_off`], a verified function of its own.
    fn priority_tags_off(ctx: *mut __sk_buff) -> bool;
    /// A counter of this CPU.
    fn counter(index: u32) -> Option<*mut u64>;
    /// This CPU's working memory.
    fn scratch() -> Option<*mut Scratch<H::Scratch>>;
    /// A flow.
    fn flow(key: &FlowKey) -> Option<*mut Flow<H::State>>;
    /// Puts an all-zero flow into the table.
    fn insert_flow(key: &FlowKey) -> bool;
    /// Removes a flow.
    fn remove_flow(key: &FlowKey) -> bool;
    /// A mark.
    fn mark(slot: u32) -> Option<*mut Mark>;
    /// [`crate::packet::socket_state`]: a verified function of its own.
    fn socket_state(ctx: *mut __sk_buff, v6: u32) -> u32;
    /// [`crate::cookie::answers`], likewise: not 0 if it does.
    fn answers_cookie(ctx: *mut __sk_buff, v6: u32) -> u32;
    /// Whether the agent itself is opening the connection.
    fn is_own(key: &FlowKey) -> bool;
    /// [`crate::packet::listens`], likewise: not 0 if it does.
    fn listens(ctx: *mut __sk_buff, v6: u32, plain_port: u32) -> u32;
    /// The map of listening sockets, for helpers.
    fn listeners() -> *mut core::ffi::c_void;
    /// Shows the rest of the payload to the handler: a verified function of its own. Whether it was understood.
    fn scan_request(ctx: *mut __sk_buff, state: *mut H::State, scratch: *mut Scratch<H::Scratch>) -> bool;
    /// Likewise for the server's bytes.
    fn scan_response(ctx: *mut __sk_buff, state: *mut H::State, scratch: *mut Scratch<H::Scratch>) -> bool;
    /// Writes the headers that the scratch value describes, and the reply: a verified function of its own. `reply` may be
    /// null.
    fn write(ctx: *mut __sk_buff, scratch: *mut Scratch<H::Scratch>, reply: *const Reply) -> bool;
    /// [`xps_core::path::ingress::pieces::send`] for the flow of the key in the working memory, a verified function of its own.
    fn send_pieces(ctx: *mut __sk_buff) -> u32;
    /// [`crate::packet::sum_reply`], a verified function of its own.
    fn sum_reply(reply: *const Reply, piece: u32) -> u64;
    /// Adds the window that was shown last to the digest of what was shown: a verified function of its own.
    fn settle_shown();
    /// [`crate::packet::digest_of`], likewise.
    fn digest(ctx: *mut __sk_buff, at: u32, len: u32) -> u64;
    /// [`crate::packet::verify`]: a verified function of its own. Not 0 if it is right.
    fn verify(ctx: *mut __sk_buff) -> u32;
    /// Sum of the packet's bytes as big-endian words: a verified function of its own. `u64::MAX` if they cannot be read.
    fn sum(ctx: *mut __sk_buff, from: u32, end: u32) -> u64;
    /// [`crate::packet::walk_options`], a verified function of its own.
    fn walk_options(ctx: *mut __sk_buff, scratch: *mut Scratch<H::Scratch>, offset: u32, len: u32) -> bool;
}
