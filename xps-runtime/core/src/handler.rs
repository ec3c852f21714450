//! The trait of a service's code: bytes of messages in, a verdict out.
//!
//! A handler reads both directions of a connection as streams, in windows of [`WINDOW`] bytes, so the program that
//! contains it has bounded loops. Its state of one connection lies in the flow, what it collects about one segment in a
//! per-CPU scratch value; itself it is usually a handle to its tables. See `xps-runtime/examples` for a whole one.

use crate::flow::FlowKey;
use crate::verdict::Verdict;
use crate::word::{load_u64, store_u32, store_u64};

/// Bytes that are read at once. A power of two: positions are masked, which the verifier can follow.
pub const WINDOW: usize = 256;

/// Longest reply that the stack sends, in bytes: what one Ethernet segment holds, but for 16 bytes, which a flow has better use
/// for.
pub const REPLY_MAX: usize = 1432;

/// Bytes behind [`REPLY_MAX`] into which whole words may be written.
pub const REPLY_SLACK: usize = 8;

/// A part of a segment's payload.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Window {
    /// The bytes; only `..len` are of the stream.
    pub bytes: [u8; WINDOW],
    /// The next byte to read.
    pub at: u32,
    /// How many bytes are there, at most [`WINDOW`].
    pub len: u32,
    /// Offset of `bytes[0]` in the segment's payload.
    pub base: u32,
    /// With [`Scan::Skip`]: how many bytes behind `at` the handler does not want to see.
    pub skip: u32,
}

impl Window {
    /// An empty window at the start of a payload.
    pub const EMPTY: Self = Self { bytes: [0; WINDOW], at: 0, len: 0, base: 0, skip: 0 };

    /// The next byte, if the window has one.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator invites adaptors, whose loops have no bound to the verifier"
    )]
    #[inline(always)]
    pub fn next(&mut self) -> Option<u8> {
        if self.at >= self.len {
            return None;
        }
        // SAFETY: masked to the length of the array. Without the mask the verifier would not know.
        let byte =
            unsafe { *self.bytes.as_ptr().add(crate::bound::masked::<{ WINDOW as u32 - 1 }>(self.at)) };
        self.at += 1;
        Some(byte)
    }

    /// Bytes that are left.
    #[inline(always)]
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.len.saturating_sub(self.at)
    }

    /// Eight bytes from `at` on as a little-endian word, whatever lies there.
    #[inline(always)]
    #[must_use]
    pub fn word(&self, at: u32) -> u64 {
        let base = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: `bytes` comes first in the window; masked to its length, and 16 bytes of other fields lie behind it.
        u64::from_le(unsafe { load_u64(base.add(crate::bound::masked::<{ WINDOW as u32 - 1 }>(at))) })
    }

    /// The same where `at` is a multiple of four: this target loads other words byte by byte.
    #[inline(always)]
    #[must_use]
    pub fn aligned_word(&self, at: u32) -> u64 {
        let base = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: `bytes` comes first in the window, which is aligned as its other fields are; masked to its length, and 16
        // bytes of those fields lie behind it.
        let [low, high] = unsafe {
            let at = base.add(crate::bound::masked::<{ WINDOW as u32 - 4 }>(at)).cast::<u32>();
            [at.read(), at.add(1).read()]
        };
        u64::from(u32::from_le(low)) | u64::from(u32::from_le(high)) << 32
    }

    /// Offset in the payload of the next byte.
    #[inline(always)]
    #[must_use]
    pub const fn position(&self) -> u32 {
        self.base + self.at
    }
}

/// What reading a window led to. A number, since it crosses a verified function's border.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The window is read to its end.
    More = 0,
    /// Something was settled; go on with the same window.
    Again = 1,
    /// The next [`Window::skip`] bytes of the stream need not be read.
    Skip = 2,
    /// The stream is not understood from here on.
    Opaque = 3,
    /// [`Handler::settle`] is called, and then it goes on: with the same window, if that is not read to its end.
    Settle = 4,
}

impl Scan {
    /// The value that crossed a function's border as a number.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        match value {
            0 => Self::More,
            1 => Self::Again,
            2 => Self::Skip,
            4 => Self::Settle,
            _ => Self::Opaque,
        }
    }
}

/// The reply under construction: the flow's own buffer, which keeps it until the client has it (S3).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Reply {
    /// The bytes; only `..len` are sent.
    pub bytes: [u8; REPLY_MAX + REPLY_SLACK],
    /// Length in bytes.
    pub len: u32,
    /// Zero.
    pub padding: u32,
}

impl Reply {
    /// No reply.
    pub const EMPTY: Self = Self { bytes: [0; REPLY_MAX + REPLY_SLACK], len: 0, padding: 0 };

    /// Makes the bytes behind the reply zero up to a whole word, which is what checksums are taken of.
    #[inline(always)]
    pub fn seal(&mut self) {
        // A register of its own: what was compared may not be what a copy on the stack holds, to Linux 6.1.
        let len = crate::bound::unknown(self.len) as usize;
        if len <= REPLY_MAX {
            // SAFETY: REPLY_SLACK bytes follow REPLY_MAX.
            unsafe { store_u32(self.bytes.as_mut_ptr().add(len), 0) };
        }
    }

    /// Appends the first `len` bytes, at most 8, of a little-endian word whose other bytes are zero. Whether they fitted.
    #[inline(always)]
    pub fn append_word(&mut self, word: u64, len: u32) -> bool {
        let start = crate::bound::unknown(self.len);
        if start as usize > REPLY_MAX - 8 {
            return false;
        }
        // SAFETY: eight bytes from there are within REPLY_MAX.
        unsafe { store_u64(self.bytes.as_mut_ptr().add(start as usize), word.to_le()) };
        self.len = start + len;
        true
    }

    /// Appends `len` bytes from `source`. Whether they fitted.
    ///
    /// # Safety
    /// `source` must be readable for `len` bytes rounded up to 8.
    #[inline(always)]
    pub unsafe fn append(&mut self, source: *const u8, len: u32) -> bool {
        let start = self.len;
        if len as usize > REPLY_MAX || start as usize > REPLY_MAX - len as usize {
            return false;
        }
        let mut i = 0;
        while i < REPLY_MAX as u32 {
            if i >= len {
                break;
            }
            // LLVM knows this from above, the verifier does not.
            let to = crate::bound::unknown(start + i);
            if to as usize > REPLY_MAX {
                return false;
            }
            // SAFETY: the caller vouches for the source; `to` is at most REPLY_MAX, and REPLY_SLACK bytes follow it.
            unsafe {
                let word = load_u64(source.add(i as usize));
                store_u64(self.bytes.as_mut_ptr().add(to as usize), word);
            }
            i += 8;
        }
        self.len = start + len;
        true
    }
}

/// A service's code behind protocol processing.
///
/// The stack guarantees: each byte of a direction is given once and in order; one CPU at a time calls for a direction of
/// a flow; [`passed`](Self::passed) is called before the server can see the segment, [`response`](Self::response) before
/// the client can see those bytes.
pub trait Handler {
    /// State of one connection, zeroed at its start; at most [`crate::flow::HANDLER_STATE_MAX`] bytes.
    type State: Copy;
    /// What is collected about one segment; per CPU, not kept between segments.
    type Scratch: Copy;

    /// Whether nothing may pass that the handler has not read: it guards the server. What cannot be read is reset then,
    /// rather than passed as it is.
    const READS_ALL: bool = false;

    /// Whether the handler looks at connections to the plain port, too.
    const OBSERVES: bool = true;

    /// Whether the handler remembers what it has read: then [`recall`](Self::recall) and [`remember`](Self::remember) are called.
    /// They spare time and change nothing, so who shows a stream to the handler may leave them out.
    const REMEMBERS: bool = false;

    /// The checks by which a segment is known to be one that the server's TCP takes ([`crate::splice::accept::check`]). All of them,
    /// but for laboratories that must find a splice without one.
    #[inline(always)]
    fn checks(&self) -> u32 {
        crate::splice::accept::check::ALL
    }

    /// Whether a client may open a connection. Asked once for each, at its SYN; without leave, the SYN is dropped.
    #[inline(always)]
    fn admits(&self, _key: &FlowKey) -> bool {
        true
    }

    /// Starts on a segment of the connection with this key. Only needs to reset what the handler reads.
    fn begin(&self, key: &FlowKey, scratch: &mut Self::Scratch);

    /// Reads bytes of the client. Side effects that must come before the server sees the request happen here.
    fn request(&self, window: &mut Window, state: &mut Self::State, scratch: &mut Self::Scratch) -> Scan;

    /// Whether the bytes of the window, of which none is read yet, were read before: then state and scratch are as if
    /// [`request`](Self::request) had read all of them, and ended with [`Scan::Settle`]. In the kernel a function of its own.
    #[inline(always)]
    fn recall(&self, _window: &Window, _state: &mut Self::State, _scratch: &mut Self::Scratch) -> bool {
        false
    }

    /// Called after [`Scan::Settle`], and before [`settle`](Self::settle): what was read of the window may be remembered. In the
    /// kernel a function of its own.
    #[inline(always)]
    fn remember(&self, _window: &Window, _state: &Self::State, _scratch: &mut Self::Scratch) {}

    /// What [`request`](Self::request) has read is worth more than reading on: called after [`Scan::Settle`]. In the kernel a
    /// function of its own, beside that of the reading and not within it, so each has the stack for itself.
    #[inline(always)]
    fn settle(&self, _state: &mut Self::State, _scratch: &mut Self::Scratch) {}

    /// Whether the requests of this segment, now read to its end, are answered here. Called only where the flow is idle
    /// as far as TCP is concerned; the handler adds that its own parsers stand at a boundary and nothing is outstanding.
    /// The reply goes into `reply` (empty at the call), at most `room` bytes.
    fn answer(
        &self,
        state: &mut Self::State,
        scratch: &mut Self::Scratch,
        reply: &mut Reply,
        room: u32,
    ) -> Verdict;

    /// Whether the segment, now read to its end, must not reach the server. If it is not answered, the connection ends. Asked
    /// also of a segment that is not understood ([`Scan::Opaque`]): if that is held, the connection ends on the plain port,
    /// too, and [`opaque`](Self::opaque) is not called.
    #[inline(always)]
    fn holds(&self, _scratch: &Self::Scratch) -> bool {
        false
    }

    /// Whether the client is not told of the end, not even by a reset, whatever is still on its way to it.
    #[inline(always)]
    fn silences(&self, _scratch: &Self::Scratch) -> bool {
        false
    }

    /// The connection ends with this segment, which the server does not get. Writes what the client is told before, if that
    /// can be said: the client has all that the server has sent, but the handler knows whether that was an answer to each
    /// request. Otherwise the connection is reset. As with [`answer`](Self::answer), the reply is at most `room` bytes.
    #[inline(always)]
    fn last_words(
        &self,
        _state: &mut Self::State,
        _scratch: &mut Self::Scratch,
        _reply: &mut Reply,
        _room: u32,
    ) -> bool {
        false
    }

    /// The segment that was read goes up to the server: its requests are outstanding from now on.
    fn passed(&self, state: &mut Self::State, scratch: &mut Self::Scratch);

    /// Reads bytes of the server.
    fn response(&self, window: &mut Window, state: &mut Self::State, scratch: &mut Self::Scratch) -> Scan;

    /// From now on the bytes of this connection are not shown to the handler: it must assume the worst of them.
    /// Called at most once.
    fn opaque(&self, state: &mut Self::State);

    /// A connection was opened: its flow is new.
    #[inline(always)]
    fn opened(&self, _key: &FlowKey, _state: &mut Self::State) {}

    /// The connection has ended in order. Whether nothing is held, so the flow may be forgotten at once; otherwise the
    /// agent forgets it when the server has.
    fn ended(&self, key: &FlowKey, state: &mut Self::State) -> bool;

    /// How many requests the segment held; for the counters.
    fn requests(&self, scratch: &Self::Scratch) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aligned_word_is_the_same_word() {
        let mut window = Window::EMPTY;
        for (byte, at) in window.bytes.iter_mut().zip(0..=u8::MAX) {
            *byte = at;
        }
        for at in (0..WINDOW as u32 - 8).step_by(4) {
            assert_eq!(window.aligned_word(at), window.word(at), "{at}");
        }
        assert_eq!(window.word(3), 0x0a09_0807_0605_0403);
    }
}
