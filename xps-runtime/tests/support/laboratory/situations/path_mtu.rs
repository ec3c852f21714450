//! A link on the way that is narrower than those of both ends (RFC 1191, RFC 8201), in [`Network::routed`].

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::super::capture::Capture;
use super::super::service::on_ports;
use super::super::until;
use super::super::{CLIENT, CLIENTS, Network, SERVER, SERVER_V4, Service, on_each_port};

/// The MTU of that link.
pub(crate) const NARROW: u32 = 1300;

/// A network with such a link.
pub(crate) fn narrow(number: u32) -> Result<Network> {
    Network::routed(number, NARROW)
}

/// Nobody knows of it at first.
pub(crate) fn found_out<S: Service>(service: &S, probing: bool) -> Result<()> {
    let network = service.network();
    network.sysctl(SERVER, "net.ipv4.tcp_mtu_probing", if probing { "1" } else { "0" })?;
    on_each_port(service, |to| {
        let mut talk = forgotten(service, to)?;
        talk.answer().context("an answer of nearly a segment, on an unknown path")?;
        let mut talk = forgotten(service, to)?;
        talk.pass()?;
        talk.receive_much().context("from the server, on an unknown path")?;
        talk.answer().context("an answer of nearly a segment, on a known path")?;
        talk.send_much().context("to the server")?;
        talk.answer()
    })
}

/// A connection, when neither side knows the path.
fn forgotten<S: Service>(service: &S, to: SocketAddr) -> Result<Box<dyn super::super::Talk>> {
    for host in [SERVER, CLIENT] {
        service.network().forget_paths(host)?;
    }
    service.connect_to(to)
}

/// The server's kernel has learnt of it before: nothing that is longer leaves it.
pub(crate) fn heeded<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    network.without_offload(SERVER, "veth0")?;
    network.without_offload("far", "server")?;
    let capture = Capture::start(network.place("far"), "server")?;
    on_each_port(service, |to| {
        forgotten(service, (to.ip(), service.ports()[0]).into())?.receive_much()?;
        until("the path's MTU", || Ok(is_known(network, to.ip())?.then_some(())))?;
        capture.segments()?;
        let mut talk = service.connect_to(to)?;
        talk.answer()?;
        talk.receive_much()?;
        talk.answer()?;
        let sent = capture.segments()?.into_iter().filter(|segment| segment.source == to);
        let longest = sent.map(|segment| segment.packet_bytes).max().context("no segment was seen")?;
        ensure!(longest <= NARROW as usize, "a packet of {longest} bytes left the server");
        Ok(())
    })
}

/// Whether the server's kernel knows how wide the path to the client is.
pub(crate) fn is_known(network: &Network, server: IpAddr) -> Result<bool> {
    let client = CLIENTS[usize::from(server.is_ipv6())];
    Ok(network.said(SERVER, &format!("ip route get {client}"))?.contains(&format!("mtu {NARROW}")))
}

/// No router says so either, and the server finds out by probing (RFC 4821).
pub(crate) fn black_hole<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    network.sysctl(SERVER, "net.ipv4.tcp_mtu_probing", "1")?;
    network.rules(
        "far",
        "table inet silent {\nchain output {\ntype filter hook output priority 0\n\
         icmp type destination-unreachable drop\nicmpv6 type packet-too-big drop\n}\n}",
    )?;
    on_each_port(service, |to| {
        let mut talk = forgotten(service, to)?;
        talk.answer().context("an answer of nearly a segment")?;
        talk.receive_much().context("from the server")?;
        talk.answer().context("an answer of nearly a segment, later")
    })
}

/// A client that does not ask for it: routers cut its packets.
pub(crate) fn fragments<S: Service>(service: &S) -> Result<()> {
    service.network().sysctl(CLIENT, "net.ipv4.ip_no_pmtu_disc", "1")?;
    on_ports(service, &[SERVER_V4], &service.ports(), |to| {
        let mut talk = forgotten(service, to)?;
        talk.answer()?;
        talk.send_much().context("in fragments")?;
        talk.answer()?;
        talk.pass()
    })
}
