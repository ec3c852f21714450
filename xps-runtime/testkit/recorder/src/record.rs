//! What the programs and the test tell each other.

use xps_core::abi::{EVENT_SERVICE, Event};
use xps_core::flow::FlowKey;
use xps_core::handler::WINDOW;

/// Name of the map that holds one [`Settings`].
pub const SETTINGS: &str = "SETTINGS";

/// What a [`Record`] tells; the kind in its head.
pub mod kind {
    use super::EVENT_SERVICE;

    /// The handler has read [`super::Record::bytes`].
    pub const READ: u32 = EVENT_SERVICE;
    /// What was read since the last record of this kind or of [`ANSWERED`] goes to the server: [`super::Record::len`] bytes,
    /// which are not in this record. If none were read since then, those that were to be answered go there after all.
    pub const PASSED: u32 = EVENT_SERVICE + 1;
    /// What was read since then is answered, and does not reach the server.
    pub const ANSWERED: u32 = EVENT_SERVICE + 2;
    /// The handler is not shown the rest.
    pub const OPAQUE: u32 = EVENT_SERVICE + 3;
    /// A flow was made.
    pub const OPENED: u32 = EVENT_SERVICE + 4;
}

/// What the test tells the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Not 0: lines that begin with [`crate::ASKS`] are answered.
    pub answers: u32,
    /// [`crate::check::Check`]s that are switched off.
    pub disabled_checks: u32,
}

/// A record in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its kind.
    pub head: Event,
    /// The connection.
    pub key: FlowKey,
    /// How many bytes of the connection were read before.
    pub position: u32,
    /// How many of [`bytes`](Self::bytes) count; or how many bytes the segment had.
    pub len: u32,
    /// The bytes.
    pub bytes: [u8; WINDOW],
}

const _: () = assert!(size_of::<Record>() == 56 + WINDOW);
