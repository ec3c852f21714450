//! Strangers: segments of nobody, and clients without a password that say nothing, or nothing that makes sense.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::{ACCELERATED, CACHED, PLAIN, cached, on_the_kernel_path};
use crate::support::laboratory::situations::strangers::{answered_beside, as_before, count, forged_segments};
use crate::support::laboratory::{Network, SERVERS, Talk};
use crate::support::{Client, Lab, Options, Side, request};

#[test]
fn segments_of_nobody_take_no_hits_from_others() {
    on_the_kernel_path(Network::direct, forged_segments);
}

/// What a scanner sends: Redis waits for the rest, or finds fault with it.
const GARBAGE: [&[u8]; 9] = [
    b"",
    b"x",
    // The beginning of a TLS handshake.
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"*3\r\n$3\r\nSET\r\n",
    b"*1\r\n$400\r\nFLUSHALL",
    b"\0\0\0\0\0\0\0\0",
    b"*11\r\n",
    b"*x\r\n",
    b"AUTH guess\r\n*1\r\n$4\r\nPI\0G\r\n",
];

fn clients_without_a_password_take_no_hits_from_others(options: Options) {
    let environment = vec![("KV_CACHE_REDIS_PASSWORD", "secret")];
    let redis = vec!["--user", "sidecar", "on", ">secret", "~*", "&*", "+@all"];
    let settings = [options.settings, vec!["redis.username=sidecar"]].concat();
    Lab::run(Options { environment, redis, settings, ..options }, |lab| {
        lab.client(PLAIN)?.check("CONFIG SET requirepass open", "+OK\r\n")?;
        let mut known = logged_in(lab, SocketAddr::new(SERVERS[0], ACCELERATED))?;
        known.set(CACHED, cached())?;
        lab.warm(&mut known, CACHED, cached())?;
        let mut others = Vec::new();
        for to in SERVERS.iter().flat_map(|ip| [PLAIN, ACCELERATED].map(|port| (*ip, port).into())) {
            others.extend(GARBAGE.iter().map(|garbage| (to, *garbage)));
        }
        beside_each(lab, known, &others)?;
        // For the look at the end.
        let mut admin = logged_in(lab, SocketAddr::new(SERVERS[0], PLAIN))?;
        admin.send(&request(&["CONFIG", "SET", "requirepass", ""]))?;
        admin.expect(b"+OK\r\n")
    });
}

#[test]
fn clients_without_a_password_take_no_hits_from_others_in_the_stack() {
    clients_without_a_password_take_no_hits_from_others(Options::default());
}

#[test]
fn clients_without_a_password_take_no_hits_from_others_on_the_user_path() {
    clients_without_a_password_take_no_hits_from_others(Options::user());
}

fn logged_in(lab: &Lab, to: SocketAddr) -> Result<Client> {
    let mut client = lab.connect(Side::Client, to)?;
    client.check("AUTH open", "+OK\r\n")?;
    Ok(client)
}

/// Counts a client's hits beside each of the others, and then beside all of them.
fn beside_each(lab: &Lab, known: Client, others: &[(SocketAddr, &[u8])]) -> Result<()> {
    let mut known = super::Session { client: known, asked: 0 };
    let quiet = answered_beside(lab, &mut known)?;
    let mut failed = Vec::new();
    for &(to, garbage) in others {
        lab.warm(&mut known.client, CACHED, cached())?;
        let other = stranger(lab, to, garbage)?;
        let mut hits = 0;
        for _ in 0..3 {
            hits = hits.max(count(lab, &mut known, 50)?);
        }
        if hits < 48 {
            failed.push(format!("beside \"{}\" to {to}: {hits} of 50 were hits", garbage.escape_ascii()));
        }
        other.reset()?;
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    lab.warm(&mut known.client, CACHED, cached())?;
    let all = others.iter().map(|&(to, garbage)| stranger(lab, to, garbage)).collect::<Result<Vec<_>>>()?;
    as_before(quiet, answered_beside(lab, &mut known)?, "beside all of them")?;
    known.pass().context("a write")?;
    drop(all);
    as_before(quiet, answered_beside(lab, &mut known)?, "after all of them")
}

/// A client that sends this and no more.
fn stranger(lab: &Lab, to: SocketAddr, garbage: &[u8]) -> Result<Client> {
    let mut client = lab.connect(Side::Client, to)?;
    if !garbage.is_empty() {
        client.send(garbage)?;
    }
    Ok(client)
}
