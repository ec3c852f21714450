//! The server's own device, or its route, is narrower than what clients can take, in [`Network::routed`].

use anyhow::{Context, Result, ensure};

use super::super::capture::Capture;
use super::super::{CLIENTS, Network, SERVER, SERVERS, Service, on_each_port};

/// What is narrow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Narrow {
    /// The device.
    Device(u32),
    /// The route to the client.
    Route(u32),
}

/// A network whose links are not narrow.
pub(crate) fn wide(number: u32) -> Result<Network> {
    Network::routed(number, 1500)
}

/// No packet is longer than that.
pub(crate) fn heeded<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    network.without_offload(SERVER, "veth0")?;
    network.without_offload("far", "server")?;
    let capture = Capture::start(network.place("far"), "server")?;
    for narrow in [Narrow::Device(1300), Narrow::Device(1400), Narrow::Route(1300), Narrow::Route(1400)] {
        let mtu = make(network, narrow)?;
        on_each_port(service, |to| {
            capture.segments()?;
            let mut talk = service.connect_to(to)?;
            (0..5).try_for_each(|_| talk.answer())?;
            talk.pass()?;
            talk.receive_much()?;
            (0..5).try_for_each(|_| talk.answer())?;
            let sent = capture.segments()?.into_iter().filter(|segment| segment.source == to);
            let longest = sent.map(|segment| segment.packet_bytes).max().context("no segment was seen")?;
            ensure!(longest <= mtu as usize, "a packet of {longest} bytes left the server");
            Ok(())
        })
        .with_context(|| format!("{narrow:?}"))?;
    }
    Ok(())
}

fn make(network: &Network, narrow: Narrow) -> Result<u32> {
    let (device, route) = match narrow {
        Narrow::Device(mtu) => (mtu, 0),
        Narrow::Route(mtu) => (1500, mtu),
    };
    network.ip(SERVER, &format!("link set veth0 mtu {device}"))?;
    for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
        let via = super::super::topology::transit_address(3, 1, client);
        let mtu = if route == 0 { String::new() } else { format!("mtu {route}") };
        network.ip(SERVER, &format!("route replace {client} via {via} src {server} {mtu}"))?;
    }
    Ok(if route == 0 { device } else { route })
}
