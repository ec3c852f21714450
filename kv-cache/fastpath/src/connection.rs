//! What a connection's commands mean for its hits and for the buckets that it holds (C2, C7).
//!
//! Requests and replies are numbered from 0, wrapping. A write takes its buckets when its request is complete and gives them
//! back when the reply of the same number leaves: pending writes wait in a ring. When the ring is full, one hold on the
//! global bucket covers all further ones until the last of them is answered.
//!
//! # Who writes what
//!
//! Both directions run on different CPUs at once. Each field has one writer; the other side only loads it. Fields that the
//! other side reads are accessed with volatile loads and stores, and [`Tables::add`] is a full barrier, so:
//!
//! - a slot of the ring is written before `tail` (with an addition in between), and read before `head` moves over it (the
//!   store of `head` is controlled by that load);
//! - `overflow_until` is written before `overflow_released` is read, and the other way round on the other side, so at least
//!   one of the two sees the other (Dekker's argument).

use crate::abi::GLOBAL_BUCKET;
use crate::choice::Choice;
use crate::coherence::{REPLY_FAILS, REPLY_LEAVES, WRITE_PASSES};
use crate::handler::Tables;
use xps_core::bound::{keep_in_memory, masked, unknown};

/// Slots of the ring: so many writes can be pending before they are lumped together. A power of two.
pub const WRITE_SLOTS: usize = 32;
/// In place of a bucket: the global one, and the agent is asked to look again when the reply leaves too.
pub const RECHECK_SLOT: u32 = GLOBAL_BUCKET + 1;
/// In place of a bucket: none.
pub const NO_SLOT: u32 = u32::MAX;

/// Users of connections, beside the numbers of [`user_of`].
pub mod user {
    /// The one that every connection starts with: the default user, if it needs no password.
    pub const INITIAL: u32 = 0;
    /// The default user, with its password.
    pub const DEFAULT: u32 = 1;
}

/// The number of a user whose name has this hash. Two users may have the same one; the agent then trusts neither.
#[inline(always)]
#[must_use]
pub const fn user_of(name_hash: u64) -> u32 {
    name_hash as u32 | 2
}

/// Bits of a slot that are the bucket; the others are the request's number.
const BUCKET_BITS: u32 = 17;
const NUMBER_MASK: u32 = (1 << (32 - BUCKET_BITS)) - 1;
/// Requests that may be outstanding for the ring to tell old numbers from new ones.
const OUTSTANDING_MAX: u32 = 1 << 14;

const _: () = {
    assert!(RECHECK_SLOT == 1 << 16 | 1 && BUCKET_BITS == 17 && OUTSTANDING_MAX * 2 == NUMBER_MASK + 1);
    assert!(WRITE_SLOTS.is_power_of_two());
};

/// What the request that is being read will hold once it is complete. It lies beside the parser's state, where there is
/// room.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Slots behind the connection's tail.
    slots: u8,
    /// [`NO_ROOM`](Self::NO_ROOM) and [`RECHECK`](Self::RECHECK).
    beyond: u8,
}

impl Noted {
    /// Nothing.
    pub const NONE: Self = Self { slots: 0, beyond: 0 };
    /// It needs more slots than there are.
    const NO_ROOM: u8 = 1;
    /// The agent must look again, and that is in none of the slots.
    const RECHECK: u8 = 2;

    /// Whether all of it has a slot of its own.
    #[inline(always)]
    #[must_use]
    pub const fn in_slots(self) -> bool {
        self.beyond == 0
    }
}

/// State of one connection; all zero at its start.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    // Written by the request side.
    /// Pending writes: bucket and low bits of the request's number.
    slots: [u32; WRITE_SLOTS],
    /// Slots filled so far whose buckets are held, wrapping.
    tail: u32,
    /// Requests that went to the server.
    requests: u32,
    /// Replies that must have been seen before the overflow's hold is given back.
    overflow_until: u32,
    /// Holds taken for writes that found the ring full.
    overflow_taken: u32,
    /// Number of the request from which on replies cannot be counted.
    unpaired_from: u32,
    /// Whether there is such a request.
    unpaired: u8,
    /// Whether anything was chosen: database, user or protocol.
    chosen: u8,
    /// Between MULTI and EXEC.
    multi: u8,
    /// What was queued since MULTI: a [`queued`].
    dirty: u8,
    /// What else stands between requests and hits for a while: flags of [`until`].
    until: u8,
    /// No hits any more.
    suspended: u8,
    /// The global bucket is held until the connection's end.
    forever: u8,
    // Written by either side, once.
    /// The stream is not understood; the global bucket is held until the connection's end.
    opaque: u8,

    // Written by the response side.
    /// Slots emptied so far, wrapping.
    head: u32,
    /// Replies seen.
    replies: u32,
    /// How many of `overflow_taken` it has taken over.
    overflow_released: u32,
    /// Of those, how many are still held.
    overflow_kept: u32,
    /// The server has told an error that nobody asked for: it is about to close the connection.
    unasked: u32,

    // Of both sides, see there.
    /// The database.
    pub database: Choice,
    /// A [`user`] or [`user_of`] its name.
    pub user: Choice,
    /// Version of RESP; 0 is RESP2 as well, since nobody asked.
    pub protocol: Choice,
}

/// Until when there are no hits.
mod until {
    /// EXEC, DISCARD or UNWATCH: keys are watched.
    pub(super) const UNWATCHED: u8 = 1;
    /// The request behind ASKING has passed: it must, since it takes the permission away.
    pub(super) const ASKED: u8 = 2;
    /// What ASKING came with has passed; then [`ASKED`].
    pub(super) const ASKING_PASSED: u8 = 4;
    const _: () = assert!(ASKING_PASSED >> 1 == ASKED);
}

/// What a transaction has queued.
pub mod queued {
    /// Nothing that changes a value.
    pub const CLEAN: u8 = 0;
    /// Writes.
    pub const WRITES: u8 = 1;
    /// Also something that the agent must look at.
    pub const RECHECK: u8 = 2;
}

#[inline(always)]
pub(crate) fn load(field: &u32) -> u32 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

#[inline(always)]
pub(crate) fn store(field: &mut u32, value: u32) {
    // SAFETY: a mutable reference is valid for writes.
    unsafe { core::ptr::from_mut(field).write_volatile(value) }
}

/// The bucket in a slot: the global one for [`RECHECK_SLOT`].
#[inline(always)]
fn bucket_in(slot: u32) -> u32 {
    (slot & ((1 << BUCKET_BITS) - 1)) - is_recheck(slot)
}

/// 1 for a slot with [`RECHECK_SLOT`], otherwise 0. Without a branch, since it stands in loops.
#[inline(always)]
fn is_recheck(slot: u32) -> u32 {
    unknown(slot >> 16) & slot & 1
}

/// What the request side does.
impl Connection {
    /// Whether the server has said what it says before it closes the connection: what the client sends from then on is not
    /// understood.
    #[inline(always)]
    #[must_use]
    pub fn is_over(&self) -> bool {
        load(&self.unasked) != 0
    }

    /// A connection at its start.
    pub const START: Self = Self {
        slots: [0; WRITE_SLOTS],
        tail: 0,
        requests: 0,
        overflow_until: 0,
        overflow_taken: 0,
        unpaired_from: 0,
        unpaired: 0,
        chosen: 0,
        multi: 0,
        dirty: queued::CLEAN,
        until: 0,
        suspended: 0,
        forever: 0,
        opaque: 0,
        head: 0,
        replies: 0,
        overflow_released: 0,
        overflow_kept: 0,
        unasked: 0,
        database: Choice::START,
        user: Choice::START,
        protocol: Choice::START,
    };

    /// Requests that went to the server so far: the number of the next one.
    #[inline(always)]
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// `count` more requests go to the server.
    #[inline(always)]
    pub fn passed(&mut self, count: u32) {
        let requests = self.requests.wrapping_add(count);
        store(&mut self.requests, requests);
        if count != 0 {
            self.until = self.until & until::UNWATCHED | (self.until & until::ASKING_PASSED) >> 1;
        }
    }

    /// Whether every request that went to the server is answered.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self) -> bool {
        load(&self.replies) == self.requests
    }

    /// Whether the commands so far allow hits; the database is a question of its own.
    #[inline(always)]
    #[must_use]
    pub const fn may_hit(&self) -> bool {
        (self.multi | self.until | self.suspended | self.unpaired | self.opaque) == 0
    }

    /// Something is chosen now, or was: from here on replies are looked at for it.
    #[inline(always)]
    pub fn choose(&mut self) {
        // SAFETY: a mutable reference is valid for writes.
        unsafe { core::ptr::from_mut(&mut self.chosen).write_volatile(1) };
    }

    /// Request `number`, which is being read, may change `bucket` (or [`RECHECK_SLOT`]).
    ///
    /// Nothing is held yet: Redis carries out complete requests only, and who begins one and never ends it must not stop
    /// anybody's hits.
    #[inline(always)]
    pub fn note(&mut self, noted: &mut Noted, number: u32, bucket: u32) {
        let at = self.tail.wrapping_add(noted.slots as u32);
        let pending = at.wrapping_sub(load(&self.head));
        let outstanding = number.wrapping_sub(load(&self.replies));
        if self.unpaired != 0 || pending as usize >= WRITE_SLOTS || outstanding >= OUTSTANDING_MAX {
            let recheck = if bucket == RECHECK_SLOT { Noted::RECHECK } else { 0 };
            noted.beyond |= Noted::NO_ROOM | recheck;
            return;
        }
        // SAFETY: masked to the ring's length.
        unsafe {
            let slot = self.slots.as_mut_ptr().add(masked::<{ WRITE_SLOTS as u32 - 1 }>(at));
            slot.write_volatile(bucket | (number & NUMBER_MASK) << BUCKET_BITS);
        }
        noted.slots += 1;
    }

    /// Request `number` is complete, and Redis has not seen its end: what it may change is held from here on. Whether the
    /// agent must be asked to look again.
    #[inline(always)]
    pub fn complete<T: Tables>(&mut self, tables: &T, noted: &mut Noted, number: u32) -> bool {
        let mut rechecks = 0;
        for _ in 0..WRITE_SLOTS {
            keep_in_memory();
            if noted.slots == 0 {
                break;
            }
            let tail = self.tail;
            // SAFETY: masked to the ring's length.
            let slot = unsafe {
                self.slots.as_ptr().add(masked::<{ WRITE_SLOTS as u32 - 1 }>(tail)).read_volatile()
            };
            rechecks |= is_recheck(slot);
            tables.add(bucket_in(slot), WRITE_PASSES);
            store(&mut self.tail, tail.wrapping_add(1));
            noted.slots -= 1;
        }
        let beyond = noted.beyond;
        noted.beyond = 0;
        if beyond != 0 {
            if self.unpaired == 0 {
                self.overflow(tables, number);
            } else if self.forever == 0 {
                self.forever = 1;
                tables.add(GLOBAL_BUCKET, WRITE_PASSES);
            }
        }
        rechecks != 0 || beyond & Noted::RECHECK != 0
    }

    #[inline(always)]
    fn overflow<T: Tables>(&mut self, tables: &T, number: u32) {
        store(&mut self.overflow_until, number.wrapping_add(1));
        // Nothing is added; but what is stored is seen before `overflow_released` is loaded.
        tables.add(GLOBAL_BUCKET, 0);
        if self.overflow_taken == load(&self.overflow_released) {
            tables.add(GLOBAL_BUCKET, WRITE_PASSES);
            let taken = self.overflow_taken.wrapping_add(1);
            store(&mut self.overflow_taken, taken);
        }
    }

    /// In a transaction, something other than a read was queued.
    #[inline(always)]
    pub fn queue(&mut self, what: u8) {
        if self.multi != 0 && what > self.dirty {
            self.dirty = what;
        }
    }

    /// MULTI. A second one does not clear what the first one has queued.
    #[inline(always)]
    pub fn multi(&mut self) {
        if self.multi == 0 {
            self.dirty = queued::CLEAN;
        }
        self.multi = 1;
    }

    /// EXEC: the bucket that it may write, or [`NO_SLOT`]. `alone`: without arguments, so Redis takes it.
    #[inline(always)]
    #[must_use]
    pub fn exec(&mut self, alone: bool) -> u32 {
        // Without MULTI it would be an error; but it is not believed that there was none.
        let (multi, dirty) = (self.multi, self.dirty);
        if alone {
            self.discard();
        }
        if dirty == queued::RECHECK {
            RECHECK_SLOT
        } else if multi == 0 || dirty != queued::CLEAN || !alone {
            GLOBAL_BUCKET
        } else {
            NO_SLOT
        }
    }

    /// DISCARD without arguments.
    #[inline(always)]
    pub fn discard(&mut self) {
        self.multi = 0;
        self.dirty = queued::CLEAN;
        self.until &= !until::UNWATCHED;
    }

    /// Whether it is between MULTI and EXEC.
    #[inline(always)]
    #[must_use]
    pub const fn in_multi(&self) -> bool {
        self.multi != 0
    }

    /// WATCH.
    #[inline(always)]
    pub fn watch(&mut self) {
        self.until |= until::UNWATCHED;
    }

    /// UNWATCH without arguments; in a transaction it is only queued.
    #[inline(always)]
    pub fn unwatch(&mut self) {
        if self.multi == 0 {
            self.until &= !until::UNWATCHED;
        }
    }

    /// ASKING.
    #[inline(always)]
    pub fn ask(&mut self) {
        self.until |= until::ASKING_PASSED;
    }

    /// No hits from here on.
    #[inline(always)]
    pub fn suspend(&mut self) {
        self.suspended = 1;
    }

    /// Replies cannot be told from request `number` on.
    #[inline(always)]
    pub fn unpair(&mut self, number: u32) {
        if self.unpaired == 0 {
            store(&mut self.unpaired_from, number);
            // SAFETY: a mutable reference is valid for writes.
            unsafe { core::ptr::from_mut(&mut self.unpaired).write_volatile(1) };
        }
        self.suspended = 1;
    }
}

/// What the response side does.
impl Connection {
    /// Whether replies cannot be told any more.
    #[inline(always)]
    #[must_use]
    pub fn deaf(&self) -> bool {
        // SAFETY: a reference is valid for reads.
        let unpaired = unsafe { core::ptr::from_ref(&self.unpaired).read_volatile() };
        self.unasked != 0 || unpaired != 0 && load(&self.unpaired_from) == self.replies
    }

    /// A reply of type `kind` leaves though every request is answered. Whether that is an error, such as of a server that has
    /// no room for another client, or that stops reading in the midst of a request: nothing was carried out. It closes
    /// the connection then; but should the client be heard once more, nothing is known of that
    /// ([`is_over`](Self::is_over)).
    #[inline(always)]
    pub fn unasked(&mut self, kind: u8) -> bool {
        let error = kind == b'-';
        store(&mut self.unasked, error as u32);
        error
    }

    /// A reply of type `kind` leaves: what its request held is given back. False if there was no request.
    #[inline(always)]
    pub fn replied<T: Tables>(&mut self, tables: &T, kind: u8) -> bool {
        let number = self.replies;
        if number == load(&self.requests) {
            return false;
        }
        let granted = kind != b'-' && kind != b'!';
        // SAFETY: a reference is valid for reads.
        if unsafe { core::ptr::from_ref(&self.chosen).read_volatile() } != 0 {
            self.database.answered(number, granted);
            self.user.answered(number, granted);
            self.protocol.answered(number, granted);
        }
        let replies = number.wrapping_add(1);
        let tail = load(&self.tail);
        let mut rechecks = 0;
        for _ in 0..WRITE_SLOTS {
            keep_in_memory();
            let head = self.head;
            if head == tail {
                break;
            }
            // SAFETY: masked to the ring's length.
            let slot = unsafe {
                self.slots.as_ptr().add(masked::<{ WRITE_SLOTS as u32 - 1 }>(head)).read_volatile()
            };
            // The request's age is at least 1 if it is answered, and never more than half of what the bits can tell.
            let age = replies.wrapping_sub(slot >> BUCKET_BITS) & NUMBER_MASK;
            if age.wrapping_sub(1) >= OUTSTANDING_MAX {
                break;
            }
            rechecks |= is_recheck(slot);
            tables.add(bucket_in(slot), if granted { REPLY_LEAVES } else { REPLY_FAILS });
            store(&mut self.head, head.wrapping_add(1));
        }
        if rechecks != 0 {
            tables.ask_recheck();
        }
        self.give_back_overflow(tables, replies);
        store(&mut self.replies, replies);
        true
    }

    #[inline(always)]
    fn give_back_overflow<T: Tables>(&mut self, tables: &T, replies: u32) {
        let taken = load(&self.overflow_taken);
        let until = load(&self.overflow_until);
        let fresh = taken.wrapping_sub(self.overflow_released);
        if (fresh == 0 && self.overflow_kept == 0) || (replies.wrapping_sub(until) as i32) < 0 {
            return;
        }
        if fresh != 0 {
            self.overflow_kept = self.overflow_kept.wrapping_add(fresh);
            store(&mut self.overflow_released, taken);
            tables.add(GLOBAL_BUCKET, 0);
            if load(&self.overflow_until) != until {
                // Another write counts on this hold, or has taken its own: it stays until that one is answered.
                return;
            }
        }
        tables.add(GLOBAL_BUCKET, 0u64.wrapping_sub(self.overflow_kept as u64));
        self.overflow_kept = 0;
    }
}

/// What either side, or the agent, does.
impl Connection {
    /// From now on nothing of the connection is seen: it may write anything until it ends.
    #[inline(always)]
    pub fn opaque<T: Tables>(&mut self, tables: &T) {
        self.suspended = 1;
        self.opaque = 1;
        tables.add(GLOBAL_BUCKET, WRITE_PASSES);
    }

    /// Whether nothing is held.
    #[inline(always)]
    #[must_use]
    pub fn holds_nothing(&self) -> bool {
        load(&self.tail) == load(&self.head)
            && self.forever == 0
            && self.opaque == 0
            && load(&self.overflow_taken) == load(&self.overflow_released)
            && self.overflow_kept == 0
    }

    /// Whether the global bucket is held until the connection's end: nobody gets hits as long as it lives.
    #[must_use]
    pub const fn holds_all(&self) -> bool {
        self.forever | self.opaque != 0
    }

    /// Whether it is not understood and nobody is known to have logged in by it.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.opaque != 0 && !self.user.ever_granted()
    }

    /// Each bucket that is held, as often as it is: what the agent has to add [`REPLY_FAILS`] to for a connection that
    /// is gone for good. Not for programs.
    pub fn each_hold(&self, mut hold: impl FnMut(u32)) {
        let pending = self.tail.wrapping_sub(self.head).min(WRITE_SLOTS as u32);
        for i in 0..pending {
            hold(bucket_in(self.slots[self.head.wrapping_add(i) as usize % WRITE_SLOTS]));
        }
        let overflow =
            self.overflow_taken.wrapping_sub(self.overflow_released).wrapping_add(self.overflow_kept);
        for _ in 0..overflow {
            hold(GLOBAL_BUCKET);
        }
        for flag in [self.forever, self.opaque] {
            if flag != 0 {
                hold(GLOBAL_BUCKET);
            }
        }
    }
}
