//! What one connection sees of the tables.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_fastpath::abi::{Answer, ClientKey, Conditions, Matcher, Refused, Rules, Settings};
use http_fastpath::guard::Tables;
use http_fastpath::judge::Status;
use http_fastpath::limit::{Charge, Rate};
use http_fastpath::matching::PathHash;
use xps_core::abi::Event;
use xps_runtime::control::monotonic_ns;

use super::Process;
use super::set::Set;

/// The tables as a connection sees them.
#[derive(Debug)]
pub struct View {
    process: Arc<Process>,
    pub(super) set: Arc<Set>,
    settings: Box<Settings>,
    path: PathHash,
}

impl View {
    pub(super) fn new(process: Arc<Process>) -> Self {
        let set = process.current();
        let settings = Box::new(set.settings);
        let mut view = Self { process, set, settings, path: PathHash::default() };
        view.take_settings();
        view
    }

    /// Takes the tables that hold now. Not within a head, nor before it is judged.
    pub fn refresh(&mut self) {
        if self.process.generation.load(Ordering::Acquire) != self.set.generation() {
            self.set = self.process.current();
            self.take_settings();
        }
        self.look_for_blocks();
    }

    /// Whether the operator lets everything pass.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.process.is_disabled()
    }

    /// From now on answers tell this moment's date.
    pub fn tell_date(&mut self) {
        self.settings.dates[0] = self.process.date();
    }

    fn take_settings(&mut self) {
        *self.settings = self.set.settings;
        self.look_for_blocks();
    }

    /// Whether it is asked who is blocked: not where everything passes.
    fn look_for_blocks(&mut self) {
        let asked = self.process.ledger.is_blocking() && !self.is_disabled();
        self.settings.blocking = u32::from(asked);
    }
}

impl Tables for View {
    fn settings(&self) -> Option<*const Settings> {
        Some(&raw const *self.settings)
    }

    fn matcher(&self, _: u32) -> Option<*const Matcher> {
        Some(&raw const *self.set.matcher)
    }

    fn rules(&self, _: u32) -> Option<*const Rules> {
        Some(&raw const *self.set.rules)
    }

    fn client(&self, key: &ClientKey) -> Option<*const Conditions> {
        self.set.clients.entry(Ipv6Addr::from(key.address)).map(std::ptr::from_ref)
    }

    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge {
        self.process.ledger.charge(index, tag, rate)
    }

    fn answer(&self, index: u32) -> Option<*const Answer> {
        self.set.answers.get(index as usize).map(std::ptr::from_ref)
    }

    fn count(&self, index: u32, status: Status) {
        // Of the only set of tables, the first one.
        self.set.count(index, status);
    }

    fn count_refusal(&self, number: u8) {
        if let Some(count) = self.process.refusals.get(usize::from(number)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn block(&self, client: [u64; 2], time_ns: u64) -> bool {
        self.process.ledger.block(client, time_ns)
    }

    fn is_blocked(&self, client: &[u64; 2]) -> bool {
        self.process.ledger.is_blocked(*client)
    }

    // The proxy enters the connections that it takes into the ledger itself, and refuses those that are too many.
    fn connections(&self, _: [u64; 2]) -> u64 {
        0
    }

    fn connected(&self, _: [u64; 2]) -> u64 {
        0
    }

    fn disconnected(&self, _: [u64; 2]) {}

    fn report(&self, client: &[u8; 16], cause: u32) {
        self.process.report(Refused {
            head: Event::default(),
            address: *client,
            // So that a reader can tell the rules of before a reload from those behind it.
            tables: self.set.generation() & 1,
            cause,
            weight: self.settings.refused_sample,
            padding: 0,
        });
    }

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn path(&self) -> Option<&PathHash> {
        Some(&self.path)
    }
}
