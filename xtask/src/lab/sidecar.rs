//! kv-cache beside Redis, and what it says about itself.

use super::process::Process;
use super::{Lab, Place};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const READY_LIMIT: Duration = Duration::from_secs(30);
/// The sidecar drains for up to 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// Which path the sidecar is asked to take; which it took is in its [`Status`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The kernel path where it can be had.
    Auto,
    /// The user path, with its cache (`coherence.mode = "bounded"`).
    User,
}

/// A running kv-cache. Killed when dropped; [`Sidecar::stop`] ends it in order.
pub(crate) struct Sidecar {
    process: Process,
    place: Place,
    admin: SocketAddr,
}

impl Sidecar {
    /// Starts kv-cache in Redis's place and waits until it says that it is ready. Its settings are the defaults, but for
    /// ports, path and pin folder, and `settings`, as `section.key=value`.
    pub(crate) fn start(lab: &Lab, program: &Path, mode: Mode, settings: &[&str]) -> Result<Self> {
        let ports = lab.ports();
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.admin));
        let path = lab.folder().join("kv-cache.toml");
        std::fs::write(&path, configuration(lab, mode, admin))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let place = lab.server();
        let mut arguments = vec!["run".as_ref(), "--config".as_ref(), path.as_os_str()];
        arguments.extend(settings.iter().flat_map(|setting| ["--set".as_ref(), OsStr::new(*setting)]));
        let process = Process::start(&place, lab.folder(), "kv-cache", program, &arguments)?;
        let mut sidecar = Self { process, place, admin };
        let (place, admin) = (sidecar.place.clone(), sidecar.admin);
        sidecar.process.wait_until(READY_LIMIT, || get(&place, admin, "/readyz").is_ok())?;
        Ok(sidecar)
    }

    /// Asks the sidecar how it is.
    pub(crate) fn status(&self) -> Result<Status> {
        let body = get(&self.place, self.admin, "/status")
            .with_context(|| format!("the sidecar's last words:\n{}", self.process.last_words()))?;
        Ok(Status(serde_json::from_str(&body).context("the sidecar's status is not JSON")?))
    }

    /// Stops it in order: it drains, then detaches.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop(STOP_LIMIT)
    }
}

fn configuration(lab: &Lab, mode: Mode, admin: SocketAddr) -> String {
    let ports = lab.ports();
    // On the user path only bounded coherence caches.
    let (mode, coherence) = match mode {
        Mode::Auto => ("auto", "strict"),
        Mode::User => ("user", "bounded"),
    };
    let addresses = if lab.has_namespaces() { r#"["0.0.0.0", "::"]"# } else { r#"["127.0.0.1"]"# };
    format!(
        "[redis]\naddress = \"127.0.0.1:{}\"\n\n[listen]\naccelerated_port = {}\naddresses = {addresses}\n\
         admin = \"{admin}\"\n\n[path]\nmode = \"{mode}\"\npin_directory = \"{}\"\n\n\
         [coherence]\nmode = \"{coherence}\"\n",
        ports.plain,
        ports.accelerated,
        lab.bpf_folder().join("kv-cache").display()
    )
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

    fn counter(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("the sidecar's status has no `{name}`"))
    }
}

/// One HTTP/1.0 request; anything but 200 is an error.
fn get(place: &Place, address: SocketAddr, path: &str) -> Result<String> {
    place.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
            .with_context(|| format!("the sidecar's admin port {address} does not answer"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: xps\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        body(&reply).with_context(|| format!("GET {path}"))
    })
}

fn body(reply: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP reply")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{}: {}", head.lines().next().unwrap_or_default(), body.trim());
    }
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok(body.to_owned());
    }
    let mut rest = body;
    let mut whole = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).context("bad chunk")?;
        if size == 0 {
            break;
        }
        whole.push_str(tail.get(..size).context("short chunk")?);
        rest = tail.get(size + 2..).unwrap_or_default();
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_and_chunked_bodies() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}").unwrap(), "{}");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), "{} ");
        assert!(body(b"HTTP/1.1 503 Service Unavailable\r\n\r\nnot yet").is_err());
    }

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
