//! http-guard's handler: reads HTTP/1 requests as Nginx would, and strictly where they could be read in two ways.
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
//! - [`refusal`]: why a request is refused, and with which status.
//! - [`word`]: a short word of the stream that is compared as a whole.
//! - `host` (feature `host`): the parsers over streams in a process's memory, for tests.
#![no_std]

pub mod authority;
pub mod body;
pub mod field;
mod field_line;
pub mod head;
pub mod path;
pub mod refusal;
pub mod request;
mod request_line;
pub mod response;
pub mod word;

#[cfg(any(test, feature = "host"))]
extern crate std;
#[cfg(any(test, feature = "host"))]
pub mod host;

/// Lets no field live in a register from one step of a loop to the next. The verifier follows what registers hold, and
/// would walk a loop once for every way to get to the same place; of memory it only knows that it holds something.
#[inline(always)]
pub(crate) fn keep_in_memory() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// What became of one byte that a parser was given.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is read.
    Taken = 0,
    /// Something that came before it was told first: the same byte is to be given again.
    Again = 1,
    /// It ended what the parser reads.
    End = 2,
    /// It is refused; the parser knows why.
    Refused = 3,
}
