//! How an echo packet goes back ([`crate::echo`]).

use xps_core::checksum::fold;
use xps_core::packet::mapped;

use super::{Action, Datagram, Host, Packet, is_here, pseudo_sum, swap_hardware};
use crate::echo::{self, EchoKey, EchoOutcome, Echoes};

/// Sends an echo packet back, if its sender may be sent any. `None`: it is the stack's.
#[inline(always)]
pub(super) fn reflect<P: Packet, H: Host + Echoes>(
    packet: &P,
    host: &H,
    datagram: &Datagram,
) -> Option<Action> {
    let Datagram { v6, ip, udp, .. } = *datagram;
    let is_to_sender = is_to_sender(packet, datagram)?;
    match (is_to_sender, is_here(packet, host, datagram)) {
        (false, false) => return None,
        (true, true) => {
            host.count_echo(EchoOutcome::Returned);
            return None;
        }
        _ => {}
    }
    // The sum stays right or wrong as it is, since what is changed leaves it alone. But one that is to be completed later is
    // completed by nobody if the packet goes back from XDP.
    let is_unfinished = fold(pseudo_sum(packet, datagram)?) == packet.half(udp + 6)?;
    if is_unfinished && !packet.completed_later(udp + 6) {
        return None;
    }
    let hop_limit = if v6 { packet.word(ip + 4)? & 0xff } else { packet.word(ip + 8)? >> 24 };
    let admitted = if hop_limit == echo::HOP_LIMIT { admit(packet, host, datagram) } else { None };
    let Some(admitted) = admitted else {
        host.count_echo(EchoOutcome::Stranger);
        return None;
    };
    if !admitted {
        host.count_echo(EchoOutcome::TooFast);
        return Some(Action::Drop);
    }
    if send_back(packet, datagram, is_to_sender).is_none() {
        return Some(Action::Drop);
    }
    host.count_echo(EchoOutcome::Reflected);
    Some(Action::Back)
}

/// Whether both addresses are the same.
#[inline(always)]
fn is_to_sender<P: Packet>(packet: &P, datagram: &Datagram) -> Option<bool> {
    let ip = datagram.ip;
    if !datagram.v6 {
        return Some(packet.word(ip + 12)? == packet.word(ip + 16)?);
    }
    let mut differences = 0;
    let mut i = 0;
    while i < 16 {
        differences |= packet.word(ip + 8 + i)? ^ packet.word(ip + 24 + i)?;
        i += 4;
    }
    Some(differences == 0)
}

/// Whether its sender may be sent one more, on this interface or on any. `None`: it is a stranger.
#[inline(always)]
fn admit<P: Packet, H: Host + Echoes>(packet: &P, host: &H, datagram: &Datagram) -> Option<bool> {
    let source = if datagram.v6 {
        packet.head::<16>(datagram.ip + 8)?
    } else {
        mapped(packet.head::<4>(datagram.ip + 12)?)
    };
    let now_ns = host.now_ns();
    match host.admit_echo(&EchoKey::new(source, packet.device()), now_ns) {
        None => host.admit_echo(&EchoKey::new(source, 0), now_ns),
        admitted => admitted,
    }
}

/// Hardware addresses change places, and the others if the packet was for this host; the hop limit is one less.
#[inline(always)]
fn send_back<P: Packet>(packet: &P, datagram: &Datagram, is_to_sender: bool) -> Option<()> {
    let ip = datagram.ip;
    let mut done = swap_hardware(packet)?;
    if datagram.v6 {
        let second = packet.word(ip + 4)? - 1;
        done &= packet.put(ip + 4, &[second.to_be()]);
    } else {
        // The first half of this word, with its sum in the next.
        let third = packet.word(ip + 8)? - (1 << 24);
        let mut sum = u64::from(packet.word(ip)?) + u64::from(packet.word(ip + 4)?);
        sum += u64::from(third >> 16) + u64::from(packet.word(ip + 12)?) + u64::from(packet.word(ip + 16)?);
        let third = third & 0xffff_0000 | u32::from(!fold(sum));
        done &= packet.put(ip + 8, &[third.to_be()]);
    }
    if !is_to_sender {
        done &= swap_addresses(packet, datagram)?;
        done &= packet.put(datagram.udp, &[datagram.ports.rotate_left(16).to_be()]);
    }
    if done { Some(()) } else { None }
}

/// Both addresses change places. Whether they could.
#[inline(always)]
fn swap_addresses<P: Packet>(packet: &P, datagram: &Datagram) -> Option<bool> {
    let ip = datagram.ip;
    if !datagram.v6 {
        let swapped = [packet.word(ip + 16)?.to_be(), packet.word(ip + 12)?.to_be()];
        return Some(packet.put(ip + 12, &swapped));
    }
    let mut words = [0; 8];
    let mut i = 0;
    while i < 4 {
        words[i] = packet.word(ip + 24 + 4 * i as u32)?.to_be();
        words[4 + i] = packet.word(ip + 8 + 4 * i as u32)?.to_be();
        i += 1;
    }
    Some(packet.put(ip + 8, &words))
}
