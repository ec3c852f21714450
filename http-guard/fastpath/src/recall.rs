//! Heads that were read before: what was learnt of them holds again.
//!
//! Much of what comes is the same few heads over and over: those of probes, of programs that ask an interface, above all those
//! of a flood. What is learnt of a head follows from its bytes and the tables alone, so it is kept beside them, and the same
//! bytes need not be read again. They are compared as a whole: a hash only finds the place, and a secret keeps clients from
//! choosing it.
//!
//! Only a head that is a segment by itself, and fits a window, is remembered, and only when it comes again while its place
//! still knows its hash: heads that come once cost no more than that. Everything behind reading is done each time: prefixes of
//! the client, rules, limits.

use xps_core::bound::{keep_in_memory, masked};
use xps_core::handler::{WINDOW, Window};

use crate::abi::SLOTS_MAX;
use crate::guard::{Scratch, State, Tables};
use crate::judge;
use crate::matcher::Matched;
use crate::matching::mixed;
use crate::request::Request;

/// Places of one CPU. A power of two.
pub const PLACES: u32 = 64;

const WORDS: usize = WINDOW / 8;
/// The end of a head, as the low bytes of a word.
const HEAD_END: u64 = 0x0a0d_0a0d;

/// One head and what was learnt of it; all zero at first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Its bytes, zeros behind them.
    bytes: [u64; WORDS],
    /// How many they are; 0: none is remembered.
    len: u32,
    /// [`crate::abi::Matcher::generation`] of the tables that it was read by.
    generation: u32,
    /// Hash of the head that was here last, but for the one that is remembered.
    passing: u64,
    request: Request,
    matched: Matched,
    slots: [u64; SLOTS_MAX],
    host: u64,
}

/// Those bytes of a word that the window, which is not full, has of its last word, of which there may be none.
#[inline(always)]
const fn rest(window: &Window) -> u64 {
    (1 << ((window.len & 7) * 8)) - 1
}

/// Hash of the window, if it may be a head that is remembered; otherwise 0.
#[inline(always)]
fn hash(window: &Window, secret: u64) -> u64 {
    // With a whole window the segment may go on.
    let fits = window.at == 0 && window.len < WINDOW as u32 && window.len > 4;
    if !fits || !window.bytes[0].is_ascii_uppercase() {
        return 0;
    }
    if window.word(window.len.wrapping_sub(4)) & 0xffff_ffff != HEAD_END {
        return 0;
    }
    let whole = window.len / 8;
    let mut hash = secret;
    let mut i = 0;
    while i < WORDS as u32 {
        if i >= whole {
            break;
        }
        hash = mixed(hash, window.word(i * 8));
        i += 1;
    }
    mixed(hash, window.word(whole * 8) & rest(window)) | 1
}

/// The place of a head with this hash.
#[inline(always)]
const fn place(hash: u64) -> u32 {
    (hash >> 58) as u32 & (PLACES - 1)
}

impl Remembered {
    #[inline(always)]
    fn is(&self, window: &Window) -> bool {
        if self.len != window.len {
            return false;
        }
        let whole = window.len / 8;
        let mut i = 0;
        while i < WORDS as u32 {
            if i >= whole {
                break;
            }
            if self.word(i) != window.word(i * 8) {
                return false;
            }
            i += 1;
        }
        (self.word(whole) ^ window.word(whole * 8)) & rest(window) == 0
    }

    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        // SAFETY: masked to the number of words.
        unsafe { *self.bytes.as_ptr().add(masked::<{ WORDS as u32 - 1 }>(index)) }
    }

    #[inline(always)]
    fn set_word(&mut self, index: u32, word: u64) {
        // SAFETY: masked to the number of words.
        unsafe { *self.bytes.as_mut_ptr().add(masked::<{ WORDS as u32 - 1 }>(index)) = word };
    }

    #[inline(always)]
    fn keep(&mut self, window: &Window, generation: u32, state: &State) {
        let whole = window.len / 8;
        let mut i = 0;
        while i < WORDS as u32 {
            if i >= whole {
                break;
            }
            self.set_word(i, window.word(i * 8));
            i += 1;
        }
        self.set_word(whole, window.word(whole * 8) & rest(window));
        self.len = window.len;
        self.generation = generation;
        self.request = state.request;
        self.matched = state.matching.matched;
        self.slots = state.matching.slots;
        self.host = state.matching.host;
    }
}

/// Whether the window, which is the start of a segment between two requests, is a head that was read before. Then the state is
/// that of a head that was just read. Otherwise the scratch knows its hash if it may be one to [remember].
#[inline(always)]
pub fn recall<T: Tables>(tables: &T, window: &Window, state: &mut State, scratch: &mut Scratch) -> bool {
    let Some(settings) = tables.settings() else { return false };
    // SAFETY: maps' values stay while the program runs.
    let settings = unsafe { &*settings };
    scratch.head = hash(window, settings.secret[1]);
    keep_in_memory();
    if scratch.head == 0 {
        return false;
    }
    if judge::is_blocked(tables, settings, scratch) {
        return false;
    }
    let which = settings.tables & 1;
    let (Some(remembered), Some(matcher)) = (tables.remembered(place(scratch.head)), tables.matcher(which))
    else {
        return false;
    };
    // SAFETY: likewise, and the place is this CPU's own.
    let (remembered, generation) = unsafe { (&*remembered, (*matcher).generation) };
    if remembered.generation != generation || !remembered.is(window) {
        return false;
    }
    state.request = remembered.request;
    state.matching.recall(which, generation, &remembered.matched, &remembered.slots, remembered.host);
    scratch.head = 0;
    true
}

/// The head was read for which the scratch has a hash; it is the whole window. Remembers it, or that it was here.
#[inline(always)]
pub fn remember<T: Tables>(tables: &T, window: &Window, state: &State, scratch: &mut Scratch) {
    let hash = scratch.head;
    let (Some(remembered), Some(matcher)) =
        (tables.remembered(place(hash)), tables.matcher(state.matching.tables()))
    else {
        return;
    };
    // SAFETY: maps' values stay while the program runs, and the place is this CPU's own.
    let (remembered, generation) = unsafe { (&mut *remembered, (*matcher).generation) };
    if remembered.passing != hash {
        remembered.passing = hash;
    } else if generation as u16 == state.matching.generation {
        remembered.keep(window, generation, state);
    }
}

const _: () = assert!(PLACES.is_power_of_two() && PLACES <= 64 && WORDS.is_power_of_two());
