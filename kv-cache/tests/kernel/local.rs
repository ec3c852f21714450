//! Only this host's traffic (T4): what is forwarded, bridged or another device's is as it is without kv-cache.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

use crate::support::{
    ACCELERATED, CLIENT_V4, Client, Lab, Namespace, Options, PLAIN, Place, SERVER_V4, SERVER_V6, Server,
    Side, connect_from, shown, until,
};

/// Both ports of ours; others use them, too.
const PORTS: [u16; 2] = [PLAIN, ACCELERATED];

fn ip(place: &Place, line: &str) -> Result<()> {
    place.run_program("ip", &line.split(' ').collect::<Vec<_>>())
}

/// A link between two places: `here` and `there` are device and addresses.
fn link(
    (place, device, addresses): (&Place, &str, &[&str]),
    (other, peer, others): (&Namespace, &str, &[&str]),
) -> Result<()> {
    ip(place, &format!("link add {device} type veth peer name {peer} netns {}", other.name()))?;
    for (place, device, addresses) in [(place, device, addresses), (other.place(), peer, others)] {
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            ip(place, &format!("address add {address} dev {device}{nodad}"))?;
        }
        ip(place, &format!("link set {device} up"))?;
    }
    Ok(())
}

fn set(place: &Place, names: &[&str], value: &str) -> Result<()> {
    place.run(|| {
        names.iter().try_for_each(|name| {
            fs::write(format!("/proc/sys/net/{name}"), value).with_context(|| (*name).to_owned())
        })
    })
}

fn forward(place: &Place) -> Result<()> {
    set(place, &["ipv4/ip_forward", "ipv6/conf/all/forwarding"], "1")
}

/// A Redis on each of both ports; they say whose they are.
fn servers(place: &Place, whose: &str) -> Result<Vec<Server>> {
    PORTS.iter().map(|port| Server::start(place, *port, &format!("{whose} {port}"))).collect()
}

/// What kv-cache has done with connections: nothing of it may come of others' packets.
fn done(lab: &Lab) -> Result<[u64; 4]> {
    let status = lab.status()?;
    let of = |reason: &str| status.passes[reason];
    Ok([status.hits_total, of("flow_opened"), of("foreign"), status.flows.relayed_total])
}

/// Connections from a place to others' servers at an address are theirs, whatever they ask for.
fn others(lab: &Lab, from: &Place, to: IpAddr, whose: &str) -> Result<()> {
    let before = done(lab)?;
    for port in PORTS {
        let name = format!("{whose} {port}");
        let mut client = connect_from(from, (to, port).into())?;
        (0..3).try_for_each(|_| client.holds("whose", &name))?;
        client.set("key", &name)?;
        let large = "L".repeat(200_000);
        client.set("large", &large)?;
        client.holds("large", &large)?;
        client.holds("key", &name)?;
    }
    let after = done(lab)?;
    ensure!(after == before, "{whose}'s packets at {to} were looked at: {before:?}, then {after:?}");
    Ok(())
}

/// At an address of this host there are hits, and what is written there is seen at once by `witness`.
fn own(lab: &Lab, from: &Place, to: IpAddr, witness: &mut Client) -> Result<()> {
    let mut fast = connect_from(from, (to, ACCELERATED).into())?;
    let mut plain = connect_from(from, (to, PLAIN).into())?;
    plain.set("key", "value")?;
    lab.warm(&mut fast, "key", "value").with_context(|| format!("at {to}"))?;
    lab.expect_hits(20, || (0..20).try_for_each(|_| fast.holds("key", "value")))?;
    for i in 0..6 {
        let writer = if i % 2 == 0 { &mut plain } else { &mut fast };
        writer.set("key", format!("{to} {i}"))?;
        witness.holds("key", format!("{to} {i}"))?;
        fast.holds("key", format!("{to} {i}"))?;
        lab.warm(witness, "key", format!("{to} {i}"))?;
    }
    Ok(())
}

/// Waits until no address is still being asked about (RFC 4862 §5.4), and kv-cache knows all of them. How many these are.
fn settled(lab: &Lab) -> Result<u64> {
    let show = ["-6", "address", "show", "tentative"];
    until("the end of duplicate address detection", || {
        let output = lab.place(Side::Server).command("ip").args(show).output()?;
        Ok(output.stdout.is_empty().then_some(()))
    })?;
    // Longer than the agent takes to hear of the last one.
    std::thread::sleep(std::time::Duration::from_millis(500));
    Ok(lab.status()?.addresses.known)
}

fn strict(lab: &Lab) -> Result<()> {
    let coherence = lab.status()?.coherence;
    ensure!(coherence.state == "strict", "{coherence:?}");
    Ok(())
}

/// The cause why an interface is not hooked; empty if it is.
fn cause(lab: &Lab, name: &str) -> Result<String> {
    until(&format!("word of {name}"), || {
        Ok(lab.status()?.interfaces.into_iter().find(|found| found.name == name).map(|found| found.cause))
    })
}

#[test]
fn a_host_that_forwards_leaves_others_alone() {
    Lab::run(Options::default(), |lab| {
        let (router, client) = (lab.place(Side::Server), lab.place(Side::Client));
        let other = Namespace::create("forward-other")?;
        link(
            (router, "lan0", &["10.79.0.1/24", "fd00:79::1/64"]),
            (&other, "veth0", &["10.79.0.5/24", "fd00:79::5/64"]),
        )?;
        forward(router)?;
        for (place, v4, v6) in
            [(client, "10.78.0.1", "fd00:78::1"), (other.place(), "10.79.0.1", "fd00:79::1")]
        {
            ip(place, &format!("route add default via {v4}"))?;
            ip(place, &format!("-6 route add default via {v6}"))?;
        }
        let _servers = (servers(other.place(), "other")?, servers(client, "client")?);
        let mut witness = lab.client(ACCELERATED)?;
        lab.client(PLAIN)?.set("key", "router's own")?;
        lab.warm(&mut witness, "key", "router's own")?;
        until("the new interface's hooks", || Ok(cause(lab, "lan0")?.is_empty().then_some(())))?;
        for address in ["10.79.0.5", "fd00:79::5"] {
            others(lab, client, address.parse()?, "other")?;
        }
        for address in ["10.78.0.2", "fd00:78::2"] {
            others(lab, other.place(), address.parse()?, "client")?;
        }
        // And nothing of it has stopped hits, or is in the cache.
        lab.warm(&mut witness, "key", "router's own")?;
        lab.expect_hits(20, || (0..20).try_for_each(|_| witness.holds("key", "router's own")))?;
        // From the network behind it this host's own addresses are served, also the one of its other side.
        for address in ["10.79.0.1", "fd00:79::1", "10.78.0.1"] {
            own(lab, other.place(), address.parse()?, &mut witness)?;
        }
        strict(lab)
    });
}

#[test]
fn children_of_an_interface_are_devices_of_their_own() {
    Lab::run(Options::default(), |lab| {
        let (server, client) = (lab.place(Side::Server), lab.place(Side::Client));
        let (near, other) = (Namespace::create("child-near")?, Namespace::create("child-other")?);
        link((server, "low0", &["10.80.0.1/24"]), (&near, "veth0", &["10.80.0.2/24"]))?;
        // Two addresses in a network: each device answers for its own.
        set(server, &["ipv4/conf/all/arp_ignore"], "1")?;
        set(server, &["ipv4/conf/all/arp_announce"], "2")?;
        set(server, &["ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"], "0")?;
        ip(server, "link add link low0 name child0 type macvlan mode bridge")?;
        ip(server, "address add 10.80.0.11/24 dev child0")?;
        ip(server, "link set child0 up")?;
        ip(
            server,
            &format!("link add link low0 name child1 netns {} type macvlan mode bridge", other.name()),
        )?;
        ip(other.place(), "address add 10.80.0.12/24 dev child1")?;
        ip(other.place(), "link set child1 up")?;
        let _servers = servers(other.place(), "container")?;
        let mut witness = connect_from(client, (SERVER_V4, ACCELERATED).into())?;
        for name in ["low0", "child0"] {
            until("hooks", || Ok(cause(lab, name)?.is_empty().then_some(())))?;
        }
        for address in ["10.80.0.1", "10.80.0.11"] {
            own(lab, near.place(), address.parse()?, &mut witness)?;
        }
        others(lab, near.place(), "10.80.0.12".parse()?, "container")?;
        // Out by the child and the device below it: two hooks at egress.
        ip(server, "route del 10.80.0.0/24 dev low0")?;
        for address in ["10.80.0.1", "10.80.0.11"] {
            own(lab, near.place(), address.parse()?, &mut witness)?;
        }
        // From one child to the other, which passes the device below on the way in only.
        own(lab, other.place(), "10.80.0.11".parse()?, &mut witness)?;
        strict(lab)
    });
}

#[test]
fn what_a_bridge_carries_is_seen_at_the_bridge_if_it_is_for_this_host() {
    Lab::run(Options::default(), |lab| {
        let server = lab.place(Side::Server);
        let (near, other) = (Namespace::create("bridge-near")?, Namespace::create("bridge-other")?);
        ip(server, "link add br0 type bridge")?;
        ip(server, "address add 10.81.0.1/24 dev br0")?;
        ip(server, "link set br0 up")?;
        link((server, "port0", &[]), (&near, "veth0", &["10.81.0.2/24"]))?;
        link((server, "port1", &[]), (&other, "veth0", &["10.81.0.3/24"]))?;
        for port in ["port0", "port1"] {
            ip(server, &format!("link set {port} master br0"))?;
        }
        let _servers = servers(other.place(), "bridged")?;
        for port in ["port0", "port1"] {
            until("its master", || Ok(cause(lab, port)?.starts_with("it belongs to br0").then_some(())))?;
        }
        ensure!(cause(lab, "br0")?.is_empty());
        let mut witness = lab.client(ACCELERATED)?;
        own(lab, near.place(), "10.81.0.1".parse()?, &mut witness)?;
        own(lab, other.place(), "10.81.0.1".parse()?, &mut witness)?;
        others(lab, near.place(), "10.81.0.3".parse()?, "bridged")?;
        // Where the bridge gives all that it carries to its own device, too.
        ip(server, "link set br0 promisc on")?;
        others(lab, near.place(), "10.81.0.3".parse()?, "bridged")?;
        own(lab, near.place(), "10.81.0.1".parse()?, &mut witness)?;
        // A port that leaves the bridge is hooked.
        ip(server, "link set port1 nomaster")?;
        until("hooks", || Ok(cause(lab, "port1")?.is_empty().then_some(())))?;
        strict(lab)
    });
}

#[test]
fn addresses_come_and_go() {
    Lab::run(Options::default(), |lab| {
        let (server, client) = (lab.place(Side::Server), lab.place(Side::Client));
        let mut witness = lab.client(ACCELERATED)?;
        let known = |lab: &Lab| -> Result<u64> { Ok(lab.status()?.addresses.known) };
        let first = settled(lab)?;
        // An address of an interface, one of one that is down, and a route alone, as load balancers' addresses are.
        ip(server, "link add down0 type veth peer name down1")?;
        let ways = ["address", "address", "route"];
        let add = ["add 10.82.0.1/32 dev lo", "add 10.82.0.2/32 dev down0", "add local 10.82.0.3/32 dev lo"];
        for (number, (what, way)) in ways.into_iter().zip(add).enumerate() {
            let address = Ipv4Addr::new(10, 82, 0, number as u8 + 1);
            ip(client, &format!("route add {address} via {SERVER_V4}"))?;
            for _ in 0..2 {
                ip(server, &format!("{what} {way}"))?;
                until("the address", || Ok((known(lab)? == first + 1).then_some(())))?;
                own(lab, client, address.into(), &mut witness)?;
                ip(server, &format!("{what} {}", way.replacen("add", "delete", 1)))?;
                until("its end", || Ok((known(lab)? == first).then_some(())))?;
                ensure!(lab.connect(Side::Client, (address, PLAIN).into()).is_err(), "it is nobody's");
            }
        }
        // An interface takes its address with it.
        ip(server, "address add 10.82.0.2/32 dev down0")?;
        until("the address", || Ok((known(lab)? == first + 1).then_some(())))?;
        own(lab, client, "10.82.0.2".parse()?, &mut witness)?;
        ip(server, "link delete down0")?;
        until("its end", || Ok((known(lab)? == first).then_some(())))?;
        strict(lab)
    });
}

#[test]
fn a_local_network_is_not_seen_and_that_is_said() {
    Lab::run(Options::default(), |lab| {
        let server = lab.place(Side::Server);
        let mut fast = lab.client(ACCELERATED)?;
        lab.client(PLAIN)?.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        ip(server, "route add local 10.83.0.0/24 dev lo")?;
        until("the cause", || {
            let causes = lab.status()?.coherence.causes;
            Ok(causes.iter().any(|cause| cause.starts_with("address_not_seen")).then_some(()))
        })?;
        ensure!(lab.status()?.coherence.state == "off", "hits though writes may come unseen");
        ensure!(lab.status()?.to_string().contains("local_network: all of 10.83.0.0/24 is local"));
        let metric = "xps_local_addresses_unseen{cause=\"local_network\"} 1";
        ensure!(
            lab.metrics()?.contains(metric) && lab.sidecar_words()?.contains("all of 10.83.0.0/24 is local")
        );
        // A client of such an address, and of the plain port, is Redis's.
        let client = lab.place(Side::Client);
        ip(client, &format!("route add 10.83.0.0/24 via {SERVER_V4}"))?;
        let mut unseen = connect_from(client, SocketAddr::from(([10, 83, 0, 7], PLAIN)))?;
        unseen.set("key", "other")?;
        fast.holds("key", "other")?;
        // While it is open it may write unseen, whatever the routes are.
        let from = unseen.address()?.to_string();
        drop(unseen);
        let mut plain = lab.client(PLAIN)?;
        until("its end", || Ok((!shown(&plain.command("CLIENT LIST")?).contains(&from)).then_some(())))?;
        ip(server, "route delete local 10.83.0.0/24 dev lo")?;
        until("strict coherence", || Ok((lab.status()?.coherence.state == "strict").then_some(())))?;
        lab.warm(&mut fast, "key", "other")
    });
}

#[test]
fn more_addresses_than_there_is_room_for_are_said() {
    Lab::run(Options::default(), |lab| {
        let server = lab.place(Side::Server);
        let known = settled(lab)?;
        let all = xps_core::abi::LOCALS_MAX as usize;
        let address = |n: usize| format!("10.{}.{}.{}/32", 90 + (n >> 16), n >> 8 & 255, n & 255);
        let batch = |what: &str| -> Result<()> {
            let lines: String = (0..all).map(|n| format!("address {what} {} dev lo\n", address(n))).collect();
            let file = lab.folder().join("batch");
            fs::write(&file, lines)?;
            server.run_program("ip", &["-batch", file.to_str().context("a path")?])
        };
        batch("add")?;
        until("the cause", || {
            let status = lab.status()?;
            let full = format!("addresses_full: this host has {known} addresses more than the {all}");
            let told = status.addresses.unseen.iter().any(|one| one.starts_with(&full));
            Ok((told && status.coherence.state == "off").then_some(()))
        })?;
        batch("delete")?;
        until("strict coherence", || {
            let status = lab.status()?;
            Ok((status.coherence.state == "strict" && status.addresses.known == known).then_some(()))
        })
    });
}

#[test]
fn only_named_addresses_are_accelerated() {
    let file = "[server]\naddresses = [\"10.78.0.1\"]\n";
    Lab::run(Options { file, ..Options::default() }, |lab| {
        let client = lab.place(Side::Client).clone();
        let mut witness = lab.client(ACCELERATED)?;
        own(lab, &client, SERVER_V4, &mut witness)?;
        let excluded = |lab: &Lab, from: Side, to: IpAddr, key: &str, witness: &mut Client| -> Result<()> {
            let (relayed, counted) = (lab.status()?.flows.relayed_total, lab.counted("address_excluded")?);
            let mut fast = lab.connect(from, (to, ACCELERATED).into())?;
            let mut plain = lab.connect(from, (to, PLAIN).into())?;
            for i in 0..10 {
                // Writes are seen at each address.
                let writer = if i % 2 == 0 { &mut plain } else { &mut fast };
                writer.set(key, format!("{i}"))?;
                witness.holds(key, format!("{i}"))?;
                lab.warm(witness, key, format!("{i}"))?;
            }
            lab.expect_hits(0, || (0..10).try_for_each(|_| fast.holds(key, "9")))?;
            ensure!(lab.status()?.flows.relayed_total == relayed + 1, "{to} is not relayed");
            ensure!(lab.counted("address_excluded")? > counted, "no counter tells why");
            Ok(())
        };
        excluded(lab, Side::Client, SERVER_V6, "six", &mut witness)?;
        excluded(lab, Side::Server, Ipv4Addr::LOCALHOST.into(), "loopback", &mut witness)?;
        // While it runs: a connection that was taken goes on.
        lab.write_file("[server]\naddresses = [\"fd00:78::1\"]\n")?;
        ensure!(lab.act("reload")?.contains("server.addresses"));
        own(lab, &client, SERVER_V6, &mut witness)?;
        excluded(lab, Side::Client, SERVER_V4, "four", &mut witness)?;
        lab.write_file("")?;
        lab.act("reload")?;
        for address in [SERVER_V4, SERVER_V6] {
            own(lab, &client, address, &mut witness)?;
        }
        ensure!(lab.client(PLAIN)?.address()?.ip() == CLIENT_V4);
        strict(lab)
    });
}
