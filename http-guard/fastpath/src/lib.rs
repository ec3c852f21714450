//! http-guard behind protocol processing: reads HTTP/1 requests as Nginx would, strictly where they could be read in two
//! ways, and refuses them by rules and limits before the server sees them.
//!
//! One source for the kernel programs and the host; no `std`, no allocation.
//!
//! # Layout
//!
//! - [`request`]: a client's stream: heads, bodies and trailers one after the other.
//! - [`head`]: streaming parser of request heads; strict (G3).
//! - `request_line`, `field_line`: its lines.
//! - [`field`]: the header fields that frame a message, and their values.
//! - [`authority`]: a host with its port, from the target or the Host field.
//! - [`path`]: a target's path, normalised as Nginx does it (G2).
//! - [`body`]: bodies of a known length and chunked ones; strict.
//! - [`response`]: framing of the server's responses: which request is answered when (S1).
//! - `leap`: several bytes of a head at once.
//! - `table`: what is done with each byte of a head.
//! - [`refusal`]: why a request is refused, and with which status.
//! - `text`: eight bytes at once, where only the end of a line matters.
//! - [`word`]: a short word of the stream that is compared as a whole.
//! - [`matcher`]: one step of a DFA, and the conditions that hold for a request.
//! - [`rules`]: which rule decides.
//! - [`limit`]: how many requests may pass (G5).
//! - [`guard`]: all of it as a handler; [`matching`]: what rules have seen of a head; [`judge`]: what becomes of its request;
//!   [`words`]: how it is answered if it is refused.
//! - [`recall`]: heads that were read before.
//! - `block`: whether a client is blocked, before the stack has made anything of its packets.
//! - [`abi`]: the tables that programs and agent share; [`ledger`]: what the agent has entered there by a program.
//! - `host` (feature `host`): the parsers over streams in a process's memory, for tests.
#![no_std]

pub mod abi;
pub mod authority;
mod block;
pub mod body;
pub mod field;
mod field_line;
pub mod guard;
pub mod head;
pub mod judge;
mod leap;
pub mod ledger;
pub mod limit;
pub mod matcher;
pub mod matching;
pub mod path;
pub mod recall;
pub mod refusal;
pub mod request;
mod request_line;
pub mod response;
pub mod rules;
mod table;
mod text;
pub mod word;
pub mod words;

#[cfg(any(test, feature = "host"))]
extern crate std;
#[cfg(any(test, feature = "host"))]
pub mod host;

/// What became of one byte that a parser was given.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is read.
    Taken = 0,
    /// Something that came before it was told first: the same byte is to be given again.
    Again = 1,
    /// It is refused; the parser knows why.
    Refused = 2,
}
