//! The table that heads are read by: for each phase and each class of bytes, what is done and what follows.
//!
//! A program that decides by comparisons is verified along all of their combinations; one that looks up what to do is
//! verified once for each thing that it can do. What is refused, and why, stands here and nowhere else, as far as one byte
//! decides it.

use xps_core::bound::masked;

use crate::head::phase;
use crate::refusal::{Refusal, is_control, is_token};

/// What a byte is to heads: the columns of the table.
pub(crate) mod class {
    pub(crate) const NUL: u8 = 0;
    pub(crate) const CONTROL: u8 = 1;
    pub(crate) const TAB: u8 = 2;
    pub(crate) const LF: u8 = 3;
    pub(crate) const CR: u8 = 4;
    pub(crate) const SPACE: u8 = 5;
    pub(crate) const LETTER: u8 = 6;
    pub(crate) const CAPITAL: u8 = 7;
    /// `-` and `_`, which methods may have, too.
    pub(crate) const DASH: u8 = 8;
    /// Other bytes of tokens.
    pub(crate) const TOKEN: u8 = 9;
    pub(crate) const STAR: u8 = 10;
    pub(crate) const HASH: u8 = 11;
    pub(crate) const SLASH: u8 = 12;
    pub(crate) const COLON: u8 = 13;
    pub(crate) const QUESTION: u8 = 14;
    /// Bytes of no token.
    pub(crate) const OTHER: u8 = 15;
}

/// Number of classes. A power of two.
pub(crate) const CLASSES: usize = 16;

/// Set in [`KINDS`] for capital letters: the bit by which they differ from small ones.
pub(crate) const SIZE_BIT: u8 = 0x20;

/// The class of each byte, and [`SIZE_BIT`].
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = kind(byte as u8);
        byte += 1;
    }
    kinds
};

/// The class of a byte, and [`SIZE_BIT`].
#[inline(always)]
pub(crate) fn kind_of(byte: u8) -> u8 {
    // SAFETY: masked to the length of the table.
    unsafe { *KINDS.as_ptr().add(masked::<255>(byte.into())) }
}

const fn kind(byte: u8) -> u8 {
    match byte {
        0 => class::NUL,
        b'\t' => class::TAB,
        b'\n' => class::LF,
        b'\r' => class::CR,
        b' ' => class::SPACE,
        b'a'..=b'z' => class::LETTER,
        b'A'..=b'Z' => class::CAPITAL | SIZE_BIT,
        b'-' | b'_' => class::DASH,
        b'*' => class::STAR,
        b'#' => class::HASH,
        b'/' => class::SLASH,
        b':' => class::COLON,
        b'?' => class::QUESTION,
        _ if is_control(byte) => class::CONTROL,
        _ if is_token(byte) => class::TOKEN,
        _ => class::OTHER,
    }
}

/// What is done with a byte. Each has an argument; where none is named it is the phase that follows.
pub(crate) mod action {
    /// The request is refused; the argument is the [`Refusal`](crate::refusal::Refusal).
    pub(crate) const REFUSE: u8 = 0;
    /// The byte is taken.
    pub(crate) const GO: u8 = 1;
    /// The byte belongs to the phase that follows.
    pub(crate) const LEAVE: u8 = 2;
    /// A request begins, with a byte of no method.
    pub(crate) const BEGIN: u8 = 3;
    /// An empty line where a request may begin.
    pub(crate) const EMPTY_LINE: u8 = 4;
    pub(crate) const METHOD: u8 = 5;
    pub(crate) const METHOD_END: u8 = 6;
    pub(crate) const ASTERISK: u8 = 7;
    pub(crate) const SCHEME: u8 = 8;
    pub(crate) const SCHEME_END: u8 = 9;
    /// A slash before the authority.
    pub(crate) const SLASH: u8 = 10;
    /// A byte of a host, the target's or that of the Host field.
    pub(crate) const HOST: u8 = 11;
    pub(crate) const AUTHORITY_END: u8 = 12;
    pub(crate) const PATH: u8 = 13;
    pub(crate) const PATH_END: u8 = 14;
    pub(crate) const VERSION: u8 = 15;
    pub(crate) const VERSION_END: u8 = 16;
    pub(crate) const NAME: u8 = 17;
    pub(crate) const NAME_END: u8 = 18;
    /// White space that is told to nobody.
    pub(crate) const SPACE: u8 = 19;
    /// A value's first byte.
    pub(crate) const VALUE_BEGIN: u8 = 20;
    /// A byte of a value, or white space in it.
    pub(crate) const VALUE: u8 = 21;
    /// A line's end.
    pub(crate) const LINE_END: u8 = 22;
    /// The end of the head, or of trailers.
    pub(crate) const END: u8 = 23;
}

/// Rows of the table. A power of two; those of no phase refuse.
const ROWS: usize = 32;

/// Number of cells.
pub(crate) const CELLS: usize = ROWS * CLASSES;

/// An action as the low byte, its argument as the high one.
pub(crate) static CELL: [u16; CELLS] = {
    let mut cells = [0; CELLS];
    let mut row = 0;
    while row < ROWS {
        let mut column = 0;
        while column < CLASSES {
            let (action, argument) = cell(row as u8, column as u8);
            cells[row * CLASSES + column] = action as u16 | (argument as u16) << 8;
            column += 1;
        }
        row += 1;
    }
    cells
};

const fn refuse(refusal: Refusal) -> (u8, u8) {
    (action::REFUSE, refusal as u8)
}

/// What a control byte is refused as; `other` for all other bytes.
const fn control(class: u8, other: Refusal) -> (u8, u8) {
    refuse(match class {
        class::LF => Refusal::BareLf,
        class::CR => Refusal::BareCr,
        class::NUL => Refusal::Nul,
        class::TAB | class::CONTROL => Refusal::Control,
        _ => other,
    })
}

/// What a control byte in the target is refused as. A line's end there is that of a request without a version.
const fn in_target(class: u8) -> (u8, u8) {
    if class == class::CR { refuse(Refusal::NoVersion) } else { control(class, Refusal::Control) }
}

const fn is_control_class(class: u8) -> bool {
    class <= class::CR
}

const fn is_token_class(class: u8) -> bool {
    matches!(class, class::LETTER..=class::HASH)
}

const fn cell(phase: u8, class: u8) -> (u8, u8) {
    match phase {
        phase::START => match class {
            class::CR => (action::EMPTY_LINE, phase::START_LF),
            class::CAPITAL | class::DASH => (action::METHOD, phase::METHOD),
            _ => (action::BEGIN, phase::METHOD),
        },
        phase::START_AGAIN => match class {
            class::CR => refuse(Refusal::EmptyLine),
            class::CAPITAL | class::DASH => (action::METHOD, phase::METHOD),
            _ => (action::BEGIN, phase::METHOD),
        },
        phase::METHOD => match class {
            class::CAPITAL | class::DASH => (action::METHOD, phase::METHOD),
            class::SPACE => (action::METHOD_END, phase::TARGET),
            _ => control(class, Refusal::BadMethod),
        },
        phase::TARGET => match class {
            class::SLASH => (action::PATH, phase::PATH),
            class::LETTER | class::CAPITAL => (action::LEAVE, phase::SCHEME),
            class::STAR => (action::ASTERISK, phase::ASTERISK),
            class::SPACE | class::CR => refuse(Refusal::BadRequestLine),
            _ => control(class, Refusal::BadTarget),
        },
        phase::SCHEME => match class {
            class::LETTER | class::CAPITAL => (action::SCHEME, phase::SCHEME),
            class::COLON => (action::SCHEME_END, phase::SLASH),
            _ => control(class, Refusal::BadTarget),
        },
        phase::SLASH | phase::SLASH_AGAIN => match class {
            class::SLASH => (action::SLASH, phase + 1),
            _ => control(class, Refusal::BadTarget),
        },
        phase::AUTHORITY => match class {
            class::SLASH => (action::AUTHORITY_END, phase::PATH),
            class::QUESTION | class::SPACE => (action::AUTHORITY_END, phase::ROOT),
            _ if is_control_class(class) => control(class, Refusal::BadHost),
            _ => (action::HOST, phase),
        },
        phase::PATH => match class {
            class::SPACE => (action::PATH_END, phase::VERSION),
            class::QUESTION | class::HASH => (action::PATH_END, phase::REST),
            _ if is_control_class(class) => in_target(class),
            _ => (action::PATH, phase::PATH),
        },
        phase::ROOT => match class {
            _ if is_control_class(class) => in_target(class),
            _ => (action::PATH, phase::PATH),
        },
        phase::REST => match class {
            class::SPACE => (action::GO, phase::VERSION),
            _ if is_control_class(class) => in_target(class),
            _ => (action::GO, phase::REST),
        },
        phase::ASTERISK => match class {
            class::SPACE => (action::GO, phase::VERSION),
            _ if is_control_class(class) => in_target(class),
            _ => refuse(Refusal::BadTarget),
        },
        phase::VERSION => match class {
            class::CR => (action::VERSION_END, phase::VERSION_LF),
            class::SPACE => refuse(Refusal::BadRequestLine),
            _ if is_control_class(class) => control(class, Refusal::BadRequestLine),
            _ => (action::VERSION, phase::VERSION),
        },
        phase::LINE | phase::NAME => match class {
            class::CR if phase == phase::LINE => (action::GO, phase::END_LF),
            class::SPACE | class::TAB if phase == phase::LINE => refuse(Refusal::Folded),
            class::SPACE | class::TAB => refuse(Refusal::SpaceBeforeColon),
            class::COLON if phase == phase::LINE => refuse(Refusal::EmptyName),
            class::COLON => (action::NAME_END, phase::BEFORE_VALUE),
            class::LF => refuse(Refusal::BareLf),
            class::NUL => refuse(Refusal::Nul),
            _ if is_token_class(class) => (action::NAME, phase::NAME),
            _ => refuse(Refusal::BadName),
        },
        phase::BEFORE_VALUE => match class {
            class::SPACE | class::TAB => (action::SPACE, phase),
            _ => (action::VALUE_BEGIN, phase::VALUE),
        },
        phase::VALUE => match class {
            class::CR => (action::GO, phase::VALUE_LF),
            class::SPACE | class::TAB => (action::VALUE, phase),
            _ if is_control_class(class) => control(class, Refusal::Control),
            _ => (action::VALUE, phase),
        },
        phase::HOST => match class {
            class::CR => (action::GO, phase::VALUE_LF),
            class::SPACE | class::TAB => (action::SPACE, phase),
            _ if is_control_class(class) => control(class, Refusal::Control),
            _ => (action::HOST, phase),
        },
        _ if class != class::LF => refuse(Refusal::BareCr),
        phase::START_LF => (action::GO, phase::START_AGAIN),
        phase::VERSION_LF => (action::GO, phase::LINE),
        phase::VALUE_LF => (action::LINE_END, phase::LINE),
        phase::END_LF => (action::END, phase::END_LF),
        // There is no such phase.
        _ => refuse(Refusal::BadRequestLine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_complete() {
        for byte in 0..=255u8 {
            let kind = KINDS[usize::from(byte)];
            assert_eq!(kind & SIZE_BIT != 0, byte.is_ascii_uppercase(), "{byte:#x}");
            assert_eq!(byte | kind & SIZE_BIT, byte.to_ascii_lowercase(), "{byte:#x}");
            let class = kind & (CLASSES as u8 - 1);
            assert_eq!(is_control_class(class), is_control(byte), "{byte:#x}");
            assert_eq!(is_token_class(class), is_token(byte), "{byte:#x}");
        }
    }

    #[test]
    fn each_cell_has_an_action_and_its_argument() {
        for (at, cell) in CELL.iter().enumerate() {
            let (row, action, argument) = ((at / CLASSES) as u8, *cell as u8, (cell >> 8) as u8);
            assert!(action <= action::END, "{at}");
            if action == action::REFUSE {
                assert!(Refusal::from_u8(argument).is_some(), "{at}");
            } else {
                assert!(row <= phase::LAST && argument <= phase::LAST, "{at}");
            }
            // Between two requests nothing else may begin one: the phase there tells that a head has ended.
            assert!(argument != phase::START || action == action::REFUSE, "{at}");
        }
    }
}
