//! GETs and SETs that lie whole in the window, in the form that clients send: read in one step. All others, and whatever
//! is not exactly so, are for the parser ([`crate::request`]), which comes to the same.

use xps_core::bound::keep_in_memory;
use xps_core::handler::{WINDOW, Window};

use crate::abi::KEY_BYTES_MAX;
use crate::argument::{collect, eight, low_bytes, put_word};
use crate::command::{Class, NAME_BYTES};
use crate::handler::{GETS_MAX, Scratch, Tables};
use crate::request::{Parser, number_at};

/// What was read.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// Nothing.
    None = 0,
    /// A GET; it is collected.
    Get = 1,
    /// A SET without options; its key and the reply that a GET will get after it are kept behind the GETs.
    Set = 2,
}

/// Bytes of the shortest one: `*2 $3 GET $1 k`, each with its line's end.
const BYTES_MIN: u32 = 20;
/// Bytes before the length of the key.
const KEY_LENGTH_AT: u32 = 14;
/// Bytes behind the key of the shortest SET: `$1 v` and three lines' ends.
const VALUE_BYTES_MIN: u32 = 9;

const LINE_END: u64 = b'\r' as u64 | (b'\n' as u64) << 8;
const NEXT_ARGUMENT: u64 = LINE_END | (b'$' as u64) << 16;

/// Reads one; `parser` stands at a boundary and only lends its memory.
#[inline(always)]
pub(crate) fn read<T: Tables>(
    tables: &T,
    window: &mut Window,
    parser: &mut Parser,
    scratch: &mut Scratch,
) -> Whole {
    const CASE: u64 = eight(b"\x20\x20\x20\0\0\0\0\0");
    const SIX: u64 = (1 << 48) - 1;
    let start = window.at;
    let len = window.len;
    if len > WINDOW as u32 || start >= len || len - start < BYTES_MIN {
        return Whole::None;
    }
    let (first, second) = (window.word(start), (window.word(start + 8) | CASE) & SIX);
    let is_set = first == eight(b"*3\r\n$3\r\n") && second == eight(b"set\r\n$\0\0");
    if !is_set && (first != eight(b"*2\r\n$3\r\n") || second != eight(b"get\r\n$\0\0")) {
        return Whole::None;
    }
    let (key_len, digits) = number_at(window.word(start + KEY_LENGTH_AT), 0);
    if digits == 0 {
        return Whole::None;
    }
    let key = start + KEY_LENGTH_AT + digits + 2;
    let end = key + key_len;
    if key_len as usize > KEY_BYTES_MAX || end + 2 > len || scratch.gets_len as usize >= GETS_MAX {
        return Whole::None;
    }
    if !is_set {
        if window.word(end) & 0xffff != LINE_END {
            return Whole::None;
        }
    } else if !value(tables, window, parser, scratch, end, len) {
        return Whole::None;
    }
    if is_set || scratch.bypassed == 0 {
        collect(tables, window, scratch, key, key_len);
    }
    if is_set {
        window.at = end + scratch.value_len + 2;
        return Whole::Set;
    }
    scratch.gets_len += 1 - scratch.bypassed as u32;
    window.at = end + 2;
    Whole::Get
}

/// Keeps what lies behind a SET's key, which ends at `end`: it is the reply that a GET will get. False if that is not a
/// value alone, or the server has no such SET.
#[inline(always)]
fn value<T: Tables>(
    tables: &T,
    window: &Window,
    parser: &mut Parser,
    scratch: &mut Scratch,
    end: u32,
    len: u32,
) -> bool {
    if end + VALUE_BYTES_MIN > len || window.word(end) & 0xff_ffff != NEXT_ARGUMENT {
        return false;
    }
    let (value_len, digits) = number_at(window.word(end + 3), 0);
    let value_end = end + 3 + digits + 2 + value_len;
    if digits == 0 || value_end + 2 > len || window.word(value_end) & 0xffff != LINE_END {
        return false;
    }
    let index = scratch.gets_len + 1;
    if index as usize >= GETS_MAX {
        return false;
    }
    scratch.value_len = value_end - end;
    let to = scratch.key(index);
    for i in 0..WINDOW as u32 / 8 {
        keep_in_memory();
        let at = i * 8;
        let left = scratch.value_len.wrapping_sub(at) as i32;
        if left <= 0 {
            break;
        }
        let word = window.word(end + 2 + at);
        put_word(to, at, if left < 8 { low_bytes(word, left as u32) } else { word });
    }
    parser.name = [0; NAME_BYTES];
    [parser.name[0], parser.name[1], parser.name[2]] = *b"set";
    // A server may have it under another name, or not at all.
    let known = match tables.command(&parser.name) {
        Some(info) => info.class == Class::Keys as u8 && info.first == 1 && info.last == 1,
        None => false,
    };
    if !known {
        scratch.value_len = 0;
    }
    known
}
