//! Probes by the clock, whatever the responder does: a reply that is late delays no probe.
//!
//! One thread, on the last CPU, at a real-time priority: on a machine without an idle CPU it would otherwise wait for one
//! itself, and what is measured is the responder. It reads its own clock. The kernel's time stamp of a reply would be of no
//! use: a probe that the stack turns into its reply keeps that of the probe's arrival.

use super::cpu::{self, now_ns};
use super::pauses::Watch;
use super::record::{LOST_NS, Probe, Record};
use super::speech::Speech;
use crate::lab::Place;
use anyhow::{Context, Result};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Longer than any datagram that may come.
const DATAGRAM_MAX: usize = 256;

/// Who probes, from where and whom.
pub(super) struct Prober {
    pub(super) place: Place,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) speech: Speech,
}

impl Prober {
    /// Probes for a time, on average once in `gap`.
    pub(super) fn run(&self, gap: Duration, duration: Duration) -> Result<Record> {
        self.place.run(|| {
            let socket =
                UdpSocket::bind(self.from).with_context(|| format!("cannot listen on {}", self.from))?;
            socket.connect(self.to)?;
            socket.set_nonblocking(true)?;
            cpu::be_on(cpu::last())?;
            cpu::be_urgent(cpu::PROBES);
            let count = (duration.as_nanos() / gap.as_nanos().max(1)) as u64;
            // The first ones find the way to the responder.
            Run::new(self.speech.renewed(), now_ns() + gap.as_nanos() as u64, gap, count).go(&socket)
        })
    }
}

struct Run {
    speech: Speech,
    start_ns: u64,
    gap_ns: u64,
    count: u64,
    record: Record,
    answered: u64,
}

impl Run {
    fn new(speech: Speech, start_ns: u64, gap: Duration, count: u64) -> Self {
        let record = Record { probes: Vec::with_capacity(count as usize), pauses: Vec::new() };
        Self { speech, start_ns, gap_ns: gap.as_nanos() as u64, count, record, answered: 0 }
    }

    fn go(mut self, socket: &UdpSocket) -> Result<Record> {
        let watch = Watch::start();
        loop {
            let now_ns = now_ns();
            self.hear(socket)?;
            let until_ns = match self.next_due_ns() {
                Some(due_ns) if due_ns <= now_ns => {
                    self.send(socket, due_ns);
                    continue;
                }
                Some(due_ns) => due_ns,
                None => match self.end_ns() {
                    Some(end_ns) if end_ns > now_ns => end_ns,
                    _ => break,
                },
            };
            wait(socket.as_fd(), until_ns.saturating_sub(now_ns))?;
        }
        self.record.pauses = watch.end();
        Ok(self.record)
    }

    /// When the next probe is due; none if all are sent.
    fn next_due_ns(&self) -> Option<u64> {
        let index = self.record.probes.len() as u64;
        (index < self.count).then(|| self.start_ns + due_after_ns(index, self.gap_ns))
    }

    /// Until when answers are waited for; none if all are there.
    fn end_ns(&self) -> Option<u64> {
        let last = self.record.probes.last()?;
        (self.answered < self.record.probes.len() as u64).then_some(last.sent_ns + LOST_NS)
    }

    /// One that cannot be sent is one that is not answered.
    fn send(&mut self, socket: &UdpSocket, due_ns: u64) {
        let number = self.record.probes.len() as u64 + 1;
        let bytes = self.speech.probe(number);
        self.record.probes.push(Probe { due_ns, sent_ns: now_ns(), answered_ns: None });
        let _ = socket.send(&bytes);
    }

    fn hear(&mut self, socket: &UdpSocket) -> Result<()> {
        let mut datagram = [0; DATAGRAM_MAX];
        loop {
            let bytes = match socket.recv(&mut datagram) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What became of an earlier probe, which will be missed.
                Err(_) => continue,
            };
            let now_ns = now_ns();
            let index = self.speech.answered(&datagram[..bytes]).and_then(|number| number.checked_sub(1));
            let probe = index.and_then(|index| self.record.probes.get_mut(usize::try_from(index).ok()?));
            if let Some(probe) = probe.filter(|probe| probe.answered_ns.is_none()) {
                probe.answered_ns = Some(now_ns);
                self.answered += 1;
            }
        }
    }
}

/// When a probe is due, counted from 0. Within each gap it moves by the golden ratio: evenly spread, and in step with nothing
/// that the machine does at intervals.
fn due_after_ns(index: u64, gap_ns: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let within = (u128::from(index.wrapping_mul(GOLDEN)) * u128::from(gap_ns)) >> 64;
    index * gap_ns + within as u64
}

/// Waits until something has come, or so long.
fn wait(socket: BorrowedFd<'_>, ns: u64) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit = libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: one valid pollfd and a time that live through the call; no mask of signals.
    if unsafe { libc::ppoll(&raw mut poll, 1, &raw const limit, std::ptr::null()) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::speech::Answerer;
    use super::*;

    #[test]
    fn probes_are_due_once_in_each_gap_at_any_point_of_it() {
        let gap_ns = 1000;
        let within: Vec<u64> = (0..1000).map(|index| due_after_ns(index, gap_ns) - index * gap_ns).collect();
        assert!(within.iter().all(|ns| *ns < gap_ns));
        for tenth in 0..10 {
            let count = within.iter().filter(|ns| **ns / 100 == tenth).count();
            assert!((95..=105).contains(&count), "{count} in tenth {tenth}");
        }
    }

    #[test]
    fn answers_are_filed_and_what_is_not_answered_is_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let speech = Speech::new(Answerer::Echo, 20, 10).unwrap();
        let prober = Prober { place: Place::here(), from: "127.0.0.1:0".parse().unwrap(), to, speech };
        let probes = 20;
        let record = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut datagram = [0; DATAGRAM_MAX];
                for number in 0..probes {
                    let (bytes, from) = server.recv_from(&mut datagram).unwrap();
                    // One gets none, and one gets two.
                    for _ in 0..[1, 0, 2].get(number).copied().unwrap_or(1) {
                        server.send_to(&datagram[..bytes], from).unwrap();
                    }
                }
            });
            prober.run(Duration::from_millis(2), Duration::from_millis(2 * probes as u64)).unwrap()
        });
        assert_eq!(record.probes.len(), probes);
        let lost: Vec<usize> =
            (0..probes).filter(|index| record.probes[*index].answered_ns.is_none()).collect();
        assert_eq!(lost, [1]);
        assert!(record.probes.windows(2).all(|pair| pair[0].due_ns < pair[1].due_ns));
        assert!(record.probes.iter().all(|probe| probe.due_ns <= probe.sent_ns
            && probe.answered_ns.is_none_or(|answered_ns| probe.sent_ns <= answered_ns)));
    }
}
