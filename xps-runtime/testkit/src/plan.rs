//! A connection that lies: what its client sends, made from a seed. It can be printed, shortened and sent again.
//!
//! # Layout
//! - [`make`]: plans from seeds.
//! - [`pairs`]: each lie with each other one.
//! - [`client`]: a plan's client, without a socket.
//! - [`shorten`](mod@shorten): the shortest plan that still does it.

pub mod client;
pub mod make;
pub mod pairs;
pub mod shorten;

use std::fmt;

use crate::lie::Lie;

pub use client::Client;
pub use make::{Focus, make};
pub use shorten::shorten;

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// So many bytes from the next byte that the server expects.
    Next(i32),
    /// So many bytes from the end of the server's receive window.
    Edge(i32),
    /// So many bytes from the number of the SYN.
    Isn(i32),
}

/// What a segment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The stream's own bytes, in small letters: the same at the same number each time.
    Own,
    /// The same, and a line's end behind them.
    OwnLine,
    /// A line that the stack may answer: it is the stream's own from now on.
    Asking,
    /// Other bytes, in capital letters, which this number makes.
    Other(u8),
    /// The same, as a line that the stack may answer.
    OtherAsking(u8),
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// A segment.
    Segment {
        /// Where it begins.
        from: From,
        /// Bytes of payload.
        len: u16,
        /// Which bytes.
        text: Text,
        /// Flags beside ACK.
        flags: u8,
        /// What is wrong with it.
        lies: Vec<Lie>,
    },
    /// Honest segments up to so many bytes before the end of the server's receive window.
    Fill(u16),
    /// All that was sent is looked at, what the server has taken is known, and what it said is acknowledged.
    Sync,
    /// The server says something of this length.
    Say(u16),
    /// The server's reader stops until all is sent.
    Hold,
}

/// How a connection is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// By an honest SYN.
    Honest,
    /// By a SYN with lies.
    Lies(Vec<Lie>),
    /// By a SYN with so much payload.
    Payload(u16),
    /// By two SYNs, of which the first one has a number that is so much larger.
    OtherBefore(u32),
    /// By two SYNs, of which the second one has a number that is so much larger.
    OtherAfter(u32),
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which one of its seed.
    pub number: u64,
    /// IPv6.
    pub v6: bool,
    /// To the accelerated port.
    pub accelerated: bool,
    /// To a server with a small receive buffer.
    pub small: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Window shift.
    pub shift: Option<u8>,
    /// The number of the SYN.
    pub isn: u32,
    /// How it is opened.
    pub opening: Opening,
    /// What happens behind the SYN-ACK.
    pub moves: Vec<Move>,
}

impl Plan {
    /// Whether a packet of it is one that a firewall drops behind the programs: then bytes may have been read that the
    /// server never gets.
    #[must_use]
    pub fn has_firewalled(&self) -> bool {
        let opening = matches!(&self.opening, Opening::Lies(lies) if lies.contains(&Lie::Firewalled));
        opening
            || self.moves.iter().any(|step| match step {
                Move::Segment { lies, .. } => lies.contains(&Lie::Firewalled),
                _ => false,
            })
    }

    /// Whether it is an honest connection.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.opening == Opening::Honest && self.moves.iter().all(Move::is_honest)
    }
}

impl Move {
    /// Whether an honest client does so.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        match self {
            Self::Segment { from, text, flags, lies, .. } => {
                let own = !matches!(text, Text::Other(_) | Text::OtherAsking(_));
                own && lies.is_empty() && *from == From::Next(0) && *flags == 0
            }
            _ => true,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        let port = if self.accelerated { "accelerated port" } else { "plain port" };
        write!(f, "connection {}: {family}, {port}", self.number)?;
        for (is, name) in [(self.small, "small buffer"), (self.timestamps, "timestamps")] {
            if is {
                write!(f, ", {name}")?;
            }
        }
        if let Some(shift) = self.shift {
            write!(f, ", window shift {shift}")?;
        }
        writeln!(f, ", initial number {:#010x}", self.isn)?;
        if self.opening != Opening::Honest {
            writeln!(f, "  SYN: {:?}", self.opening)?;
        }
        for (i, step) in self.moves.iter().enumerate() {
            writeln!(f, "  {i:2} {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { from, len, text, flags, lies } => {
                write!(f, "{len} bytes {text:?} from {from:?}")?;
                if *flags != 0 {
                    write!(f, ", flags {flags:#04x}")?;
                }
                if !lies.is_empty() {
                    write!(f, ", but {lies:?}")?;
                }
                Ok(())
            }
            Self::Fill(rest) => write!(f, "honest bytes up to {rest} before the window's end"),
            Self::Sync => write!(f, "wait"),
            Self::Say(len) => write!(f, "the server says {len} bytes"),
            Self::Hold => write!(f, "the server's reader stops"),
        }
    }
}
