//! Redis's own port, accelerated in place: there is no other port and no relay, and the agent itself asks Redis by that port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::support::laboratory::SERVER_V4;
use crate::support::{ACCELERATED, Lab, Options, PLAIN, Side, until};

fn in_place() -> Options {
    Options { in_place: true, ..Options::default() }
}

fn with(settings: &[&'static str]) -> Options {
    Options { settings: settings.to_vec(), ..in_place() }
}

#[test]
fn redis_s_own_port_is_answered_in_the_stack() {
    Lab::run(in_place(), |lab| {
        let status = lab.status()?;
        ensure!(
            (status.listen_mode.as_str(), status.accelerated_port) == ("in-place", PLAIN),
            "{} {}",
            status.listen_mode,
            status.accelerated_port
        );
        ensure!(
            lab.metrics()?.contains("xps_path{path=\"kernel\",reason=\"in_place\"} 1"),
            "{}",
            lab.metrics()?
        );
        let (mut reader, mut writer) = (lab.client(PLAIN)?, lab.client(PLAIN)?);
        writer.set("key", "0")?;
        lab.warm(&mut reader, "key", "0")?;
        lab.expect_hits(20, || (0..20).try_for_each(|_| reader.holds("key", "0")))?;
        for turn in 0..50 {
            let value = turn.to_string();
            writer.set("key", &value)?;
            ensure!(reader.get("key")?.as_deref() == Some(value.as_bytes()), "turn {turn}");
            // Filled again: from Redis, never from the stack.
            lab.warm(&mut reader, "key", &value)?;
        }
        // Nobody listens beside it.
        let beside = SocketAddr::new(SERVER_V4, ACCELERATED);
        let refused = lab.place(Side::Client).run(|| Ok(std::net::TcpStream::connect(beside).is_err()))?;
        ensure!(refused, "somebody listens on {ACCELERATED}");
        Ok(())
    });
}

#[test]
fn clients_on_the_server_s_host_are_served_and_the_agent_is_not() {
    Lab::run(in_place(), |lab| {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PLAIN);
        let mut client = lab.connect(Side::Server, local)?;
        client.set("key", "old")?;
        lab.warm(&mut client, "key", "old")?;
        // The agent has its connections from the same address; they are observed.
        let observed = lab.status()?.flows.observed;
        ensure!(observed >= 1, "{observed} connections are observed");
        client.set("key", "new")?;
        lab.warm(&mut client, "key", "new")
    });
}

#[test]
fn a_connection_that_is_not_taken_writes_and_nobody_reads_what_was() {
    Lab::run(with(&["flows.max=8"]), |lab| {
        let mut reader = lab.client(PLAIN)?;
        reader.set("key", "0")?;
        lab.warm(&mut reader, "key", "0")?;
        // More than the table has room for: those go to Redis unread.
        let mut others: Vec<_> = (0..8).map(|_| lab.client(PLAIN)).collect::<Result<_>>()?;
        for (turn, writer) in (1..20).zip((0..8).cycle()) {
            let value = turn.to_string();
            others[writer].set("key", &value)?;
            ensure!(
                reader.get("key")?.as_deref() == Some(value.as_bytes()),
                "turn {turn}: a value that was replaced"
            );
        }
        ensure!(lab.counted("flow_table_full")? > 0 && lab.counted("foreign")? > 0, "all were taken");
        // The request counts, not only what Redis says to it.
        others[7].ask("CLIENT REPLY OFF")?;
        let before = lab.counted("foreign")?;
        others[7].ask("SET key 20")?;
        until("a request that counts", || Ok((lab.counted("foreign")? > before).then_some(())))?;
        until("a request that is carried out", || {
            Ok((reader.get("key")?.as_deref() == Some(b"20")).then_some(()))
        })?;
        drop(others);
        until("hits once they are gone", || {
            let before = lab.hits()?;
            reader.holds("key", "20")?;
            Ok((lab.hits()? > before).then_some(()))
        })
    });
}

#[test]
fn a_stop_resets_only_what_was_answered() {
    Lab::run(with(&["lease.drain_timeout=0s"]), |lab| {
        let (mut reader, mut writer) = (lab.client(PLAIN)?, lab.client(PLAIN)?);
        writer.set("key", "old")?;
        lab.warm(&mut reader, "key", "old")?;
        lab.terminate_sidecar()?;
        lab.sidecar_stopped(Duration::from_secs(9))?;
        // Redis has this one's numbers.
        writer.set("key", "new")?;
        ensure!(reader.get("key").is_err(), "a connection with other numbers goes on");
        lab.client(PLAIN)?.holds("key", "new")?;
        // Older than the next agent's programs: no hits as long as there is one.
        drop(writer);
        lab.start_sidecar()?;
        let mut reader = lab.client(PLAIN)?;
        lab.warm(&mut reader, "key", "new")
    });
}

#[test]
fn a_killed_agent_leaves_redis_reachable_and_is_followed() {
    Lab::run(in_place(), |lab| {
        let mut reader = lab.client(PLAIN)?;
        reader.set("key", "old")?;
        lab.warm(&mut reader, "key", "old")?;
        lab.kill_sidecar()?;
        let mut writer = lab.client(PLAIN)?;
        until("a lease that has lapsed", || {
            writer.set("key", "new")?;
            Ok((reader.get("key")?.as_deref() == Some(b"new")).then_some(()))
        })?;
        lab.start_sidecar()?;
        lab.warm(&mut reader, "key", "new")
    });
}
