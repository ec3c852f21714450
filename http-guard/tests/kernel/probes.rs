//! The table of probes against a real Nginx: what passes, Nginx reads as the guard did; what is refused it never has whole.

#[path = "../../fastpath/tests/probes/mod.rs"]
mod table;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use table::{Passed, Probe, Then};

use crate::PATIENCE;
use crate::lab::{Lab, Site};

/// Between two parts of a probe, so that they come as segments of their own.
const PAUSE: Duration = Duration::from_millis(2);

/// A request as Nginx saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    path: Vec<u8>,
    host: String,
    body_bytes: u64,
}

/// What a client got of a probe.
struct Sent {
    probe: &'static Probe,
    cuts: Vec<usize>,
    /// The client's port, by which Nginx's logs know the connection.
    port: u16,
    /// The status line's code of the first response, if there was one.
    status: Option<u16>,
}

fn send(lab: &Lab, probe: &'static Probe, cuts: Vec<usize>) -> Result<Sent> {
    let (mut stream, port) = lab.client_with_own_port()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let ends = cuts.iter().copied().chain([probe.bytes.len()]);
    let mut start = 0;
    for end in ends {
        // Who was refused already has gone.
        if stream.write_all(&probe.bytes[start..end]).is_err() {
            break;
        }
        start = end;
        sleep(PAUSE);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error).context("no end"),
    }
    let said = String::from_utf8_lossy(&said);
    let status = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Ok(Sent { probe, cuts, port, status })
}

/// The text of a log of Nginx: `\xNN` stands for a byte.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        let (digits, more) = after.split_at_checked(2).unwrap_or((after, ""));
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
        rest = more;
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// What Nginx has served, by the client's port.
fn served(lab: &Lab) -> Result<BTreeMap<u16, Vec<Seen>>> {
    // What it passes on is a request of its own, whose body has a length.
    let mut bodies: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for line in lab.log("passed.log")?.lines() {
        let (port, length) = line.split_once(' ').context("a line of the log")?;
        bodies.entry(port.parse()?).or_default().push(length.parse().unwrap_or(0));
    }
    let mut all: BTreeMap<u16, Vec<Seen>> = BTreeMap::new();
    for line in lab.log("seen.log")?.lines() {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().with_context(|| format!("the log's line {line:?}"));
        let (port, status, method, host, path) = (word()?, word()?, word()?, word()?, word()?);
        if status != "200" {
            continue;
        }
        let port = port.parse()?;
        let seen = all.entry(port).or_default();
        let body_bytes = bodies.get(&port).and_then(|all| all.get(seen.len())).copied().unwrap_or(0);
        seen.push(Seen {
            method: method.to_owned(),
            path: unescaped(path),
            host: host.to_owned(),
            body_bytes,
        });
    }
    Ok(all)
}

fn is(seen: &Seen, passed: &Passed) -> bool {
    // Without a host Nginx takes the server's name.
    let host = passed.host.is_empty() || seen.host == passed.host;
    host && seen.method == passed.method && seen.path == passed.path && seen.body_bytes == passed.body_bytes
}

/// What is wrong with what became of a probe, if something is.
fn fault(sent: &Sent, seen: &[Seen]) -> Option<String> {
    let Sent { probe, cuts, status, .. } = sent;
    let told = |what: String| Some(format!("{} cut at {cuts:?}: {what}; Nginx saw {seen:?}", probe.name));
    let agrees = seen.iter().zip(probe.passed).all(|(seen, passed)| is(seen, passed));
    if !agrees || seen.len() > probe.passed.len() {
        return told("Nginx reads it otherwise".into());
    }
    match probe.then {
        // What stands in one segment with a request that is refused ends with it.
        Then::Refused(expected) if probe.passed.is_empty() => {
            (*status != Some(expected)).then(|| told(format!("{status:?} instead of {expected}"))).flatten()
        }
        Then::Refused(_) => None,
        _ => (!probe.origin_refuses && seen.len() != probe.passed.len())
            .then(|| told("Nginx did not get all that passes".into()))
            .flatten(),
    }
}

#[test]
fn nginx_reads_what_passes_as_the_guard_does() {
    Lab::run_before(Site::Logging, "", |lab| {
        let mut all = Vec::new();
        for probe in table::all() {
            let len = probe.bytes.len();
            all.push(send(lab, probe, vec![])?);
            for cut in [1, len / 2, len - 1] {
                if (1..len).contains(&cut) {
                    all.push(send(lab, probe, vec![cut])?);
                }
            }
        }
        // Nginx writes its lines when a request has ended.
        sleep(Duration::from_millis(500));
        let served = served(lab)?;
        let none = Vec::new();
        let faults: Vec<_> =
            all.iter().filter_map(|sent| fault(sent, served.get(&sent.port).unwrap_or(&none))).collect();
        ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        Ok(())
    });
}
