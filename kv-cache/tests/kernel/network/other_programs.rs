//! Programs of somebody else's at tcx and in tc, before kv-cache's and behind them.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::redirects::{comes_back, reader, stays};
use super::{on_the_kernel_path, run};
use crate::support::laboratory::tcx::{Attached, Hook, Order, Says, attach};
use crate::support::laboratory::{Network, SERVERS};
use crate::support::{ACCELERATED, Lab, Options, PLAIN, Side, is_lost, until};

const ROUNDS: u32 = 3;

fn before_ours(lab: &Lab, hook: Hook) -> Result<Attached> {
    attach(lab.place(Side::Server), "veth0", hook, Order::First, Says::Pass)
}

/// Short connections that write, past kv-cache or not.
fn writes(lab: &Lab, to: SocketAddr) -> Result<()> {
    let mut reader = reader(lab)?;
    for round in 0..ROUNDS {
        reader.set("key", "before")?;
        comes_back(lab, &mut reader, "before")?;
        let value = format!("round {round}");
        lab.connect(Side::Client, to)?.set("key", &value)?;
        stays(&mut reader, &value).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// Checks each address and port, and tells of all that failed.
fn each(check: impl Fn(SocketAddr) -> Result<()>) -> Result<()> {
    let all = SERVERS.iter().flat_map(|ip| [PLAIN, ACCELERATED].map(|port| SocketAddr::new(*ip, port)));
    let failed: Vec<_> = all.filter_map(|to| Some(format!("{to}: {:?}", check(to).err()?))).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// Writes of others are seen, and there are hits.
fn works(lab: &Lab, to: SocketAddr) -> Result<()> {
    writes(lab, to)?;
    let mut client = lab.connect(Side::Client, (to.ip(), ACCELERATED).into())?;
    client.set("key", "value")?;
    lab.warm(&mut client, "key", "value")?;
    lab.expect_hits(50, || (0..50).try_for_each(|_| client.holds("key", "value")))
}

#[test]
fn those_that_leave_packets_to_ours_change_nothing() {
    on_the_kernel_path(Network::direct, |lab| {
        for (order, says) in [(Order::First, Says::Next), (Order::Last, Says::Pass)] {
            for hook in [Hook::Ingress, Hook::Egress] {
                let _other = attach(lab.place(Side::Server), "veth0", hook, order, says)?;
                each(|to| works(lab, to)).with_context(|| format!("{hook:?}, {order:?}"))?;
            }
        }
        Ok(())
    });
}

/// As where what comes is shaped: tc, which is behind tcx, sends all of it on to a device that gives it back.
#[test]
fn a_detour_over_another_device_behind_ours_changes_nothing() {
    on_the_kernel_path(Network::direct, |lab| {
        let server = lab.place(Side::Server);
        let run =
            |program: &str, line: &str| server.run_program(program, &line.split(' ').collect::<Vec<_>>());
        run("ip", "link add ifb0 type ifb")?;
        run("ip", "link set ifb0 up")?;
        run("tc", "qdisc add dev veth0 clsact")?;
        run(
            "tc",
            "filter add dev veth0 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev ifb0",
        )?;
        each(|to| works(lab, to))
    });
}

fn no_old_value_behind_one_that_ends_the_chain(hook: Hook) {
    on_the_kernel_path(Network::direct, |lab| {
        let other = before_ours(lab, hook)?;
        let written = each(|to| writes(lab, to));
        drop(other);
        written?;
        let mut client = lab.client(ACCELERATED)?;
        comes_back(lab, &mut client, &format!("round {}", ROUNDS - 1)).context("once it is gone")
    });
}

#[test]
fn behind_one_that_ends_the_chain_at_ingress_nobody_reads_an_old_value() {
    no_old_value_behind_one_that_ends_the_chain(Hook::Ingress);
}

#[test]
fn behind_one_that_ends_the_chain_at_egress_nobody_reads_an_old_value() {
    no_old_value_behind_one_that_ends_the_chain(Hook::Egress);
}

#[test]
fn while_packets_pass_unseen_the_status_tells_of_them() {
    on_the_kernel_path(Network::direct, |lab| {
        let _other = before_ours(lab, Hook::Ingress)?;
        let mut writer = lab.client(PLAIN)?;
        writer.set("key", "value")?;
        let address = writer.address()?.to_string();
        until("a status that tells of the connection", || {
            let coherence = lab.status()?.coherence;
            let tells = coherence.causes.iter().any(|cause| cause.contains(&address));
            Ok((tells && coherence.state != "strict").then_some(()))
        })
    });
}

/// It comes and goes while connections are open. They may end over it; other bytes than Redis's they never have.
#[test]
fn connections_that_such_a_program_meets_never_have_a_wrong_byte() {
    // What it cut off may stay open at the server.
    let settings = vec!["lease.drain_timeout=1s"];
    run(Options { settings, ..Options::default() }, |lab| {
        for (hook, ip) in
            [Hook::Ingress, Hook::Egress].into_iter().flat_map(|hook| SERVERS.map(|ip| (hook, ip)))
        {
            let to = SocketAddr::new(ip, ACCELERATED);
            let mut open = lab.connect(Side::Client, to)?;
            open.set("key", "value")?;
            lab.warm(&mut open, "key", "value")?;
            open.stream().set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
            let other = before_ours(lab, hook)?;
            let met = (0..3).try_for_each(|_| open.holds("key", "value"));
            drop(other);
            if let Err(error) = met {
                let silent = format!("{error:?}").contains("os error 11");
                ensure!(is_lost(&error) || silent, "{hook:?}, {to}: {error:?}");
            }
            drop(open);
            let mut fresh = lab.connect(Side::Client, to)?;
            comes_back(lab, &mut fresh, "value").with_context(|| format!("after {hook:?}, {to}"))?;
        }
        Ok(())
    });
}
