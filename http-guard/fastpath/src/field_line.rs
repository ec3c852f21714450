//! The lines behind a request's first one, and those of trailers (RFC 9112 section 5). Steps of [`Head`].

use crate::Step;
use crate::authority::Authority;
use crate::field::{Field, flag};
use crate::head::{Head, Settings, Visitor, phase};
use crate::refusal::{Refusal, control, is_control, is_token};

impl Head {
    /// A line's first byte.
    #[inline(always)]
    pub(crate) fn line(&mut self, byte: u8) -> Step {
        match byte {
            b'\r' => self.go_on(phase::END_LF),
            b' ' | b'\t' => self.refuse(Refusal::Folded),
            b':' => self.refuse(Refusal::EmptyName),
            _ => {
                self.fields.word.clear();
                self.leave_to(phase::NAME)
            }
        }
    }

    #[inline(always)]
    pub(crate) fn name<V: Visitor>(&mut self, byte: u8, settings: &Settings, visitor: &mut V) -> Step {
        if is_token(byte) {
            self.fields.word.push(byte.to_ascii_lowercase());
            return Step::Taken;
        }
        match byte {
            b':' => {}
            b' ' | b'\t' => return self.refuse(Refusal::SpaceBeforeColon),
            b'\n' => return self.refuse(Refusal::BareLf),
            0 => return self.refuse(Refusal::Nul),
            _ => return self.refuse(Refusal::BadName),
        }
        let field = Field::named(&self.fields.word);
        self.phase = phase::BEFORE_VALUE;
        if self.trailers != 0 {
            if field as u8 != Field::Other as u8 {
                return self.refuse(Refusal::ForbiddenTrailer);
            }
            self.fields.ignore();
            return Step::Taken;
        }
        if field as u8 == Field::Host as u8 {
            self.authority = Authority::start(settings.seed);
        } else {
            visitor.name_end(&self.fields.word);
        }
        match self.fields.begin_value(field) {
            Ok(()) => Step::Taken,
            Err(refusal) => self.refuse(refusal),
        }
    }

    #[inline(always)]
    pub(crate) fn before_value(&mut self, byte: u8) -> Step {
        if byte != b' ' && byte != b'\t' {
            self.fields.end_of_space();
            return self.leave_to(phase::VALUE);
        }
        match self.fields.space(byte) {
            Ok(()) => Step::Taken,
            Err(refusal) => self.refuse(refusal),
        }
    }

    #[inline(always)]
    pub(crate) fn value<V: Visitor>(&mut self, byte: u8, visitor: &mut V) -> Step {
        if byte == b'\r' {
            return self.go_on(phase::VALUE_LF);
        }
        let told = self.trailers == 0 && !self.fields.is(Field::Host);
        if byte == b' ' || byte == b'\t' {
            if told {
                visitor.value_space(byte);
            }
            return match self.fields.space(byte) {
                Ok(()) => Step::Taken,
                Err(refusal) => self.refuse(refusal),
            };
        }
        if is_control(byte) {
            return self.refuse(control(byte, Refusal::Control));
        }
        if self.fields.is(Field::Host) {
            return self.host(byte, visitor);
        }
        if told {
            visitor.value_byte(byte);
        }
        match self.fields.value(byte) {
            Ok(()) => Step::Taken,
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// A byte of the Host field. If the target has an authority it is only compared.
    #[inline(always)]
    fn host<V: Visitor>(&mut self, byte: u8, visitor: &mut V) -> Step {
        let mut told = 0;
        let step = self.authority.feed(byte, &mut told);
        if self.fields.after_space() || step as u32 == Step::Refused as u32 {
            return self.refuse(Refusal::BadHost);
        }
        if told != 0 && self.absolute == 0 {
            visitor.host_byte(told);
        }
        step
    }

    /// The line feed behind a carriage return.
    #[inline(always)]
    pub(crate) fn line_feed<V: Visitor>(&mut self, byte: u8, visitor: &mut V) -> Step {
        if byte != b'\n' {
            return self.refuse(Refusal::BareCr);
        }
        match self.phase {
            phase::START_LF => self.go_on(phase::START_AGAIN),
            phase::VERSION_LF => self.go_on(phase::LINE),
            phase::VALUE_LF => self.end_line(visitor),
            _ => self.end(visitor),
        }
    }

    #[inline(always)]
    fn end_line<V: Visitor>(&mut self, visitor: &mut V) -> Step {
        self.phase = phase::LINE;
        if self.trailers != 0 {
            return Step::Taken;
        }
        if !self.fields.is(Field::Host) {
            visitor.value_end();
            return match self.fields.end_value(self.old != 0) {
                Ok(()) => Step::Taken,
                Err(refusal) => self.refuse(refusal),
            };
        }
        if !self.authority.is_whole() {
            return self.refuse(Refusal::BadHost);
        }
        if self.absolute == 0 {
            visitor.host_end();
        } else if self.authority.hash() != self.target_authority {
            return self.refuse(Refusal::HostMismatch);
        }
        Step::Taken
    }

    /// The end of the head, or of trailers.
    #[inline(always)]
    fn end<V: Visitor>(&mut self, visitor: &mut V) -> Step {
        if self.trailers == 0 && !self.fields.has(flag::HOST) {
            // Only HTTP/1.0 has requests without (RFC 9112 section 3.2).
            if self.old == 0 {
                return self.refuse(Refusal::NoHost);
            }
            if self.absolute == 0 {
                visitor.host_end();
            }
        }
        Step::End
    }
}
