//! TCP options (RFC 9293 §3.1), as they are and as they should not be.

/// Option kinds.
pub mod kind {
    /// End of the options.
    pub const END: u8 = 0;
    /// Nothing.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const SHIFT: u8 = 3;
    /// SACK is permitted.
    pub const SACK_PERMITTED: u8 = 4;
    /// SACK blocks.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMPS: u8 = 8;
    /// TCP-MD5.
    pub const MD5: u8 = 19;
    /// TCP-AO.
    pub const AO: u8 = 29;
    /// MPTCP.
    pub const MPTCP: u8 = 30;
    /// An experiment (RFC 6994).
    pub const EXPERIMENT: u8 = 254;
}

/// Where the timestamps stand among the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Two NOPs before them: as everyone does (RFC 7323 appendix A).
    Usual,
    /// Two NOPs behind them.
    Behind,
    /// One NOP before them, one behind.
    Between,
    /// Four NOPs before them and two behind.
    Later,
    /// Behind an option that nobody knows.
    AfterUnknown,
    /// Behind a SACK block.
    AfterSack,
    /// Twice: a new one, then an old one.
    NewThenOld,
    /// Twice: an old one, then a new one.
    OldThenNew,
    /// Behind the end of the options, where nobody may look.
    AfterEnd,
    /// With a length of eight.
    Short,
    /// With a length of twelve.
    Long,
}

impl Layout {
    /// Those beside the usual one.
    pub const UNUSUAL: [Self; 10] = [
        Self::Behind,
        Self::Between,
        Self::Later,
        Self::AfterUnknown,
        Self::AfterSack,
        Self::NewThenOld,
        Self::OldThenNew,
        Self::AfterEnd,
        Self::Short,
        Self::Long,
    ];

    /// The options.
    #[must_use]
    pub fn write(self, value: u32, echo: u32) -> Vec<u8> {
        use kind::{END, EXPERIMENT, NOP};
        let stamp = |value: u32, len: u8| -> Vec<u8> {
            let mut option = vec![kind::TIMESTAMPS, len];
            option.extend(value.to_be_bytes());
            option.extend(echo.to_be_bytes());
            option
        };
        let usual = stamp(value, 10);
        let old = stamp(value.wrapping_sub(50_000), 10);
        match self {
            Self::Usual => [&[NOP, NOP][..], &usual].concat(),
            Self::Behind => [&usual[..], &[NOP, NOP]].concat(),
            Self::Between => [&[NOP][..], &usual, &[NOP]].concat(),
            Self::Later => [&[NOP; 4][..], &usual, &[NOP, NOP]].concat(),
            Self::AfterUnknown => [&[EXPERIMENT, 4, 0xf9, 0x89][..], &usual, &[NOP, NOP]].concat(),
            Self::AfterSack => {
                [&[NOP, NOP, kind::SACK, 10, 0, 0, 0, 1, 0, 0, 0, 2][..], &[NOP, NOP], &usual].concat()
            }
            Self::NewThenOld => [&[NOP, NOP][..], &usual, &[NOP, NOP], &old].concat(),
            Self::OldThenNew => [&[NOP, NOP][..], &old, &[NOP, NOP], &usual].concat(),
            Self::AfterEnd => [&[END, NOP][..], &usual].concat(),
            Self::Short => [&[NOP, NOP][..], &stamp(value, 8)].concat(),
            Self::Long => [&[NOP, NOP][..], &stamp(value, 12), &[NOP; 4]].concat(),
        }
    }
}

/// A SYN's options as Linux writes them, with what the connection should have.
#[must_use]
pub fn of_syn(mss: u16, shift: Option<u8>, timestamps: Option<u32>, sack: bool) -> Vec<u8> {
    let mut options = vec![kind::MSS, 4];
    options.extend(mss.to_be_bytes());
    if sack {
        options.extend([kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]);
    }
    if let Some(value) = timestamps {
        options.extend(Layout::Usual.write(value, 0));
    }
    if let Some(shift) = shift {
        options.extend([kind::NOP, kind::SHIFT, 3, shift]);
    }
    options
}

/// What an option list says: whether there are timestamps, their value, the window shift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The timestamp value.
    pub timestamp: Option<u32>,
    /// The window shift.
    pub shift: Option<u8>,
}

/// Reads options that are well formed, as a server sends them.
#[must_use]
pub fn read(mut options: &[u8]) -> Found {
    let mut found = Found::default();
    while let [code, rest @ ..] = options {
        match *code {
            kind::END => break,
            kind::NOP => options = rest,
            _ => {
                let len = usize::from(rest.first().copied().unwrap_or(0)).max(2);
                let body = options.get(2..len).unwrap_or_default();
                match (*code, body) {
                    (kind::TIMESTAMPS, [a, b, c, d, ..]) => {
                        found.timestamp = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                    }
                    (kind::SHIFT, [shift]) => found.shift = Some(*shift),
                    _ => {}
                }
                options = options.get(len..).unwrap_or_default();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syns_options_are_read_back() {
        let found = read(&of_syn(1460, Some(7), Some(42), true));
        assert_eq!(found, Found { timestamp: Some(42), shift: Some(7) });
        assert_eq!(read(&of_syn(536, None, None, false)), Found::default());
    }

    #[test]
    fn all_layouts_fit_a_header() {
        for layout in Layout::UNUSUAL {
            assert!(layout.write(1, 2).len() <= 40, "{layout:?}");
        }
    }
}
