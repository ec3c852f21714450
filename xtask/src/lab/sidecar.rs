//! A service beside its server, and what it says about itself.

use super::get::get;
use super::process::Process;
use super::{Lab, Place};
use anyhow::{Context, Result};
use serde_json::Value;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The least of the real-time priorities, which comes before all ordinary ones (sched(7)).
const URGENCY: &str = "1";
const READY_LIMIT: Duration = Duration::from_secs(30);
/// The sidecar drains for up to 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// Which path the sidecar is asked to take; which it took is in its [`Status`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The kernel path where it can be had.
    Auto,
    /// The user path.
    User,
}

/// A running service. Killed when dropped; [`Sidecar::stop`] ends it in order.
pub(crate) struct Sidecar {
    process: Process,
    place: Place,
    admin: SocketAddr,
}

/// What it takes to start one.
pub(super) struct Start<'a> {
    /// What its files are called.
    pub(super) name: &'a str,
    pub(super) program: &'a Path,
    pub(super) configuration: String,
    /// The port of its status.
    pub(super) admin: u16,
    /// More settings, as `section.key=value`.
    pub(super) settings: &'a [&'a str],
    /// It has the CPU before everything else that is not urgent.
    pub(super) urgent: bool,
}

impl Sidecar {
    /// Starts a service in the server's place and waits until it says that it is ready.
    pub(super) fn launch<S>(lab: &Lab<S>, start: &Start<'_>) -> Result<Self> {
        Self::launch_at(lab.server(), lab.folder(), start)
    }

    /// The same in any place, with its files in this folder.
    pub(super) fn launch_at(place: Place, folder: &Path, start: &Start<'_>) -> Result<Self> {
        let path = folder.join(format!("{}.toml", start.name));
        std::fs::write(&path, &start.configuration)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let admin = admin_address(start.admin);
        let mut words: Vec<&OsStr> = Vec::new();
        if start.urgent {
            words.extend(["chrt", "--fifo", URGENCY].map(OsStr::new));
        }
        words.extend([start.program.as_os_str(), "run".as_ref(), "--config".as_ref(), path.as_os_str()]);
        words.extend(start.settings.iter().flat_map(|setting| ["--set".as_ref(), OsStr::new(*setting)]));
        let mut process = Process::start(&place, folder, start.name, words[0], &words[1..])?;
        process.wait_until(READY_LIMIT, || get(&place, admin, "/readyz").is_ok())?;
        Ok(Self { process, place, admin })
    }

    /// Asks the sidecar how it is.
    pub(crate) fn status(&self) -> Result<Status> {
        let body = get(&self.place, self.admin, "/status")
            .with_context(|| format!("the sidecar's last words:\n{}", self.process.last_words()))?;
        Ok(Status(serde_json::from_str(&body).context("the sidecar's status is not JSON")?))
    }

    /// Where it says what it is asked, and from where it can be asked.
    pub(super) fn admin(&self) -> (&Place, SocketAddr) {
        (&self.place, self.admin)
    }

    /// Stops it in order: it drains, then detaches.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop(STOP_LIMIT)
    }
}

/// Where a sidecar listens for questions about itself.
pub(super) fn admin_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The addresses on which a lab's sidecar may listen, in TOML.
pub(super) fn listen_addresses<S>(lab: &Lab<S>) -> &'static str {
    if lab.has_namespaces() { r#"["0.0.0.0", "::"]"# } else { r#"["127.0.0.1"]"# }
}

/// What the sidecar says about itself at one moment.
pub(crate) struct Status(Value);

impl Status {
    /// `kernel` or `user`.
    pub(crate) fn path(&self) -> Result<&str> {
        self.0["path"].as_str().context("the sidecar's status has no `path`")
    }

    /// Why the path is not the kernel's, or why nothing is answered; empty if all is well.
    pub(crate) fn causes(&self) -> Vec<String> {
        let text = |cause: &Value| cause.as_str().map_or_else(|| cause.to_string(), str::to_owned);
        [&self.0["path_causes"], &self.0["coherence"]["causes"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flat_map(|causes| causes.iter().map(text))
            .collect()
    }

    /// Keys that the stack can answer for.
    pub(crate) fn entries(&self) -> Result<u64> {
        self.counter("entries")
    }

    /// Requests answered by the sidecar's path since it started.
    pub(crate) fn hits(&self) -> Result<u64> {
        self.counter("hits_total")
    }

    /// Why requests and segments were passed to the server, with counts, for a reader.
    pub(crate) fn passes(&self) -> String {
        let Some(passes) = self.0["passes"].as_object() else { return String::new() };
        let shown: Vec<String> = passes
            .iter()
            .filter(|(_, count)| count.as_u64() != Some(0))
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        shown.join(", ")
    }

    /// What the sidecar has counted under a name.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("the sidecar's status has no `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_come_from_path_and_coherence() {
        let status: Value = serde_json::from_str(
            r#"{"path":"user","path_causes":["no CAP_BPF"],"coherence":{"state":"off","causes":["replica"]},"entries":3}"#,
        )
        .unwrap();
        let status = Status(status);
        assert_eq!(status.causes(), ["no CAP_BPF", "replica"]);
        assert_eq!(status.entries().unwrap(), 3);
        assert!(status.hits().is_err());
    }
}
