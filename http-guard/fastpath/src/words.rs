//! Answers to requests that are refused: made by the agent but for the date and the time after which to come again.

use xps_core::bound::{keep_in_memory, unknown};
use xps_core::handler::{REPLY_MAX, Reply};
use xps_core::word::{load_u32, load_u64, store_u32, store_u64};

use crate::abi::{self, ANSWER_BYTES_MAX, DATE_BYTES, NUMBER_BYTES};
use crate::guard::Tables;
use crate::judge::Judgement;
use crate::limit::retry_after_s;

/// Most answers of one segment. A power of two.
pub const WORDS_MAX: usize = 8;

/// Longest time that is told, in seconds: so many digits there is room for.
const SECONDS_MAX: u64 = 4_000_000_000;

/// One answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Where it is: [`abi::answer_of`], or [`abi::answer_of_refusal`].
    pub index: u32,
    /// The time after which to come again, in seconds.
    pub retry_s: u32,
    /// Whether only its head is sent.
    pub head_only: u32,
}

impl Words {
    /// None.
    pub const NONE: Self = Self { index: 0, retry_s: 0, head_only: 0 };

    /// The answer of the rule that was decided by.
    #[inline(always)]
    #[must_use]
    pub fn of_rule(tables: u32, judgement: &Judgement, is_head: bool) -> Self {
        let seconds = retry_after_s(judgement.retry_ns);
        let seconds = if seconds > SECONDS_MAX { SECONDS_MAX } else { seconds };
        let index = abi::answer_of(tables, judgement.rule, false);
        Self { index, retry_s: seconds as u32, head_only: u32::from(is_head) }
    }

    /// The answer to what is refused by its syntax. Whether the method was HEAD is not known for sure then.
    #[inline(always)]
    #[must_use]
    pub const fn of_refusal(tables: u32, refusal: u8) -> Self {
        Self { index: abi::answer_of_refusal(tables, refusal), ..Self::NONE }
    }
}

/// Appends an answer; the `last` one closes the connection. Whether it fits, and there is one.
#[inline(always)]
pub fn write<T: Tables>(tables: &T, words: Words, last: bool, reply: &mut Reply) -> bool {
    let index = words.index + u32::from(last && abi::has_two_forms(words.index));
    let Some(answer) = tables.answer(index) else { return false };
    let Some(settings) = tables.settings() else { return false };
    // SAFETY: maps' values stay while the program runs.
    let (answer, settings) = unsafe { (&*answer, &*settings) };
    let start = reply.len;
    let len = u32::from(if words.head_only == 0 { answer.len } else { answer.head_len });
    // SAFETY: the answer has room for all of its length, which is a multiple of 8.
    if len == 0 || len as usize > ANSWER_BYTES_MAX || !unsafe { reply.append(answer.bytes.as_ptr(), len) } {
        return false;
    }
    if answer.date_at != 0 {
        // SAFETY: masked to the number of dates.
        let date = unsafe { &*settings.dates.as_ptr().add((settings.date & 1) as usize) };
        put_date(reply, start + u32::from(answer.date_at), date);
    }
    if answer.retry_at != 0 {
        put_number(reply, start + u32::from(answer.retry_at), words.retry_s);
    }
    if answer.reset_at != 0 {
        put_number(reply, start + u32::from(answer.reset_at), words.retry_s);
    }
    true
}

#[inline(always)]
fn put_date(reply: &mut Reply, at: u32, date: &[u8; 32]) {
    let at = unknown(at) as usize;
    if at > REPLY_MAX - DATE_BYTES {
        return;
    }
    // SAFETY: DATE_BYTES from there are within the reply, and within the date.
    unsafe {
        let (to, from) = (reply.bytes.as_mut_ptr().add(at), date.as_ptr());
        store_u64(to, load_u64(from));
        store_u64(to.add(8), load_u64(from.add(8)));
        store_u64(to.add(16), load_u64(from.add(16)));
        store_u32(to.add(24), load_u32(from.add(24)));
        *to.add(28) = *from.add(28);
    }
}

/// A number from the left, with spaces behind it.
#[inline(always)]
fn put_number(reply: &mut Reply, at: u32, number: u32) {
    let mut digits = 1;
    let mut rest = number / 10;
    let mut i = 0;
    while i < NUMBER_BYTES {
        keep_in_memory();
        if rest != 0 {
            rest /= 10;
            digits += 1;
        }
        i += 1;
    }
    let mut rest = number;
    let mut place = NUMBER_BYTES as u32;
    while place > 0 {
        keep_in_memory();
        place -= 1;
        let byte = if place < digits {
            let digit = (rest % 10) as u8;
            rest /= 10;
            b'0' + digit
        } else {
            b' '
        };
        let to = unknown(at + place) as usize;
        if to >= REPLY_MAX {
            return;
        }
        reply.bytes[to] = byte;
    }
}
