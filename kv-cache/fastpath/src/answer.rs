//! Answers the GETs of a segment from the table of entries, or says why not (C3).

use xps_core::bound::masked;
use xps_core::handler::Reply;
use xps_core::verdict::Reason;

use crate::abi::{EntryHead, GLOBAL_BUCKET, KEY_BYTES_MAX, Settings, users};
use crate::choice::UNKNOWN;
use crate::coherence::{bucket_of, entry_id, settled};
use crate::connection::{Connection, user};
use crate::handler::{GETS_MAX, KEY_ROOM, Scratch, Tables, Urgency};

/// Writes the replies of all GETs into `reply`, or tells what stands in the way. Nothing of it is sent then.
#[inline(always)]
pub(crate) fn answer<T: Tables>(
    tables: &T,
    connection: &Connection,
    epoch: &mut u8,
    scratch: &mut Scratch,
    reply: &mut Reply,
    room: u32,
) -> Option<Reason> {
    let (database, protocol) = (connection.database.get(), connection.protocol.get());
    if database == UNKNOWN || protocol == UNKNOWN {
        return Some(Reason::Suspended);
    }
    let Some(settings) = tables.settings() else { return Some(Reason::Suspended) };
    if let Some(reason) = forbidden(tables, settings, connection.user.get()) {
        return Some(reason);
    }
    // SAFETY: the pointer is valid while the program runs; the agent changes the words one at a time.
    let now = unsafe { (&raw const (*settings).epoch).read_volatile() } as u8;
    if *epoch != now {
        // Nothing but a request that reaches it shows the server that the connection is in use (C10).
        *epoch = now;
        return Some(Reason::Presence);
    }
    for index in 0..GETS_MAX as u32 {
        if index >= scratch.gets_len {
            break;
        }
        let refused = tables.answer_one(database, protocol, index, scratch, reply);
        if refused != ANSWERED {
            return Some(refusal(refused));
        }
    }
    if reply.len > room {
        return Some(Reason::TooLarge);
    }
    None
}

/// Why `user` gets no hits, if so: the agent does not vouch for its tables as far as connections and users are concerned
/// (C8, C9), or the user may not read every key (C7).
#[inline(always)]
fn forbidden<T: Tables>(tables: &T, settings: *const Settings, user: u32) -> Option<Reason> {
    // SAFETY: as in `answer`.
    let (coherent, foreign_seen, rechecks, rechecks_seen, allowed) = unsafe {
        (
            (&raw const (*settings).coherent).read_volatile(),
            (&raw const (*settings).foreign_seen).read_volatile(),
            (&raw const (*settings).rechecks).read_volatile(),
            (&raw const (*settings).rechecks_seen).read_volatile(),
            (&raw const (*settings).users).read_volatile(),
        )
    };
    if coherent != 1 || rechecks != rechecks_seen || tables.foreign() != foreign_seen {
        return Some(Reason::Suspended);
    }
    let permitted = match user {
        user::INITIAL => allowed & users::INITIAL != 0,
        user::DEFAULT => allowed & users::DEFAULT != 0,
        UNKNOWN => false,
        other => tables.may_read(other),
    };
    if permitted { None } else { Some(Reason::NotPermitted) }
}

/// What [`one`] returns for a GET whose reply was appended.
pub const ANSWERED: u32 = 0;
/// What it returns for one that has no valid entry.
pub const MISSED: u32 = 1;
/// What it returns for one whose reply does not fit.
pub const TOO_LARGE: u32 = 2;

#[inline(always)]
const fn refusal(code: u32) -> Reason {
    if code == MISSED { Reason::Miss } else { Reason::TooLarge }
}

/// Answers the GET `index` of the segment: appends its reply, or reports the miss. A number, since in the kernel this is
/// a function that is verified by itself ([`Tables::answer_one`]).
#[inline(always)]
pub fn one<T: Tables + ?Sized>(
    tables: &T,
    database: u32,
    protocol: u32,
    index: u32,
    scratch: &mut Scratch,
    reply: &mut Reply,
) -> u32 {
    // SAFETY: a GET's place in the scratch, which is this CPU's own.
    let get = unsafe { *scratch.get(index) };
    let key = scratch.key(index).cast_const();
    // SAFETY: a key's place in the scratch.
    let room = unsafe { &*key.cast::<[u8; KEY_ROOM]>() };
    let id = entry_id(get.hash, database);
    let bucket = bucket_of(get.hash);
    let Some(entry) = tables.locate(id) else {
        tables.report_miss(id, database, room, get.key_len, Urgency::Sampled);
        return MISSED;
    };
    let head = entry.cast::<EntryHead>();
    if !is_entry_of(head, id, database, key, get.key_len) {
        tables.report_miss(id, database, room, get.key_len, Urgency::Sampled);
        return MISSED;
    }
    let version = tables.bucket(bucket);
    if !is_current(tables, head, version) {
        let settled = settled(version) && settled(tables.bucket(GLOBAL_BUCKET));
        tables.report_miss(id, database, room, get.key_len, tables.stale(id, settled));
        return MISSED;
    }
    // SAFETY: an entry's ENTRY_BYTES_MAX bytes are readable; the reply begins at most 48 + 256 bytes behind its start,
    // and not more than REPLY_MAX bytes rounded up are read there.
    let fitted = unsafe {
        // Loaded again: of the one that was compared, the verifier knows more than is good for it.
        let key_len = (&raw const (*scratch.get(index)).key_len).read_volatile();
        let key_room = masked::<{ KEY_ROOM as u32 * 2 - 8 }>(key_len + 7);
        let bytes = entry.add(size_of::<EntryHead>() + key_room);
        let reply_len = (&raw const (*head).reply_len).read_volatile() as u32;
        if reply_len == 0 { append_null(reply, protocol) } else { reply.append(bytes, reply_len) }
    };
    if !fitted {
        return TOO_LARGE;
    }
    // The agent zeroes the id before it uses the bytes again, and a SET that refreshes the entry has raised the version
    // before it changes a byte: what was copied before these reads is whole, and of this entry.
    tables.fence(scratch);
    // SAFETY: as above.
    if unsafe { (&raw const (*head).id).read_volatile() } != id || tables.bucket(bucket) != version {
        return MISSED;
    }
    ANSWERED
}

/// Appends what the server says of a key that does not exist.
#[inline(always)]
fn append_null(reply: &mut Reply, protocol: u32) -> bool {
    if protocol == 3 {
        reply.append_word(u64::from_le_bytes(*b"_\r\n\0\0\0\0\0"), 3)
    } else {
        reply.append_word(u64::from_le_bytes(*b"$-1\r\n\0\0\0"), 5)
    }
}

/// Whether the entry is of this key in this database.
#[inline(always)]
pub(crate) fn is_entry_of(
    head: *const EntryHead,
    id: u64,
    database: u32,
    key: *const u8,
    key_len: u32,
) -> bool {
    // SAFETY: an entry's ENTRY_BYTES_MAX bytes are readable, and KEY_ROOM bytes of the key; the words that are compared
    // lie within KEY_ROOM of either.
    unsafe {
        if (&raw const (*head).id).read_volatile() != id
            || (&raw const (*head).database).read_volatile() != database
            || (&raw const (*head).key_len).read_volatile() as u32 != key_len
            || key_len as usize > KEY_BYTES_MAX
        {
            return false;
        }
        let ours = key.cast::<u64>();
        let theirs = head.add(1).cast::<u64>();
        for i in 0..KEY_ROOM / 8 {
            if i as u32 * 8 >= key_len {
                break;
            }
            if ours.add(i).read() != theirs.add(i).read() {
                return false;
            }
        }
    }
    true
}

/// Whether nothing that could have changed the value has passed since it was fetched, and it has not expired.
#[inline(always)]
fn is_current<T: Tables + ?Sized>(tables: &T, head: *const EntryHead, version: u64) -> bool {
    // SAFETY: an entry's head is readable.
    let (key_word, global_word, deadline) = unsafe {
        (
            (&raw const (*head).bucket).read_volatile(),
            (&raw const (*head).global).read_volatile(),
            (&raw const (*head).deadline_tai_ns).read_volatile(),
        )
    };
    settled(key_word)
        && settled(global_word)
        && version == key_word
        && tables.bucket(GLOBAL_BUCKET) == global_word
        && (deadline == u64::MAX || tables.tai_ns() < deadline)
}

// What the masks and pointers above rely on.
const _: () = {
    assert!(
        size_of::<EntryHead>() + KEY_ROOM + xps_core::handler::REPLY_MAX + 8 <= crate::abi::ENTRY_BYTES_MAX
    );
    assert!(size_of::<Settings>() == 56);
};
