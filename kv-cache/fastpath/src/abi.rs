//! The maps between kv-cache's programs and its agent, beside the runtime's own ([`xps_core::abi`]).
//!
//! An entry is found in two steps. `INDEX` maps the key's hash (with the database mixed in) to a [`Location`]; there, in
//! one of the pages, lies the [`EntryHead`], then the key, then the whole reply (`$5\r\nhello\r\n`), both padded to 8
//! bytes. The agent writes an entry completely before it puts the location into `INDEX`, and leaves a removed entry's
//! bytes alone for [`QUARANTINE_MS`], and until every program that ran when it was removed has ended: a program that still
//! reads them reads an entry that was valid, and one that still writes to them writes to nobody else's.

/// Version of this module's layouts.
pub const VERSION: u32 = 5;

/// Names of the maps.
pub mod map {
    /// `[u64; BUCKETS + 1]` in one array of `u64`, mappable: see [`crate::coherence`].
    pub const BUCKETS: &str = "BUCKETS";
    /// [`crate::command::Info`] by [`crate::command::Name`].
    pub const COMMANDS: &str = "COMMANDS";
    /// [`super::Location`] by the hash of database and key.
    pub const INDEX: &str = "INDEX";
    /// [`super::Page`]s, mappable.
    pub const PAGES: &str = "PAGES";
    /// One [`super::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// Users that may read every key: 1 by [`crate::connection::user_of`] their name.
    pub const USERS: &str = "USERS";
}

/// Buckets of versions (C1). The global bucket has the index [`GLOBAL_BUCKET`].
pub const BUCKETS: u32 = 1 << 16;
/// Index of the global bucket.
pub const GLOBAL_BUCKET: u32 = BUCKETS;

/// Bytes of a page of entries.
pub const PAGE_BYTES: usize = 32 * 1024;
/// Largest entry: head, padded key, padded reply. An entry starts at most at `PAGE_BYTES - ENTRY_BYTES_MAX`.
pub const ENTRY_BYTES_MAX: usize = 2048;
/// Longest key that can be cached, in bytes.
pub const KEY_BYTES_MAX: usize = 250;
/// How long the bytes of a removed entry are not used again.
pub const QUARANTINE_MS: u64 = 1_000;

/// Hits beyond which an entry's count is not raised any more, until the agent takes it: the cache line of an entry that is
/// asked for often is then written by nobody.
pub const HITS_MAX: u16 = 255;

/// Most users, beside the default one, that get hits.
pub const USERS_MAX: u32 = 1024;

/// Most commands the table takes.
pub const COMMANDS_MAX: u32 = 2048;

/// Where an entry lies; changed only as a whole word.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Index of the page.
    pub page: u32,
    /// Offset in the page, in units of 8 bytes.
    pub offset_words: u16,
    /// Counts hits up to [`HITS_MAX`], or is [`MISSED`]; what eviction goes by. Written by the programs, not atomically.
    pub hits: u16,
}

/// In [`Location::hits`]: the entry is not current any more, and the agent was told.
pub const MISSED: u16 = u16::MAX;

/// Head of an entry. While `INDEX` leads to it, only the programs change it, and its reply: see [`crate::update`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryHead {
    /// Hash of database and key, as in `INDEX`. Zeroed before the bytes are used again.
    pub id: u64,
    /// The key's bucket, read before the value was fetched, nothing pending.
    pub bucket: u64,
    /// The global bucket, likewise.
    pub global: u64,
    /// Until when the value may be served: `CLOCK_TAI` in nanoseconds, `u64::MAX` for ever.
    pub deadline_tai_ns: u64,
    /// Length of the key in bytes.
    pub key_len: u16,
    /// Length of the reply in bytes; 0: there is no such key.
    pub reply_len: u16,
    /// Database number.
    pub database: u32,
    /// Bytes that a reply may take here; a multiple of 8.
    pub reply_room: u16,
    /// Zero.
    pub padding: [u16; 3],
}

/// A page, as its first entry lies in it. The type of the map's values, so that the object file tells the layout of an
/// entry.
#[repr(C)]
pub struct Page {
    /// Head of the first entry.
    pub first: EntryHead,
    /// Its key and reply, and the other entries.
    pub rest: [u8; PAGE_BYTES - size_of::<EntryHead>()],
}

/// What the agent tells the handler.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`VERSION`].
    pub version: u32,
    /// Whether hits are allowed as far as coherence is concerned (C8, C9): 1 or 0.
    pub coherent: u32,
    /// The count of foreign segments ([`xps_core::abi::State::foreign`]) up to which every connection is understood; a
    /// higher count means no hits until the agent has looked.
    pub foreign_seen: u64,
    /// The count of [`Recheck`] events up to which the agent has looked.
    pub rechecks_seen: u64,
    /// How many rechecks the programs asked for; counted atomically by the programs.
    pub rechecks: u64,
    /// One of how many misses is reported (a power of two; 1: each).
    pub miss_sample: u32,
    /// What of the default user may read every key: see [`users`].
    pub users: u32,
    /// The handler steps aside: only one of so many segments of GETs is looked up (a power of two); 0: each.
    pub bypass: u32,
    /// Changes several times during the server's idle timeout; 0 where it has none. See
    /// [`crate::request::Parser::epoch`].
    pub epoch: u32,
    /// How long an entry may be served that was refreshed by a SET on its way to the server, in nanoseconds; `u64::MAX`: for
    /// ever; 0: SETs refresh none. See [`crate::update`].
    pub refresh_ns: u64,
}

/// Bits of [`Settings::users`].
pub mod users {
    /// Connections that were never authenticated.
    pub const INITIAL: u32 = 1;
    /// Connections that gave the default user's password.
    pub const DEFAULT: u32 = 2;
    /// Nobody reads by this one: the server carries out nothing for a connection that has not logged in, as far as the
    /// agent has seen.
    pub const LOGIN: u32 = 4;
}

/// Kinds of event records.
pub mod event {
    /// A [`super::Miss`].
    pub const MISS: u32 = xps_core::abi::EVENT_SERVICE;
    /// A [`super::Recheck`].
    pub const RECHECK: u32 = xps_core::abi::EVENT_SERVICE + 1;
}

/// A GET that was not answered for want of an entry.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Miss {
    /// The record's head.
    pub head: xps_core::abi::Event,
    /// Hash of database and key.
    pub id: u64,
    /// Database number.
    pub database: u32,
    /// Length of the key.
    pub key_len: u32,
    /// How many misses the report stands for.
    pub weight: u32,
    /// Zero.
    pub padding: u32,
    /// The key.
    pub key: [u8; 256],
}

/// A command went by that may change what the agent checked: users, passwords, roles.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Recheck {
    /// The record's head.
    pub head: xps_core::abi::Event,
}

const _: () = {
    assert!(size_of::<Location>() == 8);
    assert!(size_of::<EntryHead>() == 48);
    assert!(size_of::<Page>() == PAGE_BYTES);
    assert!(size_of::<Settings>() == 56);
    assert!(size_of::<Miss>() == 288);
};
