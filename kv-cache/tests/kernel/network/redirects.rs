//! Writes that netfilter redirects to Redis's port: they come by a port that nobody looks at.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::on_the_kernel_path;
use crate::support::laboratory::{Network, SERVER, SERVERS, Way};
use crate::support::{ACCELERATED, Client, Lab, PLAIN, Side, until};

/// Redirected to [`PLAIN`].
const TO_PLAIN: u16 = 7000;
/// Redirected to [`ACCELERATED`].
const TO_ACCELERATED: u16 = 7001;

/// How long one looks for an old value after a write.
const WHILE: Duration = Duration::from_millis(400);

const ROUNDS: u32 = 4;

fn redirect(lab: &Lab) -> Result<()> {
    let rules = format!(
        "table inet redirects {{\nchain prerouting {{\ntype nat hook prerouting priority -100\n\
         tcp dport {TO_PLAIN} redirect to :{PLAIN}\ntcp dport {TO_ACCELERATED} redirect to :{ACCELERATED}\n}}\n}}"
    );
    lab.network().rules(SERVER, &rules)
}

/// A reader whose way is hooked.
pub(super) fn reader(lab: &Lab) -> Result<Client> {
    lab.connect(Side::Server, SocketAddr::new(SERVERS[0], ACCELERATED))
}

/// Asks often enough for the value to come into the cache, if hits are allowed at all.
fn ask_often(reader: &mut Client, value: &str) -> Result<()> {
    (0..60).try_for_each(|_| {
        sleep(Duration::from_millis(2));
        reader.holds("key", value)
    })
}

/// From now on nobody reads an older value.
pub(super) fn stays(reader: &mut Client, value: &str) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < WHILE {
        reader.holds("key", value).with_context(|| format!("{:?} after the write", start.elapsed()))?;
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until strict mode is there, with hits.
pub(super) fn comes_back(lab: &Lab, reader: &mut Client, value: &str) -> Result<()> {
    until("strict mode", || Ok((lab.status()?.coherence.state == "strict").then_some(())))?;
    lab.warm(reader, "key", value)
}

/// One connection writes again and again. With `told`, strict mode is off as long as it is there.
fn one_connection(lab: &Lab, to: SocketAddr, told: bool) -> Result<()> {
    let mut reader = reader(lab)?;
    reader.set("key", "before")?;
    comes_back(lab, &mut reader, "before")?;
    let mut writer = Client::of(Way::new(lab.place(Side::Client), to).open()?)?;
    for round in 0..ROUNDS {
        let value = format!("round {round}");
        writer.set("key", &value)?;
        stays(&mut reader, &value).with_context(|| format!("round {round}"))?;
        ask_often(&mut reader, &value)?;
    }
    if told {
        let address = writer.address()?.to_string();
        let causes = until("a status that tells of the connection", || {
            let coherence = lab.status()?.coherence;
            let tells = coherence.causes.iter().any(|cause| cause.contains(&address));
            Ok((tells && coherence.state != "strict").then_some(coherence.causes))
        })?;
        println!("{causes:?}");
    }
    drop(writer);
    comes_back(lab, &mut reader, &format!("round {}", ROUNDS - 1)).context("once the connection is gone")
}

/// Each write comes by a connection of its own, which lives no longer.
fn short_connections(lab: &Lab, to: SocketAddr) -> Result<()> {
    let mut reader = reader(lab)?;
    for round in 0..ROUNDS {
        reader.set("key", "before")?;
        comes_back(lab, &mut reader, "before")?;
        let value = format!("round {round}");
        Client::of(Way::new(lab.place(Side::Client), to).open()?)?.set("key", &value)?;
        stays(&mut reader, &value).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

fn each(ports: &[u16], check: impl Fn(&Lab, SocketAddr) -> Result<()>) {
    on_the_kernel_path(Network::direct, |lab| {
        redirect(lab)?;
        let mut failed = Vec::new();
        for to in SERVERS.iter().flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port))) {
            if let Err(error) = check(lab, to) {
                failed.push(format!("{to}: {error:?}"));
            }
        }
        lab.network().rules(SERVER, "")?;
        ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
        Ok(())
    });
}

#[test]
fn a_connection_that_is_redirected_to_redis_is_never_followed_by_an_old_value() {
    each(&[TO_PLAIN], |lab, to| one_connection(lab, to, true));
}

#[test]
fn a_connection_that_is_redirected_to_kv_cache_is_never_followed_by_an_old_value() {
    each(&[PLAIN, ACCELERATED, TO_ACCELERATED], |lab, to| one_connection(lab, to, false));
}

#[test]
fn short_connections_that_are_redirected_are_never_followed_by_an_old_value() {
    each(&[PLAIN, ACCELERATED, TO_PLAIN, TO_ACCELERATED], short_connections);
}
