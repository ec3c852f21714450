//! As many probes as one CPU can send, each with a tag and a sequence of its own.
//!
//! Their replies are counted by the device that they come to, and fill a socket that nobody reads: a reply that is dropped there
//! costs the same whoever has sent it.

use super::cpu;
use super::prober::Prober;
use crate::machine;
use anyhow::{Context, Result, ensure};
use heartbeat_fastpath::wire::MESSAGE_BYTES;
use socket2::SockRef;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Probes that are sent by one system call.
const BATCH: usize = 64;
/// The CPU that handles what comes to servers, see [`crate::lab::Star`].
const STACK_CPU: usize = 0;

/// What a flood was answered with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flooded {
    /// Replies a second.
    pub(super) rps: f64,
    /// Replies for each second that the stack's CPU worked in interrupts, whatever else ran on it.
    pub(super) per_busy_second: f64,
    /// The share of its time that it did, 0 to 1.
    pub(super) busy: f64,
}

/// Floods for a time; the replies come to this device.
pub(super) fn flood(prober: &Prober, device: &str, duration: Duration) -> Result<Flooded> {
    ensure!(
        cpu::last() != STACK_CPU,
        "there is one CPU only, on which flood and replies cannot be told apart"
    );
    prober.place.run(|| {
        let socket =
            UdpSocket::bind(prober.from).with_context(|| format!("cannot listen on {}", prober.from))?;
        socket.connect(prober.to)?;
        SockRef::from(&socket).set_recv_buffer_size(1)?;
        cpu::be_on(cpu::last())?;
        let speech = prober.speech.renewed();
        let (came, busy_us, start) =
            (received(device)?, machine::interrupts_us_of(STACK_CPU)?, Instant::now());
        let mut number = 0;
        while start.elapsed() < duration {
            let mut probes = [[0; MESSAGE_BYTES]; BATCH];
            for probe in &mut probes {
                number += 1;
                *probe = speech.probe(number);
            }
            send(&socket, &mut probes);
        }
        let seconds = start.elapsed().as_secs_f64();
        let replies = (received(device)? - came) as f64;
        let busy_seconds = (machine::interrupts_us_of(STACK_CPU)? - busy_us) as f64 / 1e6;
        ensure!(replies > 0.0, "no probe of {number} was answered");
        ensure!(busy_seconds > 0.0, "the stack's CPU had no interrupts");
        let rps = replies / seconds;
        Ok(Flooded { rps, per_busy_second: replies / busy_seconds, busy: busy_seconds / seconds })
    })
}

/// Sends what can be sent. What cannot is missed by nobody.
fn send(socket: &UdpSocket, probes: &mut [[u8; MESSAGE_BYTES]; BATCH]) {
    let mut vectors = probes
        .each_mut()
        .map(|probe| libc::iovec { iov_base: probe.as_mut_ptr().cast(), iov_len: probe.len() });
    let mut messages = vectors.each_mut().map(|vector| {
        // SAFETY: a header of zeros is one without address, control data and vectors.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
        message
    });
    // SAFETY: as many headers as are told; they, their vectors and the bytes live through the call.
    unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH as libc::c_uint, 0) };
}

/// Packets that have come to a device of the calling thread's namespace.
fn received(device: &str) -> Result<u64> {
    let text =
        fs::read_to_string("/proc/thread-self/net/dev").context("cannot read /proc/thread-self/net/dev")?;
    packets_received(&text, device).with_context(|| format!("there is no device {device}"))
}

/// From `/proc/net/dev`: behind the name come bytes and packets received.
fn packets_received(text: &str, device: &str) -> Option<u64> {
    let fields = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_device() {
        let text = "Inter-|   Receive  \n face |bytes    packets errs\n    lo: 1 2 3 4\n veth10:5 6 7\n veth1: 8 9 10\n";
        assert_eq!(packets_received(text, "veth1"), Some(9));
        assert_eq!(packets_received(text, "veth10"), Some(6));
        assert_eq!(packets_received(text, "eth0"), None);
    }

    #[test]
    fn a_batch_is_sent_whole() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut probes = std::array::from_fn(|index| [index as u8; MESSAGE_BYTES]);
        send(&client, &mut probes);
        for probe in probes {
            let mut received = [0; MESSAGE_BYTES + 1];
            let bytes = server.recv(&mut received).unwrap();
            assert_eq!(received[..bytes], probe);
        }
    }
}
