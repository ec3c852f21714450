//! What becomes of the arguments of a request: names are looked up, keys hashed, GETs collected, the rest skipped.

use xps_core::bound::{keep_in_memory, masked, unknown};
use xps_core::handler::{Scan, Window};
use xps_core::siphash::SipHash13;

use crate::abi::{GLOBAL_BUCKET, KEY_BYTES_MAX};
use crate::choice::UNKNOWN;
use crate::coherence::bucket_of;
use crate::command::{Class, Info, NAME_BYTES};
use crate::connection::{Connection, NO_SLOT, RECHECK_SLOT, queued, user, user_of};
use crate::handler::{GETS_MAX, Get, KEY_ROOM, Scratch, State, Tables, going_on};
use crate::request::{NAME_TOO_LONG, Parser, phase, words};

/// What an argument is.
pub mod role {
    /// Nothing that matters.
    pub const SKIP: u8 = 0;
    /// The command's name.
    pub const NAME: u8 = 1;
    /// The first argument of a container.
    pub const SUBCOMMAND: u8 = 2;
    /// A key that the command may change.
    pub const WRITE_KEY: u8 = 3;
    /// The key of a GET.
    pub const GET_KEY: u8 = 4;
    /// The database of a SELECT.
    pub const DATABASE: u8 = 5;
    /// The user's name of an AUTH or HELLO.
    pub const USER: u8 = 6;
    /// The protocol's version of a HELLO.
    pub const PROTOCOL: u8 = 7;
    /// The name of an option of a HELLO.
    pub const OPTION: u8 = 8;
    /// The key of a SET that was read whole: it is collected behind the GETs' keys.
    pub const SET_KEY: u8 = 9;
}

/// Words and single bytes of a key read by one call: enough for a usual one.
const KEY_STEPS: usize = 20;
/// Bytes of a name or number read by one call.
const WORD_STEPS: usize = 8;

#[inline(always)]
pub(crate) const fn eight(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

/// The `bytes` (less than 8) low bytes of a word.
#[inline(always)]
pub(crate) const fn low_bytes(word: u64, bytes: u32) -> u64 {
    word & !(u64::MAX << ((bytes & 7) * 8))
}

/// Keeps a key that lies whole in the window behind those of the GETs so far.
#[inline(always)]
pub(crate) fn collect<T: Tables>(tables: &T, window: &Window, scratch: &mut Scratch, key: u32, key_len: u32) {
    let index = scratch.gets_len;
    let mut hash = SipHash13::new(tables.secret());
    let to = scratch.key(index);
    let mut at = 0;
    for _ in 0..KEY_ROOM / 8 {
        if at + 8 > key_len {
            break;
        }
        let word = window.word(key + at);
        hash.aligned(word);
        put_word(to, at, word);
        // If LLVM knew how it goes on, it would compare it for equality with where it ends, `key_len & !7`. From that the verifier
        // of Linux 6.17 and 6.18 concludes what cannot be, and warns of a mistake of its own.
        at = unknown(at) + 8;
    }
    // From the length and not from the loop: there it is another number after each step, and the verifier would go through
    // all that follows once for each.
    let at = unknown(key_len) & !7;
    let rest = low_bytes(window.word(key + at), key_len & 7);
    put_word(to, at, rest);
    // SAFETY: a GET's place in the scratch.
    unsafe { *scratch.get(index) = Get { hash: hash.finish_with(rest, key_len & 7), key_len, padding: 0 } };
}

/// Writes eight bytes of a key.
#[inline(always)]
pub(crate) fn put_word(key: *mut u8, at: u32, word: u64) {
    // SAFETY: masked to a multiple of 8 below the key's room.
    unsafe { key.add(masked::<{ KEY_ROOM as u32 - 8 }>(at)).cast::<u64>().write(word) };
}

/// An argument's bytes begin: what it is.
#[inline(always)]
pub(crate) fn begin<T: Tables>(tables: &T, parser: &mut Parser, scratch: &mut Scratch) {
    let argument = parser.argument;
    let mut role = role::SKIP;
    if argument == 0 {
        role = role::NAME;
    } else if parser.class == Class::Keys as u8 {
        if argument == parser.key_next && argument <= parser.key_last {
            parser.key_next = argument + parser.key_step;
            // A key that is too long for the cache is nobody's entry, so its write changes none.
            if parser.body_left as usize <= KEY_BYTES_MAX {
                role = role::WRITE_KEY;
            }
        }
    } else if argument == 1 {
        if parser.class == Class::Container as u8 {
            role = role::SUBCOMMAND;
        } else if parser.class == Class::Select as u8 {
            role = role::DATABASE;
            parser.number = 0;
        } else if parser.class == Class::Get as u8 {
            if parser.body_left as usize > KEY_BYTES_MAX {
                scratch.other = 1;
            } else if scratch.gets_len as usize >= GETS_MAX {
                scratch.crowded = 1;
            } else if scratch.bypassed == 0 {
                role = role::GET_KEY;
            }
        } else if parser.class == Class::Auth as u8 {
            role = user_role(parser);
        } else if parser.class == Class::Hello as u8 {
            role = role::PROTOCOL;
            parser.number = 0;
        }
    } else if parser.class == Class::Hello as u8 {
        if argument == parser.key_next {
            role = role::OPTION;
            parser.key_last = argument;
            parser.name = [0; NAME_BYTES];
            parser.name_len = 0;
        } else if argument == parser.key_last + parser.key_step {
            role = user_role(parser);
        }
    }
    parser.key_at = 0;
    if role == role::WRITE_KEY || role == role::GET_KEY || role == role::USER {
        parser.hash = SipHash13::new(tables.secret());
    }
    parser.role = role;
}

/// A user's name begins. One that is longer than a key is nobody's whom the agent tells of.
#[inline(always)]
const fn user_role(parser: &Parser) -> u8 {
    if parser.body_left as usize <= KEY_BYTES_MAX { role::USER } else { role::SKIP }
}

/// Reads an argument's bytes. What has ended with them is told by `role`, which is [`role::SKIP`] otherwise.
#[inline(always)]
pub(crate) fn body(window: &mut Window, parser: &mut Parser, scratch: &mut Scratch, role: &mut u8) -> Scan {
    let reading = parser.role;
    if reading == role::SKIP {
        return skip(window, parser);
    }
    if reading == role::WRITE_KEY || reading == role::GET_KEY || reading == role::USER {
        let index = scratch.gets_len;
        key_bytes(window, parser, scratch.key(index));
    } else {
        let number = reading == role::DATABASE || reading == role::PROTOCOL;
        let whole = !number && parser.whole_name(window);
        if !whole && !word_bytes(window, parser, number) {
            return Scan::Opaque;
        }
    }
    if parser.body_left == 0 {
        parser.phase = phase::BODY_CR;
        *role = reading;
    }
    going_on(window)
}

/// Acts on what has ended: an argument of this role, or a command without further arguments.
#[inline(always)]
pub(crate) fn settle<T: Tables>(tables: &T, state: &mut State, scratch: &mut Scratch) {
    let role = scratch.ended;
    let State { request: parser, connection, .. } = state;
    let number = connection.requests().wrapping_add(scratch.requests);
    let mut bucket = NO_SLOT;
    match role {
        role::GET_KEY => {
            let index = scratch.gets_len;
            let get = Get { hash: parser.hash.finish(), key_len: parser.key_at, padding: 0 };
            // SAFETY: a GET's place in the scratch.
            unsafe { *scratch.get(index) = get };
            scratch.gets_len = index + 1;
        }
        role::WRITE_KEY => bucket = bucket_of(parser.hash.finish()),
        role::SET_KEY => {
            connection.queue(queued::WRITES);
            let index = scratch.gets_len;
            // SAFETY: a GET's place in the scratch.
            bucket = bucket_of(unsafe { (*scratch.get(index)).hash });
        }
        role::DATABASE => {
            let database = number_read(parser);
            connection.database.ask(number, database);
            connection.choose();
        }
        role::USER => connection.user.refine(user_of(parser.hash.finish())),
        role::PROTOCOL => connection.protocol.refine(number_read(parser)),
        role::OPTION => option(parser, connection, number),
        role::NAME | role::SUBCOMMAND => bucket = named(tables, parser, connection, scratch, number, role),
        _ => {}
    }
    // As in the handler: whatever has led to it.
    scratch.bucket = bucket;
    keep_in_memory();
    let bucket = scratch.bucket;
    if bucket != NO_SLOT {
        connection.note(&mut parser.noted, number, bucket);
    }
}

/// The number that was read. Redis takes other forms of it, or refuses them; they are rare enough not to be told apart.
#[inline(always)]
const fn number_read(parser: &Parser) -> u32 {
    if parser.number < UNKNOWN as u64 && parser.key_at != 0 { parser.number as u32 } else { UNKNOWN }
}

/// An option of a HELLO: `AUTH user password` or `SETNAME name`; of anything else Redis makes an error.
#[inline(always)]
fn option(parser: &mut Parser, connection: &mut Connection, number: u32) {
    const AUTH: u32 = u32::from_le_bytes(*b"auth");
    let start = [parser.name[0], parser.name[1], parser.name[2], parser.name[3]];
    if parser.name_len == 4 && u32::from_le_bytes(start) == AUTH {
        connection.user.ask(number, UNKNOWN);
        parser.key_step = 1;
        parser.key_next = parser.key_last + 3;
    } else {
        if parser.key_step == 1 {
            // Behind AUTH: some servers have logged in before they find fault with what follows.
            connection.user.doubt();
        }
        parser.key_step = 0;
        parser.key_next = parser.key_last + 2;
    }
}

/// Goes over an argument that nobody needs: in constant time, however long it is.
#[inline(always)]
fn skip(window: &mut Window, parser: &mut Parser) -> Scan {
    let here = window.len - window.at;
    parser.phase = phase::BODY_CR;
    if parser.body_left <= here {
        window.at += parser.body_left;
        parser.body_left = 0;
        return going_on(window);
    }
    window.skip = parser.body_left - here;
    window.at = window.len;
    parser.body_left = 0;
    Scan::Skip
}

/// Hashes the bytes of a key that are in the window, eight at a time where they allow it. They are kept at the place of
/// the next GET too; if it is a write's key, the segment is not answered, and nobody reads them.
#[inline(always)]
fn key_bytes(window: &mut Window, parser: &mut Parser, to: *mut u8) {
    let mut hash = parser.hash;
    for _ in 0..KEY_STEPS {
        keep_in_memory();
        let left = parser.body_left;
        let at = parser.key_at;
        if left == 0 || window.at >= window.len {
            break;
        }
        if at & 7 == 0 && left >= 8 && window.len - window.at >= 8 {
            let word = window.word(window.at);
            hash.aligned(word);
            put_word(to, at, word);
            window.at += 8;
            parser.body_left = left - 8;
            parser.key_at = at + 8;
        } else {
            let byte = window.word(window.at) as u8;
            hash.byte(byte);
            if at & 7 == 0 {
                put_word(to, at, 0);
            }
            // SAFETY: masked to the key's room.
            unsafe { *to.add(masked::<{ KEY_ROOM as u32 - 1 }>(at)) = byte };
            window.at += 1;
            parser.body_left = left - 1;
            parser.key_at = at + 1;
        }
    }
    parser.hash = hash;
}

/// Reads a name or a number. False if it cannot be understood.
#[inline(always)]
fn word_bytes(window: &mut Window, parser: &mut Parser, number: bool) -> bool {
    for _ in 0..WORD_STEPS {
        keep_in_memory();
        if parser.body_left == 0 {
            break;
        }
        let Some(byte) = window.next() else { break };
        parser.body_left -= 1;
        if number {
            digit(parser, byte);
        } else if !parser.name_byte(byte) {
            return false;
        }
    }
    true
}

/// Adds a digit of a number; anything else makes it unknown.
#[inline(always)]
fn digit(parser: &mut Parser, byte: u8) {
    let digit = byte.wrapping_sub(b'0');
    let leading_zero = parser.key_at != 0 && parser.number == 0;
    if digit > 9 || leading_zero || parser.number >= UNKNOWN as u64 / 16 {
        parser.number = UNKNOWN as u64;
    } else {
        parser.number = parser.number * 10 + digit as u64;
    }
    parser.key_at = 1;
}

/// A name is read: the command's, or a container's with the subcommand behind it (nothing behind the `|` if it stands
/// alone). The bucket that the command may write, or [`NO_SLOT`].
#[inline(always)]
fn named<T: Tables>(
    tables: &T,
    parser: &mut Parser,
    connection: &mut Connection,
    scratch: &mut Scratch,
    number: u32,
    role: u8,
) -> u32 {
    if role == role::NAME && parser.is_get() {
        parser.class = Class::Get as u8;
        if parser.arguments != 2 {
            // Redis refuses it, or it is inline.
            scratch.other = 1;
            parser.class = Class::Harmless as u8;
        }
        return NO_SLOT;
    }
    scratch.other = 1;
    let mut info = Info { class: Class::Anything as u8, first: 0, last: 0, step: 0 };
    if parser.name_len != NAME_TOO_LONG
        && let Some(known) = tables.command(&parser.name)
    {
        info = known;
    }
    if info.class == Class::Container as u8 && role == role::NAME {
        parser.class = Class::Container as u8;
        parser.name_byte(b'|');
        return NO_SLOT;
    }
    parser.class = Class::Harmless as u8;
    take(parser, connection, number, info)
}

/// The command is known: what follows from it. The bucket that it may write, or [`NO_SLOT`].
#[inline(always)]
fn take(parser: &mut Parser, connection: &mut Connection, number: u32, info: Info) -> u32 {
    let arguments = parser.arguments;
    let inline = arguments == 0;
    match Class::from_u8(info.class) {
        Class::Harmless | Class::Get => {}
        Class::Keys => {
            connection.queue(queued::WRITES);
            let last = if info.last < 0 { arguments as i32 + info.last as i32 } else { info.last as i32 };
            if inline || info.first < 1 || info.step < 1 {
                return GLOBAL_BUCKET;
            }
            if last >= info.first as i32 {
                parser.class = Class::Keys as u8;
                parser.key_next = info.first as u32;
                parser.key_last = last as u32;
                parser.key_step = info.step as u32;
            }
        }
        // A container within a container is none of Redis'.
        Class::Anything | Class::Container => {
            connection.queue(queued::WRITES);
            return GLOBAL_BUCKET;
        }
        Class::Recheck => {
            connection.queue(queued::RECHECK);
            return RECHECK_SLOT;
        }
        Class::Multi => connection.multi(),
        Class::Exec => return connection.exec(arguments == 1),
        Class::Discard => {
            if arguments == 1 {
                connection.discard();
            }
        }
        Class::Watch => connection.watch(),
        Class::Unwatch => {
            if arguments == 1 {
                connection.unwatch();
            }
        }
        Class::Select => {
            if inline || connection.in_multi() {
                connection.database.lose();
            } else if arguments == 2 {
                parser.class = Class::Select as u8;
            }
        }
        Class::Unpaired => {
            connection.queue(queued::WRITES);
            connection.unpair(number);
        }
        Class::Session => connection.suspend(),
        Class::Asking => connection.ask(),
        Class::Auth => {
            if connection.in_multi() {
                connection.user.lose();
            } else if inline {
                // Whose name it gives is not read.
                connection.user.ask(number, UNKNOWN);
                connection.choose();
            } else if arguments == 2 || arguments == 3 {
                connection.user.ask(number, if arguments == 2 { user::DEFAULT } else { UNKNOWN });
                connection.choose();
                if arguments == 3 {
                    parser.class = Class::Auth as u8;
                }
            }
        }
        Class::Hello => {
            if connection.in_multi() {
                connection.user.lose();
                connection.protocol.lose();
            } else if inline {
                connection.user.ask(number, UNKNOWN);
                connection.user.doubt();
                connection.protocol.ask(number, UNKNOWN);
                connection.choose();
            } else if arguments >= 2 {
                connection.protocol.ask(number, UNKNOWN);
                connection.choose();
                parser.class = Class::Hello as u8;
                parser.key_next = 2;
                parser.key_last = 0;
                parser.key_step = 0;
            }
        }
    }
    NO_SLOT
}

/// What has ended with a word of an inline command: the first or the second. Its arguments are not told apart (their
/// number counts as 0), so it writes anything if it writes.
#[inline(always)]
pub(crate) const fn word(parser: &Parser) -> u8 {
    if parser.argument == words::FIRST_DONE {
        role::NAME
    } else if parser.class == Class::Container as u8 {
        role::SUBCOMMAND
    } else {
        role::SKIP
    }
}

/// What has ended with a request: a container without a subcommand is not looked up before.
#[inline(always)]
pub(crate) const fn end(parser: &Parser) -> u8 {
    if parser.class == Class::Container as u8 { role::SUBCOMMAND } else { role::SKIP }
}
