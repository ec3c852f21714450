//! Entries refreshed by SETs on their way to the server, so that a key that is written often keeps its hits.
//!
//! A SET that passes has its bucket pending until its reply leaves; until then no entry of the bucket is served. If no other
//! write is pending in it, and none passes before the reply leaves, the server holds what the SET says from then on: so the
//! SET's value is put into the entry that the key has, under the version that the bucket will have by then (C2, C3). Any
//! other write raises the version, and so does a SET that is refused, or whose reply never comes
//! ([`REPLY_FAILS`](crate::coherence::REPLY_FAILS)).
//!
//! Only where every write is seen: the agent switches it on ([`Settings::refresh_ns`](crate::abi::Settings::refresh_ns)).
//! Only a SET without options in the form that clients send, whole in the window, the last request of its segment, whose
//! reply has room in the entry; all others leave a stale entry.
//!
//! An entry's bytes change while others may be reading them. Whoever reads looks at the bucket's word before and after
//! ([`crate::answer`]), and the SET has raised it before a byte changes. Two SETs do not write at once: the second one finds
//! the first one pending, whose reply cannot leave before the first one's program has ended.

use xps_core::bound::masked;
use xps_core::word::store_u64;

use crate::abi::{EntryHead, GLOBAL_BUCKET};
use crate::answer::is_entry_of;
use crate::choice::UNKNOWN;
use crate::coherence::{bucket_of, entry_id, one_pending, settled};
use crate::handler::{KEY_ROOM, Scratch, Tables};

/// Puts the value of the SET that was just read, and whose bucket is held, into its key's entry if there is one.
#[inline(always)]
pub fn refresh<T: Tables + ?Sized>(tables: &T, database: u32, scratch: &mut Scratch) {
    let index = scratch.gets_len;
    // SAFETY: a GET's place in the scratch, which is this CPU's own.
    let get = unsafe { *scratch.get(index) };
    let bucket = bucket_of(get.hash);
    // Before the settings: the agent forbids this first, and makes everything invalid then.
    let (version, global) = (tables.bucket(bucket), tables.bucket(GLOBAL_BUCKET));
    if database == UNKNOWN || !one_pending(version) || !settled(global) {
        return;
    }
    tables.fence(scratch);
    let lifetime_ns = lifetime_ns(tables);
    if lifetime_ns == 0 {
        return;
    }
    let id = entry_id(get.hash, database);
    let Some(entry) = tables.entry(id) else { return };
    let head = entry.cast::<EntryHead>();
    if !is_entry_of(head, id, database, scratch.key(index), get.key_len) {
        return;
    }
    let deadline =
        if lifetime_ns == u64::MAX { u64::MAX } else { tables.tai_ns().saturating_add(lifetime_ns) };
    let (len, reply) = (scratch.value_len, scratch.key(index + 1).cast::<u64>());
    // SAFETY: an entry's ENTRY_BYTES_MAX bytes are writable; the reply begins at most 48 + 256 bytes behind its start, and
    // at most KEY_ROOM bytes are written there, none beyond the room that the agent has given it.
    unsafe {
        if len > (&raw const (*head).reply_room).read_volatile() as u32 {
            return;
        }
        let key_len = (&raw const (*scratch.get(index)).key_len).read_volatile();
        let to = entry.add(size_of::<EntryHead>() + masked::<{ KEY_ROOM as u32 * 2 - 8 }>(key_len + 7));
        for i in 0..KEY_ROOM as u32 / 8 {
            let at = i * 8;
            if at >= len {
                break;
            }
            store_u64(to.add(at as usize), reply.add(i as usize).read());
        }
        (&raw mut (*head).reply_len).write_volatile(len as u16);
        (&raw mut (*head).bucket).write_volatile(version - 1);
        (&raw mut (*head).global).write_volatile(global);
        (&raw mut (*head).deadline_tai_ns).write_volatile(deadline);
    }
}

/// [`Settings::refresh_ns`](crate::abi::Settings::refresh_ns), while hits are allowed as far as coherence is concerned.
#[inline(always)]
fn lifetime_ns<T: Tables + ?Sized>(tables: &T) -> u64 {
    let Some(settings) = tables.settings() else { return 0 };
    // SAFETY: the pointer is valid while the program runs; the agent changes the words one at a time.
    unsafe {
        if (&raw const (*settings).coherent).read_volatile() == 1 {
            (&raw const (*settings).refresh_ns).read_volatile()
        } else {
            0
        }
    }
}
