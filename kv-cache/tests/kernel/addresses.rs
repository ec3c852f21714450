//! IPv4 and IPv6, veth and loopback, and clients that use one port for both of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::load::Load;
use crate::support::{
    ACCELERATED, CLIENT_V4, CLIENT_V6, Client, Lab, Options, PATIENCE, PLAIN, Place, SERVER_V4, SERVER_V6,
    Side, shown, until,
};

#[test]
fn every_way_to_the_server_has_hits() {
    Lab::run(Options::default(), |lab| {
        let ways: [(Side, IpAddr); 6] = [
            (Side::Client, SERVER_V4),
            (Side::Client, SERVER_V6),
            (Side::Server, Ipv4Addr::LOCALHOST.into()),
            (Side::Server, Ipv6Addr::LOCALHOST.into()),
            (Side::Server, SERVER_V4),
            (Side::Server, SERVER_V6),
        ];
        for (from, ip) in ways {
            let mut fast = lab.connect(from, (ip, ACCELERATED).into())?;
            let mut plain = lab.connect(from, (ip, PLAIN).into())?;
            let key = format!("{from:?}:{ip}");
            for size in [1, 64, 1000, 1380, 1400] {
                let value = "v".repeat(size);
                plain.set(&key, &value)?;
                lab.warm(&mut fast, &key, &value)?;
                lab.expect_hits(20, || (0..20).try_for_each(|_| fast.holds(&key, &value)))?;
                fast.set(&key, "other")?;
                plain.holds(&key, "other")?;
            }
            let large = "L".repeat(200_000);
            fast.set(&key, &large)?;
            fast.holds(&key, &large)?;
            plain.set(&key, "first")?;
            lab.warm(&mut fast, &key, "first")?;
            lab.expect_hits(5, || {
                (0..5).try_for_each(|_| lab.connect(from, (ip, ACCELERATED).into())?.holds(&key, "first"))
            })?;
            let before = lab.hits()?;
            let clients = (0..3).map(|_| lab.connect(from, (ip, ACCELERATED).into()));
            let load = Load::of(lab, clients.collect::<Result<_>>()?)?;
            let result = load.run_for(Duration::from_millis(400));
            load.stop()?;
            result?;
            ensure!(lab.hits()? - before > 50, "{key}: few hits under load");
        }
        ensure!(lab.status()?.flows.relayed_total == 0, "a connection was relayed");
        Ok(())
    });
}

/// With loopback's segment size TCP sends more at once, now and then, than the length field of an IP header can tell.
#[test]
fn megabytes_arrive_over_loopback() {
    Lab::run(Options::default(), |lab| {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let connect = |port| lab.connect(Side::Server, (ip, port).into());
            let (mut writer, mut reader) = (connect(ACCELERATED)?, connect(ACCELERATED)?);
            let mut plain = connect(PLAIN)?;
            for byte in ["a", "b", "c", "d", "e"] {
                let value = byte.repeat(4_000_000);
                writer.set("megabytes", &value)?;
                for client in [&mut reader, &mut plain, &mut writer] {
                    client.holds("megabytes", &value)?;
                }
            }
        }
        ensure!(lab.status()?.flows.relayed_total == 0, "a connection was relayed");
        Ok(())
    });
}

#[test]
fn an_interface_that_appears_later_is_hooked() {
    Lab::run(Options::default(), |lab| {
        let (server, client) = (lab.place(Side::Server), lab.place(Side::Client));
        let ip = |place: &Place, line: &str| place.run_program("ip", &line.split(' ').collect::<Vec<_>>());
        let mut old = lab.client(ACCELERATED)?;
        old.set("key", "value")?;
        lab.warm(&mut old, "key", "value")?;
        let hooked = |lab: &Lab, name: &str| -> Result<bool> {
            let status = lab.status()?;
            Ok(status.interfaces.iter().any(|found| found.name == name && found.path == "kernel"))
        };
        for round in 0..3 {
            let address = Ipv4Addr::new(10, 79, round, 1);
            ip(
                server,
                &format!("link add late0 type veth peer name late0 netns {}", lab.client_namespace()),
            )?;
            ip(server, &format!("address add {address}/30 dev late0"))?;
            ip(client, &format!("address add 10.79.{round}.2/30 dev late0"))?;
            ip(server, "link set late0 up")?;
            ip(client, "link set late0 up")?;
            until("the new interface's hooks", || Ok(hooked(lab, "late0")?.then_some(())))?;
            let mut fast = lab.connect(Side::Client, (address, ACCELERATED).into())?;
            let mut plain = lab.connect(Side::Client, (address, PLAIN).into())?;
            lab.warm(&mut fast, "key", "value")?;
            for i in 0..20 {
                // A write over the new interface is seen on the old one.
                plain.set("key", format!("{round} {i}"))?;
                old.holds("key", format!("{round} {i}"))?;
            }
            plain.set("key", "value")?;
            lab.warm(&mut fast, "key", "value")?;
            drop((fast, plain));
            until("only the old connection", || Ok((lab.status()?.flows.accelerated == 1).then_some(())))?;
            ip(server, "link delete late0")?;
            until("the end of its hooks", || Ok((!hooked(lab, "late0")?).then_some(())))?;
            lab.warm(&mut old, "key", "value")?;
        }
        ensure!(lab.status()?.flows.relayed_total == 0, "a connection was relayed");
        Ok(())
    });
}

fn connect_from_port(place: &Place, from: SocketAddr, to: SocketAddr, limit: Duration) -> Result<Client> {
    let stream: TcpStream = place.run(|| {
        let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), limit)?;
        Ok(socket.into())
    })?;
    Client::of(stream)
}

#[test]
fn one_client_port_may_go_to_both_ports() {
    Lab::run(Options::default(), |lab| {
        lab.client(PLAIN)?.set("key", "value")?;
        let mut other = lab.client(ACCELERATED)?;
        lab.warm(&mut other, "key", "value")?;
        let place = lab.place(Side::Client);
        for (client, server, port) in [(CLIENT_V4, SERVER_V4, 41_000), (CLIENT_V6, SERVER_V6, 42_000)] {
            let from = SocketAddr::new(client, port);
            let mut plain = connect_from_port(place, from, (server, PLAIN).into(), PATIENCE)?;
            plain.holds("key", "value")?;
            let relayed = lab.status()?.flows.relayed_total;
            let mut fast = connect_from_port(place, from, (server, ACCELERATED).into(), PATIENCE)?;
            for i in 0..50 {
                fast.set("both", format!("fast {i}"))?;
                plain.holds("both", format!("fast {i}"))?;
                plain.set("both", format!("plain {i}"))?;
                fast.holds("both", format!("plain {i}"))?;
            }
            lab.warm(&mut fast, "key", "value")?;
            lab.expect_hits(50, || (0..50).try_for_each(|_| fast.holds("key", "value")))?;
            ensure!(lab.status()?.flows.relayed_total == relayed, "one of them was relayed");
        }
        Ok(())
    });
}

/// The server closed first, so its socket is in TIME_WAIT for a minute; the client's port is free at once. What the client
/// answers to that socket must reach it. Kernels whose timestamps begin elsewhere for each port refuse half of the new ones.
#[test]
fn a_client_port_that_the_server_remembers_may_be_used_again() {
    const SOON: Duration = Duration::from_millis(900);
    Lab::run(Options::default(), |lab| {
        let place = lab.place(Side::Client).clone();
        let again = |from| connect_from_port(&place, from, (SERVER_V4, ACCELERATED).into(), SOON);
        for (nth, port) in (43_000..43_016).enumerate() {
            let from = SocketAddr::new(CLIENT_V4, port);
            let first = if nth % 2 == 0 { PLAIN } else { ACCELERATED };
            let mut old = connect_from_port(&place, from, (SERVER_V4, first).into(), PATIENCE)?;
            old.set("key", "value")?;
            lab.client(PLAIN)?.check(&format!("CLIENT KILL ADDR {from}"), ":1\r\n")?;
            old.expect_end()?;
            drop(old);
            let mut new = again(from).with_context(|| format!("from {from} after port {first}"))?;
            new.holds("key", "value")?;
            lab.warm(&mut new, "key", "value")?;
        }
        // While nobody listens, nobody takes the place of the old connection either.
        let from = SocketAddr::new(CLIENT_V4, 44_000);
        let mut old = again(from)?;
        old.check("PING", "+PONG\r\n")?;
        lab.kill_redis()?;
        old.expect_end()?;
        drop(old);
        // The relay takes it, finds nobody and resets it, perhaps before it is asked anything.
        let is_reset = |error: &anyhow::Error| {
            let cause = error.root_cause().downcast_ref::<std::io::Error>();
            cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionReset)
        };
        match again(from) {
            Ok(mut relayed) => {
                let answer = relayed.ask("PING").and_then(|()| relayed.everything()).unwrap_or_default();
                ensure!(answer.is_empty(), "an answer of nobody: {}", shown(&answer));
            }
            Err(error) => ensure!(is_reset(&error), "while there is no server: {error:#}"),
        }
        lab.start_redis()
    });
}
