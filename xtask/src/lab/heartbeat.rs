//! heartbeat, as one that answers and as one that observes.

use super::sidecar::Start;
use super::{Events, Mode, Place, Sidecar};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The cluster's number.
pub(crate) const CLUSTER: u64 = 0x7873_7062;
/// The number of its key, and the key: nobody else is to hear these nodes.
pub(crate) const KEY: (u8, [u8; 16]) = (1, *b"xps-lab-only-key");
/// More than any load here: probes are not refused for their number.
const PROBES_PER_SECOND_MAX: u32 = 10_000_000;

/// Whom and how to probe.
#[derive(Clone, Copy)]
pub(crate) struct Probing {
    pub(crate) interval: Duration,
    /// The longest time from a probe to suspicion.
    pub(crate) timeout: Duration,
    /// The time that helpers have to contradict.
    pub(crate) confirmation: Duration,
}

/// A node of an agent.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) id: u32,
    /// How long a sign of life counts.
    pub(crate) lease: Duration,
    /// The Redis that gives it; the agent itself if there is none.
    pub(crate) redis: Option<SocketAddr>,
}

/// What it takes to start an agent.
pub(crate) struct Agent<'a> {
    pub(crate) name: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) place: Place,
    /// For configuration and logs.
    pub(crate) folder: &'a Path,
    pub(crate) pins: PathBuf,
    pub(crate) mode: Mode,
    /// Where messages are taken. The port is that of all addresses.
    pub(crate) address: SocketAddr,
    pub(crate) admin: u16,
    pub(crate) probing: Probing,
    pub(crate) nodes: &'a [Node],
    pub(crate) members: &'a [(u32, SocketAddr)],
    /// It has the CPU before everything else that is not urgent.
    pub(crate) urgent: bool,
}

impl Agent<'_> {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn start(&self) -> Result<Sidecar> {
        let keys = self.folder.join("heartbeat.keys");
        write_keys(&keys).with_context(|| format!("cannot write {}", keys.display()))?;
        let configuration = self.configuration(&keys);
        let start = Start {
            name: self.name,
            program: self.program,
            configuration,
            admin: self.admin,
            settings: &[],
            urgent: self.urgent,
        };
        Sidecar::launch_at(self.place.clone(), self.folder, &start)
    }

    fn configuration(&self, keys: &Path) -> String {
        let mode = match self.mode {
            Mode::Auto => "auto",
            Mode::User => "user",
        };
        let Probing { interval, timeout, confirmation } = self.probing;
        let us = |duration: Duration| format!("{}us", duration.as_micros());
        let members: Vec<String> =
            self.members.iter().map(|(node, address)| format!("\"{node} {address}\"")).collect();
        let mut text = format!(
            "[cluster]\nid = {CLUSTER}\nkey_file = \"{}\"\n\n[listen]\nport = {}\naddresses = [\"{}\"]\n\
             admin = \"127.0.0.1:{}\"\n\n[path]\nmode = \"{mode}\"\npin_directory = \"{}\"\n\n\
             [probe]\ninterval = \"{}\"\ntimeout = \"{}\"\nconfirmation = \"{}\"\n\n[members]\nlist = [{}]\n",
            keys.display(),
            self.address.port(),
            self.address.ip(),
            self.admin,
            self.pins.display(),
            us(interval),
            us(timeout),
            us(confirmation),
            members.join(", ")
        );
        for Node { id, lease, redis } in self.nodes {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[node]]\nid = {id}\nlease = \"{}\"\nprobes_per_second_max = {PROBES_PER_SECOND_MAX}\n",
                us(*lease)
            );
            let _ = match redis {
                Some(address) => writeln!(text, "lease_by = \"redis\"\nlease_address = \"{address}\""),
                None => writeln!(text, "lease_by = \"always\""),
            };
        }
        text
    }
}

impl Sidecar {
    /// What heartbeat says of its members from now on.
    pub(crate) fn events(&self) -> Result<Events> {
        let (place, admin) = self.admin();
        Events::of(place, admin)
    }
}

/// Only the user may read keys.
fn write_keys(path: &Path) -> Result<()> {
    let (number, secret) = KEY;
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(writeln!(file, "{number} {secret}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_a_table_for_each_node() {
        let ms = Duration::from_millis;
        let nodes = [
            Node { id: 10, lease: ms(1000), redis: None },
            Node { id: 11, lease: ms(100), redis: Some("127.0.0.1:6379".parse().unwrap()) },
        ];
        let agent = Agent {
            name: "x",
            program: Path::new("heartbeat"),
            place: Place::here(),
            folder: Path::new("/nowhere"),
            pins: "/nowhere/pins".into(),
            mode: Mode::User,
            address: "10.77.1.1:7946".parse().unwrap(),
            admin: 9182,
            probing: Probing { interval: ms(10), timeout: ms(20), confirmation: ms(5) },
            nodes: &nodes,
            members: &[(20, "10.77.1.2:7947".parse().unwrap())],
            urgent: false,
        };
        let text = agent.configuration(Path::new("/nowhere/keys"));
        assert_eq!(text.matches("[[node]]").count(), 2);
        for line in [
            "interval = \"10000us\"",
            "list = [\"20 10.77.1.2:7947\"]",
            "mode = \"user\"",
            "lease_address = \"127.0.0.1:6379\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
