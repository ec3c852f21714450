//! VLAN tags (T8): a priority tag is the device's own, another one is not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::support::{
    ACCELERATED, Client, Lab, Namespace, Options, PLAIN, Place, Side, Tagger, Tags, connect_from, until,
};

const PRIORITY: u16 = 0xa000;
const OTHER: u16 = 5;

fn ip(place: &Place, line: &str) -> Result<()> {
    place.run_program("ip", &line.split(' ').collect::<Vec<_>>())
}

/// Checksums and segments as they go over a cable.
fn offload_nothing(place: &Place, device: &str) -> Result<()> {
    let mut off = vec!["-K", device];
    off.extend(["tx", "off", "rx", "off", "gso", "off", "tso", "off", "gro", "off"]);
    place.run_program("ethtool", &off)
}

/// Whether a client that asks `port` has an answer.
fn answers(far: &Place, to: IpAddr, port: u16) -> Result<bool> {
    far.run(|| {
        let socket = Socket::new(Domain::for_address((to, port).into()), Type::STREAM, None)?;
        let connected =
            socket.connect_timeout(&SocketAddr::from((to, port)).into(), Duration::from_millis(700));
        Ok(connected.is_ok())
    })
}

fn served(lab: &Lab, far: &Place, to: IpAddr, witness: &mut Client) -> Result<()> {
    let mut plain = connect_from(far, (to, PLAIN).into())?;
    let mut fast = connect_from(far, (to, ACCELERATED).into())?;
    plain.set("key", "value")?;
    lab.warm(&mut fast, "key", "value")?;
    lab.expect_hits(20, || (0..20).try_for_each(|_| fast.holds("key", "value")))?;
    for i in 0..6 {
        let writer = if i % 2 == 0 { &mut plain } else { &mut fast };
        writer.set("key", format!("{i}"))?;
        witness.holds("key", format!("{i}"))?;
        lab.warm(witness, "key", format!("{i}"))?;
    }
    let large = "L".repeat(50_000);
    fast.set("large", &large)?;
    plain.holds("large", &large)?;
    drop((plain, fast));
    // The ends, too, need a cable.
    until("the end of the connections", || {
        let flows = lab.status()?.flows;
        Ok((flows.accelerated == 1).then_some(()))
    })
}

#[test]
fn priority_tags_are_no_other_device() {
    Lab::run(Options::default(), |lab| {
        let server = lab.place(Side::Server);
        let (wire, far) = (Namespace::create("tags-wire")?, Namespace::create("tags-far")?);
        ip(server, &format!("link add tag0 type veth peer name near netns {}", wire.name()))?;
        ip(far.place(), &format!("link add tag0 type veth peer name far netns {}", wire.name()))?;
        for (place, last) in [(server, 1), (far.place(), 2)] {
            ip(place, &format!("address add 10.84.0.{last}/24 dev tag0"))?;
            ip(place, &format!("address add fd00:84::{last}/64 dev tag0 nodad"))?;
            ip(place, "link set tag0 up")?;
            offload_nothing(place, "tag0")?;
        }
        // Tags make frames longer.
        ip(far.place(), "link set tag0 mtu 1400")?;
        for device in ["near", "far"] {
            ip(wire.place(), &format!("link set {device} up"))?;
            offload_nothing(wire.place(), device)?;
        }
        let mut witness = lab.client(ACCELERATED)?;
        until("hooks", || {
            let interfaces = lab.status()?.interfaces;
            Ok(interfaces.iter().any(|one| one.name == "tag0" && one.path == "kernel").then_some(()))
        })?;
        let own: [Tags; 4] =
            [&[], &[PRIORITY], &[PRIORITY, PRIORITY], &[PRIORITY, PRIORITY, PRIORITY, PRIORITY]];
        let others: [Tags; 3] = [&[OTHER], &[PRIORITY, OTHER], &[OTHER, PRIORITY]];
        for to in ["10.84.0.1", "fd00:84::1"] {
            let to: IpAddr = to.parse()?;
            for tags in own {
                let _cable = Tagger::start(wire.place(), "far", "near", tags)?;
                served(lab, far.place(), to, &mut witness)
                    .with_context(|| format!("{to}, tags {tags:x?}"))?;
            }
            for tags in others {
                let _cable = Tagger::start(wire.place(), "far", "near", tags)?;
                let opened = lab.counted("flow_opened")?;
                for port in [PLAIN, ACCELERATED] {
                    ensure!(!answers(far.place(), to, port)?, "{to}:{port} answers to tags {tags:x?}");
                }
                ensure!(lab.counted("flow_opened")? == opened);
            }
            // More than anybody sends: dropped, whoever they are for.
            let tags: Tags = &[PRIORITY; 6];
            let _cable = Tagger::start(wire.place(), "far", "near", tags)?;
            ensure!(!answers(far.place(), to, ACCELERATED)? && lab.counted("tags")? > 0);
        }
        ensure!(lab.status()?.coherence.state == "strict");
        Ok(())
    });
}
