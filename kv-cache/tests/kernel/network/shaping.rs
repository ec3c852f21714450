//! By which way replies leave a container: to the peer of its veth, unless its own end has a queue.

use anyhow::{Context, Result};

use super::{CACHED, cached, on_the_kernel_path};
use crate::support::laboratory::{Network, SERVER};
use crate::support::{ACCELERATED, Client, Lab, Side, until};

const REQUESTS: u64 = 50;

/// Bytes that the server's device has sent.
fn sent_bytes(lab: &Lab) -> Result<u64> {
    let said = lab.network().said(SERVER, "cat /proc/net/dev")?;
    let line = said.lines().find_map(|line| line.trim().strip_prefix("veth0:"));
    let bytes = line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    bytes.with_context(|| format!("no count: {said}"))
}

/// Bytes that the server's device sends while the stack answers.
fn answered(lab: &Lab, client: &mut Client) -> Result<u64> {
    let before = sent_bytes(lab)?;
    lab.expect_hits(REQUESTS, || (0..REQUESTS).try_for_each(|_| client.holds(CACHED, cached())))?;
    Ok(sent_bytes(lab)? - before)
}

/// Any discipline: a `pfifo` delays nothing, but it bounds and counts what waits, and an `htb` may get classes later.
#[test]
fn replies_go_to_the_peer_while_there_is_no_queue() {
    on_the_kernel_path(Network::direct, |lab| {
        let mut client = lab.client(ACCELERATED)?;
        let replies = REQUESTS * cached().len() as u64;
        let mut change = |line: &str, queued: bool| {
            if !line.is_empty() {
                let words: Vec<_> = line.split(' ').collect();
                lab.place(Side::Server).run_program("tc", &words)?;
            }
            lab.warm(&mut client, CACHED, cached())?;
            // kv-cache hears of it in a moment.
            until(&format!("the other way after {line:?}"), || {
                let sent = answered(lab, &mut client)?;
                Ok(((sent >= replies) == queued).then_some(()))
            })
        };
        change("", false)?;
        for kind in ["pfifo", "htb"] {
            change(&format!("qdisc add dev veth0 root {kind}"), true)?;
            change("qdisc del dev veth0 root", false)?;
        }
        change("qdisc replace dev veth0 root pfifo", true)?;
        change("qdisc replace dev veth0 root noqueue", false)
    });
}
