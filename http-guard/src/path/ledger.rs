//! What clients have used up: buckets of limits, blocks, connections.
//!
//! It is kept once: in the stack where there is a kernel path, so that a client has the same limits whichever of stack and
//! proxy serves its connections; in this process's memory where there is none.
//!
//! # Layout
//!
//! - [`memory`]: in this process's memory; [`stack`]: in the stack.
//! - [`clients`]: how many connections each client has.

pub mod clients;
pub mod memory;
pub mod stack;

use std::fmt;
use std::sync::Arc;

use http_fastpath::limit::{Charge, Rate};

/// A client's address or prefix, as [`http_fastpath::judge::prefix`] makes it.
pub type Client = [u64; 2];

/// Where it is kept.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// The key of all hashes of what clients choose: keys of limits are made with it.
    fn secret(&self) -> [u64; 2];

    /// Number of sets of buckets less one.
    fn limits_mask(&self) -> u32;

    /// Charges a request to the set of buckets with this index.
    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge;

    /// Whether there may be any blocks.
    fn is_blocking(&self) -> bool;

    /// Blocks a client for a time in nanoseconds. False if the table of blocks is full.
    fn block(&self, client: Client, time_ns: u64) -> bool;

    /// Whether a client is blocked now.
    fn is_blocked(&self, client: Client) -> bool;

    /// How many clients are blocked, some of them maybe since a moment no longer.
    fn blocked(&self) -> u64;

    /// Forgets blocks that are over.
    fn sweep(&self);

    /// A client has one more connection of the proxy, unless it has `max` in all; 0: any number. Whether it has.
    fn enter(&self, client: Client, max: u32) -> bool;

    /// A client has one connection of the proxy less.
    fn leave(&self, client: Client);
}

/// The place of one connection.
#[derive(Debug)]
pub struct Place {
    ledger: Arc<dyn Ledger>,
    client: Client,
}

impl Place {
    /// A place for another connection of a client that may have `max`; 0: any number.
    #[must_use]
    pub fn take(ledger: &Arc<dyn Ledger>, client: Client, max: u32) -> Option<Self> {
        ledger.enter(client, max).then(|| Self { ledger: Arc::clone(ledger), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ledger.leave(self.client);
    }
}
