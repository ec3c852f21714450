//! Plans from seeds.

use xps_core::splice::tcp_flag;

use super::{From, Move, Opening, Plan, Text, pairs};
use crate::lie::Lie;
use crate::options::{Layout, kind};
use crate::random::Random;

/// What a plan is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Anything.
    Any,
    /// Anything behind an honest handshake.
    Open,
    /// The ACK flag.
    AckFlag,
    /// SYNs.
    Syn,
    /// Acknowledgements of what was never sent.
    AckAhead,
    /// Old acknowledgements.
    AckOld,
    /// Old timestamps.
    Timestamps,
    /// The receive window.
    Window,
    /// Checksums of IP.
    IpChecksum,
    /// Checksums of TCP.
    TcpChecksum,
    /// Link addresses.
    LinkAddress,
    /// Options of IP.
    IpOptions,
    /// Signatures of TCP.
    Signature,
    /// Urgent data.
    Urgent,
    /// What lies behind a FIN.
    BehindFin,
    /// Other bytes in place of those that were lost behind the programs.
    Repetition,
}

/// Connection `number` of `seed`.
#[must_use]
pub fn make(seed: u64, number: u64, focus: Focus) -> Plan {
    let mut random = Random(seed.rotate_left(32) ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    let random = &mut random;
    random.word();
    let small = focus == Focus::Window || random.chance(12);
    let mut plan = Plan {
        number,
        v6: focus != Focus::IpChecksum && random.chance(40),
        accelerated: random.chance(55),
        small,
        timestamps: focus == Focus::Timestamps || random.chance(65),
        shift: if random.chance(70) { Some(random.below(15) as u8) } else { None },
        isn: random.word(),
        opening: Opening::Honest,
        moves: Vec::new(),
    };
    // A server reads from the first segment on, or from the one that ends the handshake.
    if focus == Focus::Open || random.chance(80) {
        plan.moves.extend([bare(&[]), Move::Sync]);
    }
    if let (Focus::Any | Focus::Open, Some(lies)) = (focus, pairs::lies(number)) {
        pair(random, lies, &mut plan.moves);
        return plan;
    }
    if random.chance(4) {
        honest(random, &mut plan.moves);
        return plan;
    }
    if focus == Focus::Any && random.chance(15) {
        plan.opening = opening(random);
    }
    let steps = 2 + random.below(9);
    for _ in 0..steps {
        match focus {
            Focus::Any | Focus::Open => any(random, small, &mut plan.moves),
            // Nothing else lies: what is found is due to this.
            _ if random.chance(60) => focused(random, focus, &mut plan.moves),
            _ => plan.moves.push(own(random)),
        }
        if random.chance(75) {
            plan.moves.push(Move::Sync);
        }
    }
    plan.moves.push(Move::Sync);
    plan
}

fn opening(random: &mut Random) -> Opening {
    match random.below(4) {
        0 => Opening::Payload(length(random)),
        1 => Opening::OtherBefore(random.one_of(&[1, 100, 1 << 20, 1 << 31])),
        2 => Opening::OtherAfter(random.one_of(&[1, 100, 1 << 20, 1 << 31])),
        _ => Opening::Lies(Lie::some(random)),
    }
}

fn bare(lies: &[Lie]) -> Move {
    Move::Segment { from: From::Next(0), len: 0, text: Text::Own, flags: 0, lies: lies.to_vec() }
}

fn data(from: From, len: u16, text: Text, lies: &[Lie]) -> Move {
    Move::Segment { from, len, text, flags: 0, lies: lies.to_vec() }
}

/// A segment with these lies, in the midst of honest ones; then other bytes in its place, or the same.
fn pair(random: &mut Random, lies: Vec<Lie>, moves: &mut Vec<Move>) {
    if random.chance(60) {
        moves.extend([own(random), Move::Sync]);
    }
    let text = ghost(random);
    moves.extend([data(From::Next(0), length(random), text, &lies), Move::Sync]);
    let after = if random.chance(50) { ghost(random) } else { Text::OwnLine };
    moves.extend([data(From::Next(0), length(random), after, &[]), Move::Sync]);
    moves.extend([own(random), Move::Sync]);
}

/// Only what an honest client sends.
fn honest(random: &mut Random, moves: &mut Vec<Move>) {
    for _ in 0..3 + random.below(8) {
        moves.push(own(random));
        if random.chance(60) {
            moves.push(Move::Sync);
        }
        if random.chance(15) {
            moves.extend([Move::Say(1 + random.below(200) as u16), Move::Sync]);
        }
    }
    moves.push(Move::Sync);
}

fn length(random: &mut Random) -> u16 {
    match random.below(12) {
        0 => 1,
        1 => 257 + random.below(600) as u16,
        2 => 1380,
        _ => 2 + random.below(60) as u16,
    }
}

fn own(random: &mut Random) -> Move {
    let text = random.one_of(&[Text::Own, Text::OwnLine, Text::OwnLine, Text::Asking, Text::Asking]);
    data(From::Next(0), length(random).max(2), text, &[])
}

fn other(random: &mut Random) -> Text {
    let salt = random.below(256) as u8;
    if random.chance(25) { Text::OtherAsking(salt) } else { Text::Other(salt) }
}

/// Mostly other bytes; sometimes those that will be sent afterwards as well.
fn ghost(random: &mut Random) -> Text {
    if random.chance(15) { Text::Own } else { other(random) }
}

fn any(random: &mut Random, small: bool, moves: &mut Vec<Move>) {
    let next = From::Next(0);
    match random.below(100) {
        0..=19 => moves.push(own(random)),
        20..=51 => {
            let lies = Lie::some(random);
            moves.push(data(next, length(random), ghost(random), &lies));
        }
        // Overlaps: from before, as long, and beyond.
        52..=60 => {
            let back = 1 + random.below(40) as i32;
            let len = if random.chance(50) { back as u16 } else { length(random) };
            let lies = if random.chance(30) { Lie::some(random) } else { Vec::new() };
            moves.push(data(From::Next(-back), len, ghost(random), &lies));
        }
        // Out of order, and the gap.
        61..=69 => {
            let gap = 1 + random.below(30) as u16;
            moves.push(data(From::Next(i32::from(gap)), length(random), ghost(random), &[]));
            if random.chance(70) {
                let len = gap + random.below(20) as u16;
                moves.push(data(next, len, ghost(random), &[]));
            }
        }
        // At the edges of what may be taken.
        70..=74 => {
            let from = random.one_of(&[
                From::Edge(0),
                From::Edge(-1),
                From::Edge(1),
                From::Edge(-20),
                From::Isn(0),
                From::Isn(1),
                From::Next(1 << 30),
                From::Next(-(1 << 30)),
                From::Next(i32::MAX),
                From::Next(i32::MIN),
            ]);
            moves.push(data(from, length(random), ghost(random), &[]));
        }
        75..=81 => {
            let lies = Lie::some(random);
            moves.push(bare(&lies));
        }
        82..=84 => {
            let from = random.one_of(&[0, 0, 1, -1, 10, 1000, 1 << 20]);
            let flags = tcp_flag::RST;
            let len = random.one_of(&[0, 0, 5]);
            let lies = if random.chance(50) { Lie::some(random) } else { Vec::new() };
            moves.push(Move::Segment { from: From::Next(from), len, text: other(random), flags, lies });
        }
        85..=87 => {
            let from =
                random.one_of(&[From::Next(0), From::Next(0), From::Isn(0), From::Next(100), From::Next(-1)]);
            let lies = if random.chance(60) { vec![Lie::NoAck] } else { Vec::new() };
            let (len, flags) = (random.one_of(&[0, 0, 20]), tcp_flag::SYN);
            moves.push(Move::Segment { from, len, text: other(random), flags, lies });
        }
        88..=90 => fin(random, moves),
        91..=94 => moves.extend([Move::Say(1 + random.below(100) as u16), Move::Sync]),
        95 | 96 => moves.push(data(next, length(random), other(random), &[Lie::Firewalled])),
        97 if small => window(random, moves),
        _ => {
            // The same once more, whole or in part.
            let back = 1 + random.below(60) as i32;
            moves.push(data(From::Next(-back), back as u16, Text::Own, &[]));
        }
    }
}

/// A FIN, and what lies behind it.
fn fin(random: &mut Random, moves: &mut Vec<Move>) {
    let len = random.one_of(&[0, 0, 7]);
    let lies = if random.chance(20) { Lie::some(random) } else { Vec::new() };
    let from = From::Next(random.one_of(&[0, 0, 0, 10, -1]));
    moves.push(Move::Segment { from, len, text: Text::Own, flags: tcp_flag::FIN, lies });
    if random.chance(70) {
        moves.push(Move::Sync);
    }
    for _ in 0..random.below(3) {
        let from = From::Next(random.one_of(&[0, 0, -1, 1, 5]));
        moves.push(data(from, length(random), ghost(random), &[]));
    }
}

/// A full window, and what goes beyond it.
fn window(random: &mut Random, moves: &mut Vec<Move>) {
    let rest = random.below(60) as u16;
    moves.extend([Move::Hold, bare(&[]), Move::Sync, Move::Fill(rest), Move::Sync]);
    // The window that is told now may be smaller than what was told before; it never moves back.
    moves.extend([Move::Fill(rest), Move::Sync]);
    let len = rest + random.one_of(&[1, 50, 700, 1300]);
    moves.push(data(From::Next(0), len, other(random), &[]));
    moves.push(Move::Sync);
    if random.chance(50) {
        moves.push(data(From::Next(0), rest.max(1), other(random), &[]));
        moves.push(Move::Sync);
    }
}

fn focused(random: &mut Random, focus: Focus, moves: &mut Vec<Move>) {
    let lie = match focus {
        Focus::Any | Focus::Open => Lie::any(random),
        Focus::AckFlag => random.one_of(&[Lie::NoAck, Lie::Flags(0), Lie::Flags(8)]),
        Focus::Syn => random.one_of(&[Lie::Syn, Lie::Flags(0x12), Lie::Flags(0x1a)]),
        Focus::AckAhead => Lie::AckAhead(random.one_of(&[1, 1000, 100_000, 1 << 30])),
        Focus::AckOld => Lie::AckOld(random.one_of(&[1, 2, 1000, 70_000, 1 << 26, 1 << 30])),
        Focus::Timestamps => match random.below(2) {
            0 => Lie::OldTimestamp(random.one_of(&[3, 100, 10_000, 1 << 30])),
            _ => Lie::Timestamps(random.one_of(&Layout::UNUSUAL), true),
        },
        Focus::IpChecksum => Lie::IpChecksum(random.one_of(&[1, 0x100, 0xffff])),
        Focus::TcpChecksum => Lie::TcpChecksum(random.one_of(&[1, 0x100, 0x8000])),
        Focus::LinkAddress => random.one_of(&[Lie::OtherStation, Lie::Group, Lie::Broadcast]),
        Focus::IpOptions => Lie::IpOption(random.one_of(&[131, 137, 0x9e, 255, 130])),
        Focus::Signature => Lie::Option(kind::MD5, 18, 16),
        Focus::Urgent => Lie::Urgent(random.one_of(&[1, 2, 3, 7, 0])),
        Focus::Window => return window(random, moves),
        Focus::BehindFin => return fin(random, moves),
        Focus::Repetition => Lie::Firewalled,
    };
    moves.push(data(From::Next(0), length(random), ghost(random), &[lie]));
    if focus == Focus::Repetition && random.chance(80) {
        moves.push(Move::Sync);
        moves.push(data(From::Next(0), length(random), other(random), &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_plan_and_another_one_another() {
        let printed = |seed, number| make(seed, number, Focus::Any).to_string();
        assert_eq!(printed(1, 7), printed(1, 7));
        assert_ne!(printed(1, 7), printed(1, 8));
        assert_ne!(printed(1, 7), printed(2, 7));
    }
}
