//! Tables that leave out one of the rules.

use std::cell::Cell;
use std::rc::Rc;

use kv_fastpath::abi::{EntryHead, GLOBAL_BUCKET, Settings};
use kv_fastpath::coherence::{PENDING_BITS, REPLY_FAILS, REPLY_LEAVES, WRITE_PASSES};
use kv_fastpath::command::{Info, Name};
use kv_fastpath::handler::{KEY_ROOM, Scratch, Tables, Urgency};
use kv_fastpath::host::World;

/// Which rule is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// None: the tables are right.
    None,
    /// An entry's versions are not compared.
    NoVersions,
    /// A passing write makes a new version, but is not pending.
    NoPending,
    /// The deadline is not looked at.
    NoDeadline,
    /// Writes of the global bucket are not noticed.
    NoGlobal,
    /// What a refused SET has put into an entry is served.
    RefusalCounts,
    /// A write is pending without a new version: the entry is valid again once the reply has left.
    EarlyRelease,
}

/// The tables that all connections share.
#[derive(Clone)]
pub(crate) struct Tampered {
    pub(crate) world: Rc<World>,
    pub(crate) mutation: Mutation,
    entry: Rc<Cell<Option<EntryHead>>>,
}

impl Tampered {
    pub(crate) fn new(mutation: Mutation) -> Self {
        Self { world: Rc::new(World::new()), mutation, entry: Rc::default() }
    }
}

impl Tables for Tampered {
    fn command(&self, name: &Name) -> Option<Info> {
        (&*self.world).command(name)
    }

    fn bucket(&self, index: u32) -> u64 {
        match (self.mutation, self.entry.get()) {
            (Mutation::NoVersions, Some(entry)) if index == GLOBAL_BUCKET => entry.global,
            (Mutation::NoVersions, Some(entry)) => entry.bucket,
            _ => (&*self.world).bucket(index),
        }
    }

    fn add(&self, index: u32, delta: u64) {
        let delta = match self.mutation {
            Mutation::NoPending if delta == WRITE_PASSES => 1 << PENDING_BITS,
            Mutation::NoPending if delta == REPLY_LEAVES || delta == REPLY_FAILS => 0,
            Mutation::RefusalCounts if delta == REPLY_FAILS => REPLY_LEAVES,
            Mutation::NoGlobal if index == GLOBAL_BUCKET => 0,
            Mutation::EarlyRelease if delta == WRITE_PASSES => 1,
            _ => delta,
        };
        (&*self.world).add(index, delta);
    }

    fn locate(&self, id: u64) -> Option<*const u8> {
        let entry = (&*self.world).locate(id)?;
        // SAFETY: an entry begins with its head.
        self.entry.set(Some(unsafe { *entry.cast() }));
        Some(entry)
    }

    fn entry(&self, id: u64) -> Option<*mut u8> {
        (&*self.world).entry(id)
    }

    fn fence(&self, scratch: &mut Scratch) {
        (&*self.world).fence(scratch);
    }

    fn settings(&self) -> Option<*const Settings> {
        (&*self.world).settings()
    }

    fn may_read(&self, user: u32) -> bool {
        (&*self.world).may_read(user)
    }

    fn foreign(&self) -> u64 {
        (&*self.world).foreign()
    }

    fn secret(&self) -> [u64; 2] {
        (&*self.world).secret()
    }

    fn tai_ns(&self) -> u64 {
        if self.mutation == Mutation::NoDeadline { 0 } else { (&*self.world).tai_ns() }
    }

    fn random(&self) -> u32 {
        (&*self.world).random()
    }

    fn stale(&self, id: u64, settled: bool) -> Urgency {
        (&*self.world).stale(id, settled)
    }

    fn report_miss(&self, id: u64, database: u32, key: &[u8; KEY_ROOM], key_len: u32, urgency: Urgency) {
        (&*self.world).report_miss(id, database, key, key_len, urgency);
    }

    fn ask_recheck(&self) {
        (&*self.world).ask_recheck();
    }
}
