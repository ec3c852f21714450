//! What was read is bound to what the server takes (T2).
//!
//! Behind the stack a segment can still be lost: netfilter, a full buffer, another program. Then the client repeats it, and the
//! repetition passes without being read again. So until the server has acknowledged them, a repetition passes only if it is the
//! same bytes. Kept are the borders of what was passed, and a keyed digest (SipHash-1-3) of what the handler was shown of it:
//! what it skipped, it believes nothing about but the length.
//!
//! A piece is a run of bytes that were shown without a gap, cut where the packet was to be cut into segments: so it lies within
//! what one segment of the wire holds, and a repetition of that segment, or of several, covers it whole. Of a repetition that is
//! cut otherwise nothing is known.

use crate::bound::masked;
use crate::flow::Flow;
use crate::handler::{REPLY_MAX, WINDOW, Window};
use crate::seq::{after, before, latest};
use crate::siphash::SipHash13;

/// Pieces that are remembered of a segment, and of a connection; a power of two.
pub const PIECES: u32 = 16;

/// Longest piece, in bytes: packets that are not cut are remembered in pieces of it.
pub const PIECE_MAX: u32 = 16 * 1024;

/// Where the pieces lie in a flow: behind a kept reply. One that reaches so far is only made when the server has acknowledged
/// everything, and no piece counts any more.
const PLACE: usize = REPLY_MAX - size_of::<Pieces>();

/// Consecutive bytes that a handler was shown of a payload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first.
    pub offset: u32,
    /// How many.
    pub len: u32,
    /// Sum of the digests of its windows.
    pub digest: u64,
}

/// What a handler was shown of a segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The last runs of it, the `n`th at `n` modulo [`PIECES`].
    pub runs: [Run; PIECES as usize],
    /// Number of runs.
    pub count: u32,
    /// Bytes after each of which the packet is cut into segments.
    pub cut: u32,
    /// Offset of the last window.
    pub last_offset: u32,
    /// Its length while it is not in a digest yet.
    pub last_len: u32,
}

impl Shown {
    /// Nothing was shown yet of a packet that is cut after each `cut` bytes; 0 if it is not.
    #[inline(always)]
    pub fn begin(&mut self, cut: u32) {
        self.count = 0;
        self.last_len = 0;
        self.cut = if cut == 0 || cut > PIECE_MAX { PIECE_MAX } else { cut };
    }

    /// A run's place; an index that is checked would end in a panic, which a program cannot have.
    #[inline(always)]
    pub fn run(&mut self, nth: u32) -> *mut Run {
        // SAFETY: masked to the number of runs.
        unsafe { self.runs.as_mut_ptr().add(masked::<{ PIECES - 1 }>(nth)) }
    }

    /// Bytes up to the next cut.
    #[inline(always)]
    #[must_use]
    pub const fn to_cut(&self, offset: u32) -> u32 {
        if self.cut == 0 { PIECE_MAX } else { self.cut - offset % self.cut }
    }

    /// A window was shown that is in no digest yet, and does not cross a cut.
    #[inline(always)]
    pub fn take(&mut self, offset: u32, len: u32) {
        let goes_on = self.count != 0
            && offset == self.last_offset.wrapping_add(self.last_len)
            && self.cut != 0
            && !offset.is_multiple_of(self.cut);
        // SAFETY: as in `run`.
        unsafe {
            if goes_on {
                (*self.run(self.count.wrapping_sub(1))).len += len;
            } else {
                *self.run(self.count) = Run { offset, len, digest: 0 };
                self.count += 1;
            }
        }
        self.last_offset = offset;
        self.last_len = len;
    }

    /// The digest of the last window, if it is not known yet, is that of `digest`, which is given the window's offset
    /// in its run, and its length.
    #[inline(always)]
    pub fn settle(&mut self, digest: impl FnOnce(u32, u32) -> u64) {
        let (offset, len) = (self.last_offset, self.last_len);
        if len != 0 && self.count != 0 {
            // SAFETY: as in `run`.
            unsafe {
                let run = self.run(self.count.wrapping_sub(1));
                let digest = digest(offset.wrapping_sub((*run).offset), len);
                (*run).digest = (*run).digest.wrapping_add(digest);
            }
            // Its end stays known, for the next one.
            self.last_offset = offset.wrapping_add(len);
            self.last_len = 0;
        }
    }
}

/// Bytes that the server was given.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Number of the first, in the client's numbering.
    pub start: u32,
    /// How many.
    pub len: u32,
    /// Their digest.
    pub digest: u64,
}

/// What is remembered of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// The last pieces, the `n`th at `n` modulo [`PIECES`].
    pub pieces: [Piece; PIECES as usize],
    /// From here on all that was shown is remembered.
    pub from: u32,
    /// Which run of a segment is remembered next.
    pub nth: u32,
}

/// What is remembered of a flow's connection.
#[inline(always)]
pub(crate) fn pieces<S>(flow: *mut Flow<S>) -> *mut Pieces {
    // SAFETY: within the reply's bytes, which are aligned to eight.
    unsafe { (&raw mut (*flow).reply.bytes).cast::<u8>().add(PLACE).cast() }
}

/// A piece of a flow.
#[inline(always)]
pub(crate) fn piece<S>(flow: *mut Flow<S>, nth: u32) -> *mut Piece {
    // SAFETY: masked to the number of pieces.
    unsafe { (&raw mut (*pieces(flow)).pieces).cast::<Piece>().add(masked::<{ PIECES - 1 }>(nth)) }
}

/// Remembers what was shown of a segment that passes, and begins at `seq`. `kept`: bytes of a reply that must not be overwritten.
/// Whether there was room.
#[inline(always)]
pub(crate) fn bind<S>(flow: *mut Flow<S>, seq: u32, shown: &mut Shown, kept: u32) -> bool {
    if kept as usize > PLACE {
        return shown.count == 0;
    }
    // SAFETY: a flow's memory stays while the program runs; the caller has the claim on the client's direction.
    unsafe {
        let all = pieces(flow);
        if (*flow).bound == 0 {
            (*all).from = seq;
        }
        (*all).nth = shown.count.saturating_sub(PIECES);
        if (*all).nth != 0 {
            (*all).from = seq.wrapping_add((*shown.run((*all).nth)).offset);
        }
        // Numbers that are compared are read from memory in each step: to the verifier all steps look alike then.
        for _ in 0..PIECES {
            let (nth, count) =
                ((&raw const (*all).nth).read_volatile(), (&raw const shown.count).read_volatile());
            if nth >= count {
                break;
            }
            let bound = (&raw const (*flow).bound).read_volatile();
            let place = piece(flow, bound);
            if bound >= PIECES {
                (*all).from = latest((*all).from, (*place).start.wrapping_add((*place).len));
            }
            let Run { offset, len, digest } = *shown.run(nth);
            *place = Piece { start: seq.wrapping_add(offset), len, digest };
            (&raw mut (*flow).bound).write_volatile(bound.wrapping_add(1));
            (&raw mut (*all).nth).write_volatile(nth.wrapping_add(1));
        }
    }
    true
}

/// How a repetition compares with what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same bytes.
    Same,
    /// Other bytes.
    Other,
    /// It is cut otherwise, or too long ago.
    Unknown,
}

/// Compares a repetition, of the numbers from `first` to `behind`, as far as it lies between `from` and `to`. `digest` is that of
/// so many bytes from a number on, as they are in the repetition.
#[inline(always)]
pub(crate) fn compare<S>(
    flow: *mut Flow<S>,
    (first, behind): (u32, u32),
    (from, to): (u32, u32),
    digest: impl Fn(u32, u32) -> u64,
) -> Comparison {
    // SAFETY: as in `bind`.
    let (bound, known) = unsafe { ((*flow).bound, (*pieces(flow)).from) };
    if bound != 0 && before(from, known) {
        return Comparison::Unknown;
    }
    for nth in 0..PIECES {
        // SAFETY: as in `bind`.
        let Piece { start, len, digest: expected } = unsafe { piece(flow, nth).read_volatile() };
        let end = start.wrapping_add(len);
        // SAFETY: as in `bind`. Read in each step, as there.
        let bound = unsafe { (&raw const (*flow).bound).read_volatile() };
        if nth >= bound || !after(end, from) || !before(start, to) {
            continue;
        }
        if before(start, first) || after(end, behind) {
            return Comparison::Unknown;
        }
        if digest(start, len) != expected {
            return Comparison::Other;
        }
    }
    Comparison::Same
}

/// Digest of the first `len` bytes of a window, which stand at `offset` in their run.
#[inline(always)]
#[must_use]
pub fn digest(key: [u64; 2], window: &Window, offset: u32, len: u32) -> u64 {
    let mut hash = SipHash13::new(key);
    let mut at = 0;
    while at < WINDOW as u32 {
        if at >= len {
            break;
        }
        let mut word = window.aligned_word(at);
        let left = len - at;
        if left < 8 {
            word &= (1 << (left * 8)) - 1;
            hash.aligned(word);
            break;
        }
        hash.aligned(word);
        at += 8;
    }
    hash.finish_with(u64::from(offset) | u64::from(len & 0xffff) << 32, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_makes_runs() {
        let mut shown = Shown::default();
        shown.begin(300);
        for (offset, len) in [(0, 256), (256, 44), (300, 10), (500, 3), (503, 7)] {
            shown.settle(|_, len| u64::from(len));
            shown.take(offset, len);
        }
        shown.settle(|_, len| u64::from(len));
        let runs =
            [(0, 300), (300, 10), (500, 10)].map(|(offset, len)| Run { offset, len, digest: len.into() });
        assert_eq!((shown.count, &shown.runs[..3]), (3, &runs[..]));
        assert_eq!((shown.to_cut(0), shown.to_cut(299), shown.to_cut(300)), (300, 1, 300));
    }

    fn flow() -> std::boxed::Box<Flow<[u64; 4]>> {
        // SAFETY: plain data.
        std::boxed::Box::new(unsafe { core::mem::zeroed() })
    }

    #[test]
    fn repetitions_are_compared_piece_by_piece() {
        let mut flow = flow();
        let flow: *mut _ = &mut *flow;
        for (seq, len) in [(100, 50), (150, 50), (200, 100)] {
            let mut shown = Shown::default();
            shown.begin(0);
            shown.take(0, len);
            shown.settle(|_, len| u64::from(len) ^ u64::from(seq));
            assert!(bind(flow, seq, &mut shown, 0));
        }
        let right = |start: u32, len: u32| u64::from(len) ^ u64::from(start);
        let of = |first, behind, digest: &dyn Fn(u32, u32) -> u64| {
            compare(flow, (first, behind), (latest(first, 150), behind), digest)
        };
        assert_eq!(of(150, 200, &right), Comparison::Same);
        assert_eq!(of(100, 300, &right), Comparison::Same, "merged, and partly acknowledged");
        assert_eq!(
            of(150, 300, &|start, len| right(start, len) + u64::from(start == 200)),
            Comparison::Other
        );
        assert_eq!(of(150, 250, &right), Comparison::Unknown, "cut within a piece");
        assert_eq!(of(160, 300, &right), Comparison::Unknown);
    }

    #[test]
    fn what_is_too_long_ago_is_unknown() {
        let mut flow = flow();
        let flow: *mut _ = &mut *flow;
        for seq in 0..20 {
            let mut shown = Shown::default();
            shown.begin(0);
            shown.take(0, 10);
            shown.settle(|_, _| 7);
            assert!(bind(flow, seq * 10, &mut shown, 0));
        }
        let of = |first, behind| compare(flow, (first, behind), (first, behind), |_, _| 7);
        assert_eq!(
            (of(190, 200), of(40, 50), of(30, 40)),
            (Comparison::Same, Comparison::Same, Comparison::Unknown)
        );
        let mut shown = Shown::default();
        shown.begin(10);
        for nth in 0..20 {
            shown.take(nth * 10, 10);
            shown.settle(|_, _| 8);
        }
        assert!(bind(flow, 200, &mut shown, 0));
        let of = |first, behind| compare(flow, (first, behind), (first, behind), |_, _| 8);
        assert_eq!((of(240, 400), of(230, 400)), (Comparison::Same, Comparison::Unknown));
        assert!(!bind(flow, 400, &mut shown, REPLY_MAX as u32), "a kept reply is in the way");
    }

    #[test]
    fn each_byte_its_place_and_the_length_count() {
        let of = |change: &dyn Fn(&mut Window), offset, len| {
            let mut window = Window::EMPTY;
            window.bytes = core::array::from_fn(|i| i as u8);
            change(&mut window);
            digest([1, 2], &window, offset, len)
        };
        let same = of(&|_| (), 0, 21);
        assert_eq!(same, of(&|window| window.bytes[21] = 99, 0, 21), "what lies behind does not count");
        for i in 0..21 {
            assert_ne!(same, of(&|window| window.bytes[i] ^= 1, 0, 21));
        }
        assert_ne!(same, of(&|_| (), 256, 21));
        assert_ne!(same, of(&|_| (), 0, 20));
        assert_ne!(of(&|_| (), 0, 256), of(&|window| window.bytes[255] ^= 1, 0, 256));
    }
}
