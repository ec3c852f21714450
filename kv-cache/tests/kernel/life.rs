//! The sidecar is killed, comes back, stops in order, and runs out of room, with clients at work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::Load;
use crate::support::{ACCELERATED, Lab, Options, PLAIN, until};

#[test]
fn connections_survive_a_killed_sidecar_and_its_successor() {
    let settings = vec!["lease.duration=500ms"];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let load = Load::start(lab, 6)?;
        let mut idle = lab.client(ACCELERATED)?;
        idle.set("idle", "value")?;
        let result = (0..3).try_for_each(|round| {
            load.run_for(Duration::from_millis(1500))?;
            lab.warm(&mut idle, "idle", "value")?;
            ensure!(lab.hits()? > 0, "no hits before the kill");
            lab.kill_sidecar()?;
            load.run_for(Duration::from_millis(900)).context("after the kill")?;
            idle.holds("idle", "value")?;
            // A new connection while nobody is there, by the programs that stay.
            lab.client(ACCELERATED)?.holds("idle", "value").context("a new connection without a sidecar")?;
            lab.client(PLAIN)?.holds("idle", "value")?;
            lab.start_sidecar().with_context(|| format!("start after kill {round}"))?;
            load.run_for(Duration::from_millis(200)).context("after the start")?;
            let tables = lab.pinned("STAGES-")?;
            ensure!(tables.len() == 1, "tables of programs after start {round}: {tables:?}");
            lab.warm(&mut idle, "idle", "value").context("hits come back")
        });
        load.stop()?;
        result?;
        ensure!(lab.status()?.flows.relayed_total == 0, "connections were relayed");
        Ok(())
    });
}

#[test]
fn an_orderly_stop_breaks_no_connection() {
    Lab::run(Options::default(), |lab| {
        let load = Load::start(lab, 6)?;
        let mut idle = lab.client(ACCELERATED)?;
        let result = (|| {
            load.run_for(Duration::from_millis(2000))?;
            ensure!(lab.hits()? > 100, "few hits before the stop");
            lab.terminate_sidecar()?;
            load.run_for(Duration::from_millis(1000)).context("while it drains")?;
            let hits = lab.hits()?;
            load.run_for(Duration::from_millis(500)).context("while it drains")?;
            ensure!(lab.hits()? == hits, "hits while it drains");
            idle.check("PING", "+PONG\r\n")
        })();
        load.stop()?;
        result?;
        // The last connections go, and the sidecar with them.
        idle.check("PING", "+PONG\r\n")?;
        drop(idle);
        lab.sidecar_stopped(Duration::from_secs(5))?;
        lab.start_sidecar()?;
        let mut fast = lab.client(ACCELERATED)?;
        fast.set("key", "again")?;
        lab.warm(&mut fast, "key", "again")
    });
}

#[test]
fn a_stop_that_waits_no_longer_resets_and_leaves_no_hook() {
    let settings = vec!["lease.drain_timeout=300ms"];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        lab.terminate_sidecar()?;
        lab.sidecar_stopped(Duration::from_secs(3))?;
        plain.holds("key", "value")?;
        // Nothing translates any more: an error, not silence, and no byte that is not Redis's.
        let broken = fast.get("key");
        let text = format!("{:?}", broken.err().context("a reply from nowhere")?);
        ensure!(text.contains("reset") || text.contains("the end"), "{text}");
        plain.set("key", "other")?;
        // It would be older than the next sidecar's hooks, and nobody would get hits (C8).
        drop(plain);
        lab.start_sidecar()?;
        lab.client(ACCELERATED)?.holds("key", "other")
    });
}

#[test]
fn connections_beyond_the_table_are_relayed() {
    let settings = vec!["flows.max=8"];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let mut clients = (0..24).map(|_| lab.client(ACCELERATED)).collect::<Result<Vec<_>>>()?;
        let mut plain = (0..4).map(|_| lab.client(PLAIN)).collect::<Result<Vec<_>>>()?;
        for round in 0..20 {
            for (i, client) in clients.iter_mut().enumerate() {
                let (key, value) = (format!("key:{i}"), format!("{round} of {i}"));
                client.set(&key, &value)?;
                client.holds(&key, &value)?;
                plain[i % 4].holds(&key, &value)?;
            }
        }
        let status = lab.status()?;
        println!("flow table of 8, 24 connections: {:?}", status.flows);
        ensure!(status.passes["flow_table_full"] > 0, "the table was never full");
        ensure!(status.flows.relayed_total > 0, "nothing was relayed");
        ensure!(status.flows.accelerated + status.flows.observed <= 8, "{:?}", status.flows);
        drop(clients);
        drop(plain);
        // With room again, new connections are in the stack.
        until("an empty table", || Ok((lab.status()?.flows.accelerated == 0).then_some(())))?;
        let mut fast = until("a connection in the stack", || {
            let client = lab.client(ACCELERATED)?;
            Ok((lab.status()?.flows.accelerated == 1).then_some(client))
        })?;
        fast.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")
    });
}
