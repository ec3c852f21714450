//! The lines behind a request's first one, and those of trailers (RFC 9112 section 5). Steps of [`Head`].

use xps_core::bound::keep_in_memory;
use xps_core::handler::Window;

use crate::Step;
use crate::authority::Authority;
use crate::field::{Field, flag};
use crate::head::{Head, Settings, Visitor, phase};
use crate::refusal::Refusal;

impl Head {
    /// A byte of a name, in lower case.
    #[inline(always)]
    pub(crate) fn name<V: Visitor>(&mut self, byte: u8, next: u8, visitor: &mut V) {
        let told = self.trailers == 0;
        if self.phase == phase::LINE {
            self.phase = next;
            self.fields.word.clear();
            if told {
                visitor.name_begin();
            }
        }
        self.fields.word.push(byte);
        if told {
            visitor.name_byte(byte);
        }
    }

    /// The colon behind a name.
    #[inline(always)]
    pub(crate) fn name_end<V: Visitor>(&mut self, next: u8, settings: &Settings, visitor: &mut V) {
        self.phase = next;
        self.fields.name_ended();
        keep_in_memory();
        if self.trailers != 0 {
            if !self.fields.is(Field::Other) {
                self.refuse(Refusal::ForbiddenTrailer);
            }
            return self.fields.ignore();
        }
        if self.fields.is(Field::Host) {
            self.authority = Authority::start(settings.seed);
        } else {
            visitor.name_end(&self.fields.word);
        }
        let begun = self.fields.value_begun();
        self.refuse_for(begun);
    }

    /// White space that is told to nobody.
    #[inline(always)]
    pub(crate) fn space(&mut self, byte: u8) {
        let read = self.fields.space(byte);
        self.refuse_for(read);
    }

    /// The value's first byte, or what ends an empty one.
    #[inline(always)]
    pub(crate) fn value_begin(&mut self, next: u8, window: &mut Window) {
        self.fields.end_of_space();
        self.leave_to(if self.fields.is(Field::Host) { phase::HOST } else { next }, window);
    }

    /// A byte of a value, or white space in it.
    #[inline(always)]
    pub(crate) fn value<V: Visitor>(&mut self, byte: u8, visitor: &mut V) {
        let space = byte == b' ' || byte == b'\t';
        if self.trailers == 0 {
            visitor.value_byte(byte, space);
        }
        let read = if space { self.fields.space(byte) } else { self.fields.value(byte) };
        self.refuse_for(read);
    }

    /// A byte of a host: the target's, or that of the Host field, which is only compared if the target has one.
    #[inline(always)]
    pub(crate) fn host<V: Visitor>(&mut self, byte: u8, window: &mut Window, visitor: &mut V) {
        let mut told = 0;
        let step = self.authority.feed(byte, &mut told);
        if self.fields.after_space() || step as u32 == Step::Refused as u32 {
            return self.refuse(Refusal::BadHost);
        }
        if step as u32 == Step::Again as u32 {
            self.give_again(window);
        }
        if told != 0 && self.absolute == 0 {
            visitor.host_byte(told);
        }
    }

    /// The line feed behind a value.
    #[inline(always)]
    pub(crate) fn line_end<V: Visitor>(&mut self, next: u8, visitor: &mut V) {
        self.phase = next;
        if self.trailers != 0 {
            return;
        }
        if !self.fields.is(Field::Host) {
            visitor.value_end();
            let ended = self.fields.end_value(self.old != 0);
            return self.refuse_for(ended);
        }
        if !self.authority.is_whole() {
            return self.refuse(Refusal::BadHost);
        }
        if self.absolute == 0 {
            visitor.host_end();
        } else if self.authority.hash() != self.target_authority {
            self.refuse(Refusal::HostMismatch);
        }
    }

    /// The end of the head, or of trailers.
    #[inline(always)]
    pub(crate) fn end<V: Visitor>(&mut self, visitor: &mut V) {
        if self.trailers == 0 && !self.fields.has(flag::HOST) {
            // Only HTTP/1.0 has requests without (RFC 9112 section 3.2).
            if self.old == 0 {
                return self.refuse(Refusal::NoHost);
            }
            if self.absolute == 0 {
                visitor.host_end();
            }
        }
    }
}
