//! Each lie by itself, and each with each other one: what a seed's first connections are about.

use crate::lie::Lie;
use crate::options::{Layout, kind};
use crate::packet::Cut;

/// One lie of each kind, and of some kinds several.
pub const LIES: [Lie; 52] = [
    Lie::NoAck,
    Lie::Syn,
    Lie::Fin,
    Lie::Reset,
    Lie::Flags(0),
    Lie::Flags(0xf18),
    Lie::AckAhead(1),
    Lie::AckAhead(100_000),
    Lie::AckOld(1),
    Lie::AckOld(1 << 26),
    Lie::OldTimestamp(2),
    Lie::OldTimestamp(3),
    Lie::OldTimestamp(1 << 30),
    Lie::NewTimestamp(1000),
    Lie::NewTimestamp((1 << 31) - 2),
    Lie::TimestampValue(0),
    Lie::OtherTimestamps,
    Lie::Timestamps(Layout::Behind, true),
    Lie::Timestamps(Layout::NewThenOld, true),
    Lie::Timestamps(Layout::OldThenNew, false),
    Lie::Timestamps(Layout::AfterEnd, true),
    Lie::Timestamps(Layout::Short, true),
    Lie::Echo,
    Lie::Urgent(1),
    Lie::Urgent(100),
    Lie::WindowField(0),
    Lie::DataOffset(4),
    Lie::DataOffset(6),
    Lie::DataOffset(15),
    Lie::TcpChecksum(1),
    Lie::TcpChecksumValue(0),
    Lie::Option(kind::MD5, 18, 16),
    Lie::Option(kind::AO, 16, 14),
    Lie::Option(kind::EXPERIMENT, 0, 2),
    Lie::SynOptions,
    Lie::IpChecksum(1),
    Lie::FirstByte(0x46),
    Lie::FirstByte(0x05),
    Lie::IpLength(-1),
    Lie::IpLength(8),
    Lie::Hops(0),
    Lie::FragmentField(0x2000),
    Lie::Fragments(Cut::Backwards),
    Lie::IpOption(131),
    Lie::IpOption(0x9e),
    Lie::Protocol(17),
    Lie::OtherStation,
    Lie::Broadcast,
    Lie::Tag(0x8100, 0),
    Lie::Tag(0x8100, 5),
    Lie::Trailer(6),
    Lie::PortBeside(1),
];

/// How many connections they take: each twice.
pub const CONNECTIONS: u64 = (LIES.len() * LIES.len()) as u64;

/// The lies of connection `number`: the first and the second one of a pair, or one alone.
#[must_use]
pub fn lies(number: u64) -> Option<Vec<Lie>> {
    let count = LIES.len() as u64;
    if number >= CONNECTIONS {
        return None;
    }
    let (one, two) = ((number / count) as usize, (number % count) as usize);
    Some(if one == two { vec![LIES[one]] } else { vec![LIES[one], LIES[two]] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_are_there() {
        let all: Vec<_> = (0..).map_while(lies).collect();
        for (i, one) in LIES.iter().enumerate() {
            assert!(all.contains(&vec![*one]), "{one:?}");
            assert!(LIES[..i].iter().all(|two| two != one && all.contains(&vec![*one, *two])), "{one:?}");
        }
    }
}
