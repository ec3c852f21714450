//! Several bytes of a head at once, where nobody looks at them, or where they are alike. Steps of [`Head`].
//!
//! Whatever is gone over here could be read byte by byte as well, and is where a window cuts it. Limits are looked at with the next
//! byte, so no leap goes beyond them.

use xps_core::bound::{keep_in_memory, unknown};
use xps_core::handler::Window;

use crate::authority::Authority;
use crate::field::{Field, flag};
use crate::head::{Head, Settings, Visitor, phase};
use crate::request_line::VERSION;
use crate::text::{self, Known};

/// Phases, as bits, in which there may be something to leap over.
pub(crate) const LEAPS: u32 = 1 << phase::METHOD
    | 1 << phase::PATH
    | 1 << phase::REST
    | 1 << phase::VERSION
    | 1 << phase::LINE
    | 1 << phase::NAME
    | 1 << phase::BEFORE_VALUE
    | 1 << phase::VALUE
    | 1 << phase::HOST;

impl Head {
    #[inline(always)]
    pub(crate) fn leap<V: Visitor>(&mut self, window: &mut Window, settings: &Settings, visitor: &mut V) {
        match self.phase {
            phase::METHOD | phase::PATH | phase::NAME => return self.leap_part(window, settings, visitor),
            phase::HOST => return self.leap_label(window, settings, visitor),
            phase::VERSION => self.leap_version(window, settings),
            phase::BEFORE_VALUE => self.leap_space(window, settings),
            _ => {}
        }
        keep_in_memory();
        if self.phase == phase::REST || self.phase == phase::VALUE {
            self.leap_text(window, settings, visitor);
        }
        keep_in_memory();
        if self.phase == phase::LINE {
            self.leap_host_name(window, settings);
        }
    }

    /// So many bytes are read.
    #[inline(always)]
    fn leapt(&mut self, window: &mut Window, bytes: u32) {
        let bytes = unknown(bytes);
        window.at += bytes;
        self.bytes += bytes;
    }

    /// How many bytes of the window may be read before `max` is reached.
    #[inline(always)]
    const fn most(&self, window: &Window, max: u32) -> u32 {
        least(window.left(), max.saturating_sub(self.bytes))
    }

    /// More of a method, of a segment of the path, or of a field's name.
    #[inline(always)]
    fn leap_part<V: Visitor>(&mut self, window: &mut Window, settings: &Settings, visitor: &mut V) {
        let (phase, word) = (self.phase, window.word(window.at));
        let (word, plain) = match phase {
            phase::NAME => text::label(word),
            phase::METHOD => (word, text::capitals(word)),
            _ => (word, text::segment(word)),
        };
        let (line, head) = (settings.line_bytes_max, settings.head_bytes_max);
        let bytes =
            least(plain, self.most(window, if phase == phase::NAME { head } else { least(line, head) }));
        if bytes == 0 {
            return;
        }
        let read = if phase == phase::PATH {
            self.path.goes_on(word as u8)
        } else {
            self.fields.word.push_some(word, bytes)
        };
        if read {
            if self.trailers == 0 {
                visitor.bytes(phase == phase::PATH, word, bytes);
            }
            self.leapt(window, bytes);
        }
    }

    /// More of the Host field's host, between two dots. Not where it is only compared: what is leapt over is not in the authority's hash.
    #[inline(always)]
    fn leap_label<V: Visitor>(&mut self, window: &mut Window, settings: &Settings, visitor: &mut V) {
        let (word, label) = text::label(window.word(window.at));
        let bytes = least(label, self.most(window, settings.head_bytes_max));
        if bytes == 0 || self.absolute != 0 || self.fields.after_space() {
            return;
        }
        if self.authority.goes_on() {
            visitor.host_bytes(word, bytes);
            self.leapt(window, bytes);
        }
    }

    /// The version, and the end of its line.
    #[inline(always)]
    fn leap_version(&mut self, window: &mut Window, settings: &Settings) {
        let most = self.most(window, least(settings.line_bytes_max, settings.head_bytes_max));
        let end = window.word(window.at.wrapping_add(8)) & 0xffff;
        let known = window.word(window.at) == VERSION && end == text::LINE_END;
        if known && most >= 10 && self.fields.word.is_empty() {
            self.phase = phase::LINE;
            self.leapt(window, 10);
        }
    }

    /// The name of the Host field, and the space behind it.
    #[inline(always)]
    fn leap_host_name(&mut self, window: &mut Window, settings: &Settings) {
        const HOST: Known = Known::new("host: ");
        if self.most(window, settings.head_bytes_max) < 6 || !HOST.begins(window.word(window.at)) {
            return;
        }
        if self.trailers != 0 || self.fields.has(flag::HOST) {
            return;
        }
        let _ = self.fields.begin_value(Field::Host);
        self.authority = Authority::start(settings.seed);
        let next = (window.word(window.at) >> 48) as u8;
        let begins = window.left() > 6 && next != b' ' && next != b'\t';
        self.phase = if begins { phase::HOST } else { phase::BEFORE_VALUE };
        self.leapt(window, 6);
    }

    /// One space, or none, before a value that follows.
    #[inline(always)]
    fn leap_space(&mut self, window: &mut Window, settings: &Settings) {
        let word = window.word(window.at);
        let space = u32::from(word as u8 == b' ');
        let next = (word >> (space * 8)) as u8;
        if self.most(window, settings.head_bytes_max) > space && next != b' ' && next != b'\t' {
            self.fields.end_of_space();
            self.phase = if self.fields.is(Field::Host) { phase::HOST } else { phase::VALUE };
            self.leapt(window, space);
        }
    }

    /// A query, or a value that nobody looks at.
    #[inline(always)]
    fn leap_text<V: Visitor>(&mut self, window: &mut Window, settings: &Settings, visitor: &mut V) {
        let rest = self.phase == phase::REST;
        let told = self.trailers == 0;
        if !rest && (!self.fields.is_free() || told && visitor.wants_value()) {
            return;
        }
        let max = if rest { settings.line_bytes_max } else { settings.head_bytes_max };
        let most = max.saturating_sub(self.bytes);
        let text = text::skip(window, !rest, most);
        self.bytes += text;
        if !rest && text::ends_line(window, text, most) {
            self.bytes += 2;
            self.phase = phase::LINE;
            if told {
                visitor.value_end();
            }
        }
    }
}

#[inline(always)]
const fn least(one: u32, other: u32) -> u32 {
    if one < other { one } else { other }
}
