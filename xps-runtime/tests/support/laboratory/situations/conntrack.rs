//! Connection tracking with short time-outs, and rules that drop what it does not know.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::{SERVER, SERVERS, Service, Talk};

/// After how long without a packet a connection is forgotten.
const FORGOTTEN_AFTER_SECONDS: u64 = 10;

/// How long one may wait for a reply: while it does, the others are not used.
const PATIENCE: Duration = Duration::from_secs(FORGOTTEN_AFTER_SECONDS / 2);

const RULES: &str = "table inet own {\nchain input {\ntype filter hook input priority 0\niifname \"lo\" accept\n\
                     icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\nct state invalid drop\n\
                     tcp flags & (syn | ack) != syn ct state new drop\n}\n}";

/// Connections that are in use, though the server hears nothing of it, are not forgotten.
pub(crate) fn connections_in_use_stay<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    network.sysctl(SERVER, "net.netfilter.nf_conntrack_tcp_loose", "0")?;
    let seconds = FORGOTTEN_AFTER_SECONDS.to_string();
    network.sysctl(SERVER, "net.netfilter.nf_conntrack_tcp_timeout_established", &seconds)?;
    network.rules(SERVER, RULES)?;
    let mut clients = Vec::new();
    for server in SERVERS {
        for port in service.ports() {
            let mut talk = service.connect_to((server, port).into())?;
            talk.pass()?;
            talk.set_patience(PATIENCE)?;
            clients.push((format!("{server} port {port}"), talk));
        }
    }
    let answered = service.answered()?;
    let mut asked = 0;
    let mut failed = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2 * FORGOTTEN_AFTER_SECONDS) {
        keep(&mut clients, &mut failed, |talk| talk.ask_stack());
        keep(&mut clients, &mut failed, |talk| talk.hear_stack());
        asked += 1;
        sleep(Duration::from_millis(10));
    }
    let answered = service.answered()? - answered;
    println!("{answered} of {asked} requests on each connection were answered in the stack");
    ensure!(answered > asked, "few requests were answered in the stack: {answered} of {asked} twice");
    keep(&mut clients, &mut failed, |talk| talk.ask_server());
    keep(&mut clients, &mut failed, |talk| talk.hear_server());
    network.rules(SERVER, "")?;
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// Calls `work` for each client; those that fail are told of and left.
fn keep(
    clients: &mut Vec<(String, Box<dyn Talk>)>,
    failed: &mut Vec<String>,
    work: impl Fn(&mut dyn Talk) -> Result<()>,
) {
    clients.retain_mut(|(name, talk)| match work(&mut **talk) {
        Ok(()) => true,
        Err(error) => {
            failed.push(format!("{name}: {error:?}"));
            false
        }
    });
}
