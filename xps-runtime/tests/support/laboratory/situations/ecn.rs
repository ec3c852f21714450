//! Congestion marks (RFC 3168) and classes of service (RFC 2474) on the way, in [`wide`](super::interface_mtu::wide).

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::super::capture::{CE, CWR, Capture, ECE, ECT_0, SYN, Segment};
use super::super::{CLIENT, SERVER, Service, Talk, Way, on_each_port};

/// Requests of each kind, marked and then unmarked.
const REQUESTS: u32 = 20;

/// Expedited forwarding (RFC 3246).
const EF: u8 = 46;
/// Assured forwarding, class 4, low drop (RFC 2597).
const AF41: u8 = 34;

/// A router marks the client's packets.
fn mark<S: Service>(service: &S, marks: &str) -> Result<()> {
    service.network().rules(
        "near",
        &format!("table inet marks {{\nchain marks {{\ntype filter hook forward priority 0\n{marks}\n}}\n}}"),
    )
}

/// Both kinds of requests.
fn use_it(talk: &mut dyn Talk) -> Result<()> {
    for _ in 0..REQUESTS {
        talk.answer()?;
    }
    for _ in 0..REQUESTS {
        talk.pass()?;
        talk.answer()?;
    }
    Ok(())
}

/// A congested path: replies do not carry the mark of requests, and tell of it until the client has heard.
pub(crate) fn congestion<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    for host in [SERVER, CLIENT] {
        network.sysctl(host, "net.ipv4.tcp_ecn", "1")?;
    }
    network.without_offload(SERVER, "veth0")?;
    network.without_offload("far", "server")?;
    let capture = Capture::start(network.place("far"), "server")?;
    on_each_port(service, |to| {
        let mut talk = service.connect_to(to)?;
        talk.answer()?;
        let port = to.port();
        mark(
            service,
            &format!(
                "tcp dport {port} ip ecn != not-ect ip ecn set ce\ntcp dport {port} ip6 ecn != not-ect ip6 ecn set ce"
            ),
        )?;
        let used = use_it(&mut *talk);
        mark(service, "")?;
        used?;
        use_it(&mut *talk)?;
        judge(to, &capture.segments()?)
    })
}

/// What went over the server's link for one connection.
fn judge(to: SocketAddr, segments: &[Segment]) -> Result<()> {
    let marked =
        |segment: &&Segment| segment.destination == to && segment.ecn == CE && segment.payload_bytes > 0;
    ensure!(segments.iter().filter(marked).count() > REQUESTS as usize, "few requests came marked");
    let mut demanded = 0;
    for reply in segments.iter().filter(|segment| segment.source == to && !segment.has(SYN)) {
        ensure!(reply.ecn != CE, "a reply carries a mark of congestion: {reply:?}");
        if reply.payload_bytes > 0 {
            ensure!(reply.ecn == ECT_0, "a reply does not carry the server's codepoint: {reply:?}");
        }
        let demands = demand_at(to, segments, reply.ack);
        ensure!(
            reply.has(ECE) == demands,
            "congestion {} told: {reply:?}",
            if demands { "is not" } else { "is" }
        );
        demanded += u32::from(demands);
    }
    ensure!(demanded > 0, "no reply had to tell of congestion");
    Ok(())
}

/// Whether the server has to tell of congestion once it has this much of the client's stream: from a marked segment on,
/// until one says that the window is reduced. One that is marked and says so demands it anew.
fn demand_at(to: SocketAddr, segments: &[Segment], ack: u32) -> bool {
    let mut demands = false;
    for segment in segments.iter().filter(|segment| segment.destination == to && segment.payload_bytes > 0) {
        let end = segment.seq.wrapping_add(segment.payload_bytes);
        if ack.wrapping_sub(end).cast_signed() >= 0 {
            demands = segment.ecn == CE || demands && !segment.has(CWR);
        }
    }
    demands
}

/// Requests come in a class of their own: replies have the server's.
pub(crate) fn classes<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    let capture = Capture::start(network.place("far"), "server")?;
    mark(service, "meta l4proto tcp ip dscp set ef\nmeta l4proto tcp ip6 dscp set ef")?;
    on_each_port(service, |to| {
        let mut talk = service.connect_to(to)?;
        use_it(&mut *talk)?;
        all_in(to, &capture.segments()?, 0)
    })?;
    // A server that takes its class from the SYN.
    mark(service, "")?;
    network.sysctl(SERVER, "net.ipv4.tcp_reflect_tos", "1")?;
    on_each_port(service, |to| {
        mark(service, "")?;
        let mut talk =
            service.open(Way::new(service.client(), to).with_traffic_class(u32::from(AF41) << 2))?;
        talk.answer()?;
        mark(service, "meta l4proto tcp ip dscp set ef\nmeta l4proto tcp ip6 dscp set ef")?;
        use_it(&mut *talk)?;
        all_in(to, &capture.segments()?, AF41)
    })
}

/// Requests came in another class, and all replies are in this one.
fn all_in(to: SocketAddr, segments: &[Segment], class: u8) -> Result<()> {
    let marked = segments.iter().filter(|segment| segment.destination == to && segment.dscp == EF);
    ensure!(marked.count() > REQUESTS as usize, "few requests came in their class");
    for reply in segments.iter().filter(|segment| segment.source == to && segment.payload_bytes > 0) {
        ensure!(reply.dscp == class, "a reply is not in class {class}: {reply:?}");
    }
    Ok(())
}
