//! Flows that have ended without a word: a client that vanished, a server that was killed (S10). The programs forget a
//! flow whose two sides have closed in order; the others only the agent can tell, by the sockets that are there.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use xps_core::flow::{Flow, FlowKey};

use crate::flow_table::FlowTable;
use crate::sockets::{self, Socket, SocketState};

/// For how long a socket must be absent: between a SYN and its socket there is a moment without one.
const ABSENCE_MIN: Duration = Duration::from_secs(1);

/// Remembers which flows had no socket at the last look.
#[derive(Debug, Default)]
pub struct Ended {
    absent: HashMap<FlowKey, Instant>,
    waiting: HashSet<FlowKey>,
}

impl Ended {
    /// Those of `flows` whose server, on these ports, has had no socket for them, or one in TIME_WAIT ([`waits`](Self::waits)), in two
    /// looks at least a second apart. `flows` must have been listed before the call: then one that is opened meanwhile is
    /// not among them.
    ///
    /// # Errors
    /// The kernel's, when it cannot list sockets.
    pub fn look(&mut self, flows: &[FlowKey], ports: &[u16]) -> io::Result<Vec<FlowKey>> {
        if flows.is_empty() {
            *self = Self::default();
            return Ok(Vec::new());
        }
        let sockets = sockets::of_ports(ports)?;
        let keys = |wanted: fn(SocketState) -> bool| {
            let sockets = sockets.iter().filter(move |socket| wanted(socket.state));
            sockets.map(|socket| flow_key(socket.local, socket.remote)).collect()
        };
        let present = keys(|state| !matches!(state, SocketState::Listen | SocketState::TimeWait));
        self.waiting = keys(|state| state == SocketState::TimeWait);
        Ok(self.compare(flows, &present, Instant::now()))
    }

    /// Whether the flow's socket was in TIME_WAIT at the last look: the server is done with the connection, but a segment
    /// of it may still come.
    #[must_use]
    pub fn waits(&self, flow: &FlowKey) -> bool {
        self.waiting.contains(flow)
    }

    fn compare(&mut self, flows: &[FlowKey], present: &HashSet<FlowKey>, now: Instant) -> Vec<FlowKey> {
        let missing: HashSet<_> = flows.iter().copied().filter(|key| !present.contains(key)).collect();
        self.absent.retain(|key, _| missing.contains(key));
        let mut gone = Vec::new();
        for key in missing {
            let since = *self.absent.entry(key).or_insert(now);
            if now.duration_since(since) >= ABSENCE_MIN {
                gone.push(key);
            }
        }
        gone
    }
}

/// The flow of a server's socket.
#[must_use]
pub fn flow_key(local: SocketAddr, remote: SocketAddr) -> FlowKey {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    FlowKey {
        client: octets(remote),
        server: octets(local),
        client_port: remote.port(),
        server_port: local.port(),
        padding: 0,
    }
}

/// The client's address of a flow.
#[must_use]
pub fn client_address(key: &FlowKey) -> SocketAddr {
    let ip = std::net::Ipv6Addr::from(key.client);
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    SocketAddr::new(ip, key.client_port)
}

/// Resets, on both sides, the connections to this port that have no flow: they are older than the programs. `wanted` says
/// which of the server's addresses count. How many those were.
///
/// # Errors
/// The kernel's, when it cannot list sockets or flows.
pub fn reset_unread<S: Copy + 'static>(
    table: &FlowTable<S>,
    port: u16,
    wanted: impl Fn(IpAddr) -> bool,
) -> io::Result<usize> {
    // The sockets first: one that is opened in between is in the flow table and not in the list.
    let sockets = sockets::of_port(port)?;
    let flows: HashSet<_> = table.keys().map_err(io::Error::other)?.into_iter().collect();
    let mut count = 0;
    for socket in &sockets {
        // One that is half open gets its flow with the acknowledgement that opens it, or none does.
        let open = socket.state.receives() && socket.state != SocketState::SynReceived;
        let unread = open && wanted(socket.local.ip());
        if unread && !flows.contains(&flow_key(socket.local, socket.remote)) {
            count += usize::from(sockets::destroy(socket)?);
        }
    }
    Ok(count)
}

/// Resets, on both sides, the connections to these ports whose flow is `wanted` and whose socket is still there. How many
/// those were.
pub fn reset<S: Copy + 'static>(
    table: &FlowTable<S>,
    ports: &[u16],
    wanted: impl Fn(&Flow<S>) -> bool,
) -> usize {
    let mut flows = HashSet::new();
    let looked = table.for_each(|key, flow| {
        if wanted(flow) {
            flows.insert(*key);
        }
    });
    if flows.is_empty() && looked.is_ok() {
        return 0;
    }
    let sockets = match (looked, sockets::of_ports(ports)) {
        (Ok(()), Ok(sockets)) => sockets,
        (looked, sockets) => {
            tracing::warn!(flows = ?looked.err(), sockets = ?sockets.err(), "open connections cannot be reset");
            return 0;
        }
    };
    let mut count = 0;
    let open = |socket: &&Socket| !matches!(socket.state, SocketState::Listen | SocketState::TimeWait);
    for socket in sockets.iter().filter(open) {
        if flows.contains(&flow_key(socket.local, socket.remote)) {
            match sockets::destroy(socket) {
                Ok(there) => count += usize::from(there),
                Err(error) => {
                    tracing::warn!(client = %socket.remote, %error, "an open connection cannot be reset");
                }
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_must_be_absent_for_a_second() {
        let flow = |port| FlowKey { client_port: port, server_port: 6379, ..FlowKey::default() };
        let (mut ended, start) = (Ended::default(), Instant::now());
        let flows = [flow(1), flow(2)];
        let present: HashSet<_> = [flow(2)].into();
        assert!(ended.compare(&flows, &present, start).is_empty());
        assert!(ended.compare(&flows, &present, start + ABSENCE_MIN / 2).is_empty());
        assert_eq!(ended.compare(&flows, &present, start + ABSENCE_MIN), [flow(1)]);
        // Back again in between: counted anew.
        assert!(ended.compare(&flows, &[flow(1), flow(2)].into(), start + ABSENCE_MIN).is_empty());
        assert!(ended.compare(&flows, &present, start + ABSENCE_MIN * 3).is_empty());
    }

    #[test]
    fn a_socket_leads_to_its_flow() {
        let key = flow_key("10.0.0.1:6379".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
        assert_eq!((key.client[12..].to_vec(), key.client_port), (vec![10, 0, 0, 2], 4000));
        assert_eq!((key.server[10..].to_vec(), key.server_port), (vec![255, 255, 10, 0, 0, 1], 6379));
        for (local, remote) in [("10.0.0.1:6379", "10.0.0.2:4000"), ("[fd00::1]:6379", "[fd00::2]:4000")] {
            let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
            assert_eq!(client_address(&flow_key(local, remote)), remote);
        }
    }
}
