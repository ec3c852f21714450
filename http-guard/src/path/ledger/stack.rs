//! What clients have used up, in the stack's tables.
//!
//! Buckets and counts are changed by programs at the same time, so a program makes the changes ([`http_fastpath::ledger`]).

use std::sync::atomic::Ordering;

use http_fastpath::ledger::{Entry, Order};
use http_fastpath::limit::{Charge, Rate};

use super::{Client, Ledger};
use crate::path::kernel::Kernel;

impl Kernel {
    /// Has an order carried out. For want of memory it may not be: then nothing has changed, and the entry has no answer.
    fn carry_out(&self, order: Order) -> Entry {
        let mut entry = Entry::from(order);
        if let Err(error) = self.ledger.run(entry.words_mut()) {
            tracing::warn!(%error, "a program cannot be run: the proxy does without the stack's tables for a moment");
        }
        entry
    }
}

impl Ledger for Kernel {
    fn secret(&self) -> [u64; 2] {
        self.maps.secret()
    }

    fn limits_mask(&self) -> u32 {
        self.maps.limits_mask()
    }

    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge {
        self.carry_out(Order::Charge { index, tag, rate }).charge().unwrap_or(Charge::Full)
    }

    fn is_blocking(&self) -> bool {
        self.maps.is_blocking()
    }

    fn block(&self, client: Client, time_ns: u64) -> bool {
        self.carry_out(Order::Block { client, time_ns }).answer().unwrap_or(false)
    }

    fn is_blocked(&self, client: Client) -> bool {
        self.is_blocking() && self.carry_out(Order::IsBlocked { client }).answer().unwrap_or(false)
    }

    fn blocked(&self) -> u64 {
        self.counts.blocked.load(Ordering::Relaxed)
    }

    fn sweep(&self) {
        // The agent does when it looks at the flows.
    }

    fn enter(&self, client: Client, max: u32) -> bool {
        let max = if max == 0 { u32::MAX } else { max };
        // A count that was not made is made good with the next comparison.
        let enters = self.carry_out(Order::Enter { client, max }).answer().unwrap_or(true);
        if enters {
            self.proxied.enter(client, 0);
        }
        enters
    }

    fn leave(&self, client: Client) {
        self.proxied.leave(client);
        self.carry_out(Order::Leave { client });
    }
}
