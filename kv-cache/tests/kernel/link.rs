//! Links that lose and repeat packets, and checksums that nobody computes for us.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::Load;
use crate::support::laboratory::Network;
use crate::support::{
    ACCELERATED, CLIENT_V4, Lab, Options, PLAIN, Place, SERVER_V4, SERVER_V6, Side, hurry, lose, rules,
};

/// Time under load for each kind of trouble.
const SPELL: Duration = Duration::from_millis(1500);

fn work(lab: &Lab, load: &Load, what: &str) -> Result<()> {
    let before = lab.hits()?;
    let done = load.run_for(SPELL).context(what.to_owned())?;
    let hits = lab.hits()? - before;
    println!("{what}: {done} exchanges, {hits} hits");
    ensure!(hits > 20, "{what}: {hits} hits show nothing");
    Ok(())
}

/// Ends the load; what its clients met is the error that counts.
fn end(load: Load, result: Result<()>) -> Result<()> {
    load.stop()?;
    result
}

#[test]
fn lost_packets_change_no_byte() {
    Lab::run(Options::default(), |lab| {
        hurry(lab)?;
        let load = Load::start(lab, 6)?;
        let troubles = || {
            work(lab, &load, "no loss")?;
            for side in [Side::Client, Side::Server] {
                for hook in ["input", "output"] {
                    lose(lab.place(side), hook, 30)?;
                    let worked = work(lab, &load, &format!("loss in {side:?}'s {hook}"));
                    rules(lab.place(side), "")?;
                    worked?;
                }
            }
            lose(lab.place(Side::Client), "input", 10)?;
            lose(lab.place(Side::Server), "input", 10)?;
            work(lab, &load, "heavy loss on both sides")?;
            rules(lab.place(Side::Client), "")?;
            rules(lab.place(Side::Server), "")?;
            work(lab, &load, "no loss any more")
        };
        let result = troubles();
        end(load, result)?;
        // All of it was of TCP's making, not resets.
        ensure!(lab.counted("resent")? > 0, "no request that was answered came again");
        Ok(())
    });
}

#[test]
fn repeated_packets_change_no_byte() {
    Lab::run(Options { network: Network::bridged, ..Options::default() }, |lab| {
        hurry(lab)?;
        let load = Load::start(lab, 6)?;
        let troubles = || {
            work(lab, &load, "clean wire")?;
            let repeat = |from: &str, to: &str, also: &str| {
                format!(
                    "table netdev twice_{from} {{\nchain twice {{\ntype filter hook ingress device \"{from}\" priority 0;\n\
                     meta l4proto tcp numgen random mod 3 == 0 dup to \"{to}\"\n{also}\n}}\n}}\n"
                )
            };
            let wire = lab.network().place("wire");
            rules(wire, &repeat("client", "server", ""))?;
            work(lab, &load, "the client's packets twice")?;
            rules(wire, &repeat("server", "client", ""))?;
            work(lab, &load, "the server's packets twice")?;
            let lossy = "meta l4proto tcp numgen random mod 40 == 0 drop";
            rules(wire, &(repeat("client", "server", lossy) + &repeat("server", "client", lossy)))?;
            work(lab, &load, "packets twice, or not at all")?;
            rules(wire, "")
        };
        let result = troubles();
        end(load, result)
    });
}

/// Segments that TCP found broken, in this place.
fn broken(place: &Place) -> Result<u64> {
    let text = place.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "InCsumErrors").context("no InCsumErrors")?;
    Ok(value.parse()?)
}

#[test]
fn checksums_are_right_also_without_offload() {
    Lab::run(Options::default(), |lab| {
        for side in [Side::Server, Side::Client] {
            let mut off = vec!["-K", "veth0"];
            off.extend(["tx", "off", "rx", "off", "gso", "off", "tso", "off", "gro", "off"]);
            lab.place(side).run_program("ethtool", &off)?;
        }
        for server in [SERVER_V4, SERVER_V6] {
            let before = lab.hits()?;
            let clients = (0..4).map(|_| lab.connect(Side::Client, (server, ACCELERATED).into()));
            let load = Load::of(lab, clients.collect::<Result<_>>()?)?;
            let result = load.run_for(SPELL);
            load.stop()?;
            result?;
            ensure!(lab.hits()? - before > 100, "too few hits to show anything");
        }
        for side in [Side::Server, Side::Client] {
            assert_eq!(broken(lab.place(side))?, 0, "segments with a wrong checksum reached {side:?}");
        }
        // Loopback has no offload to switch off; the client's address is not used there.
        ensure!(lab.client(PLAIN)?.address()?.ip() == CLIENT_V4);
        Ok(())
    });
}
