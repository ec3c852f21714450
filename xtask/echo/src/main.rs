//! What heartbeat's replies are measured against. Ends by a signal, and with it what it attached.
//!
//! - `xps-echo socket 0.0.0.0:7946`: a process that sends back what it receives.
//! - `xps-echo stack 7946`: the same in the stack, for all interfaces of its network namespace (tcx; IPv4 only).
//! - `xps-echo cost`: what a reply takes in the stack, heartbeat's and this one's (`BPF_PROG_TEST_RUN`), as JSON.

mod bare;
mod cost;
// heartbeat's programs with tables for tests, as its own tests load them.
#[path = "../../../heartbeat/tests/kernel/stack.rs"]
#[allow(dead_code, reason = "shared with heartbeat's tests; each uses a part")]
mod stack;

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use clap::Parser;

/// Larger datagrams are cut.
const DATAGRAM_MAX: usize = 2048;

/// Sends datagrams back unread.
#[derive(Parser)]
enum Arguments {
    /// By a socket, with two system calls for each.
    Socket {
        /// Where to listen.
        address: SocketAddr,
    },
    /// In the stack, at tcx ingress of all interfaces of this network namespace (IPv4, root).
    Stack {
        /// The port whose datagrams are sent back.
        port: u16,
    },
    /// Print what a reply takes in the stack, in nanoseconds (root).
    Cost,
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Socket { address } => echo(address),
        Arguments::Stack { port } => bare::attach(port),
        Arguments::Cost => {
            println!("{}", serde_json::to_string(&cost::measure()?)?);
            Ok(())
        }
    }
}

fn echo(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let mut datagram = [0; DATAGRAM_MAX];
    loop {
        // What a peer that is gone says of itself is an error of the call, and no reason to end.
        let Ok((length, peer)) = socket.recv_from(&mut datagram) else { continue };
        let _ = socket.send_to(&datagram[..length], peer);
    }
}
