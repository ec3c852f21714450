//! A lab with Nginx: the plain port serves files, the guarded one the same files under rules that Nginx holds itself.

use super::get::get;
use super::process::Process;
use super::{Lab, Ports, START_LIMIT};
use crate::workspace;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

const WORKERS_MAX: usize = 2;

/// What Nginx serves.
pub(crate) struct Site<'a> {
    /// Files by their paths, with their sizes in bytes.
    pub(crate) files: &'a [(&'a str, usize)],
    /// What the rules of the guarded port need in the block `http`.
    pub(crate) zones: String,
    /// The rules of the guarded port, in its block `server`.
    pub(crate) rules: String,
}

/// A running Nginx.
pub(crate) struct Nginx {
    _process: Process,
    ports: Ports,
    guarded: u16,
    statistics: SocketAddr,
    /// How often it was asked for its statistics.
    asked: AtomicU64,
}

impl Lab<()> {
    /// Starts Nginx in the lab.
    pub(crate) fn with_nginx(self, site: &Site<'_>) -> Result<Lab<Nginx>> {
        let program = workspace::find("nginx").context("nginx is missing; run `cargo xtask setup`")?;
        let [plain, accelerated, admin, relay, guarded, statistics] =
            self.choose_ports([80, 8080, 9181, 8090, 8081, 8082])?;
        let statistics = SocketAddr::from((Ipv4Addr::LOCALHOST, statistics));
        let folder = self.folder().join("nginx");
        for (path, bytes) in site.files {
            write_file(&folder.join("files").join(path.trim_start_matches('/')), *bytes)?;
        }
        let guardian = guardian();
        if guardian.is_none() {
            println!("`unshare` is not allowed here: Nginx has one process only");
        }
        let workers = guardian.is_some().then(workers);
        let bind = if self.has_namespaces() { "0.0.0.0" } else { "127.0.0.1" };
        let text = configuration(site, workers, bind, [plain, guarded], statistics);
        let path = folder.join("nginx.conf");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let mut words: Vec<OsString> = guardian.unwrap_or_default();
        words.extend([program.into(), "-e".into(), "stderr".into(), "-p".into(), folder.into()]);
        words.extend(["-c".into(), path.into()]);
        let place = self.server();
        let mut process = Process::start(&place, self.folder(), "nginx", &words[0], &words[1..])?;
        process.wait_until(START_LIMIT, || get(&place, statistics, "/").is_ok())?;
        if let Some(network) = &self.network {
            // Ports for many short connections: more of them, and taken again before their minute of TIME-WAIT is over.
            network.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
            network.client.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        }
        let ports = Ports { plain, accelerated, admin, relay };
        Ok(self.with(Nginx { _process: process, ports, guarded, statistics, asked: AtomicU64::new(1) }))
    }
}

impl Lab<Nginx> {
    /// Where the servers listen.
    pub(crate) fn ports(&self) -> Ports {
        self.server.ports
    }

    /// Where Nginx holds requests against rules itself.
    pub(crate) fn guarded_port(&self) -> u16 {
        self.server.guarded
    }

    /// How many requests have reached Nginx on all ports since it started, these questions left out.
    pub(crate) fn requests_seen(&self) -> Result<u64> {
        let asked = self.server.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let text = get(&self.server(), self.server.statistics, "/").context("Nginx's statistics")?;
        let seen =
            requests(&text).with_context(|| format!("Nginx's statistics have another form: {text}"))?;
        Ok(seen.saturating_sub(asked))
    }
}

/// What keeps Nginx: a process namespace that dies with this program, and all of Nginx's processes with it. Of those, only
/// the first would be told otherwise. `None` if such a namespace cannot be had.
fn guardian() -> Option<Vec<OsString>> {
    let mut words: Vec<OsString> = vec![workspace::find("unshare")?.into()];
    if !workspace::is_root() {
        words.extend(["--user", "--map-current-user"].map(OsString::from));
    }
    words.extend(["--pid", "--fork", "--kill-child=SIGKILL", "--"].map(OsString::from));
    let tried = workspace::output(Command::new(&words[0]).args(&words[1..]).arg("true"));
    tried.is_ok().then_some(words)
}

/// As many as there are cores, within a limit.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

fn configuration(
    site: &Site<'_>,
    workers: Option<usize>,
    bind: &str,
    [plain, guarded]: [u16; 2],
    statistics: SocketAddr,
) -> String {
    let mut text = String::from("daemon off;\npid nginx.pid;\nerror_log stderr crit;\n");
    // Writing to a String cannot fail.
    let _ = match workers {
        Some(workers) => writeln!(text, "worker_processes {workers};"),
        None => writeln!(text, "master_process off;"),
    };
    if workspace::is_root() {
        // Nobody else may read the lab's folder.
        text.push_str("user root;\n");
    }
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {name};\n"))
        .concat();
    let Site { zones, rules, .. } = site;
    let _ = write!(
        text,
        "events {{ worker_connections 4096; }}\n\
         http {{\n{temporary}\
         \x20 types {{ text/html html; }}\n\
         \x20 default_type application/octet-stream;\n\
         \x20 access_log off;\n\
         \x20 sendfile on;\n\
         \x20 tcp_nopush on;\n\
         \x20 keepalive_requests 1000000000;\n\
         \x20 keepalive_timeout 300s;\n\
         \x20 root files;\n\
         {zones}\
         \x20 server {{ listen {bind}:{plain} backlog=4096; }}\n\
         \x20 server {{\n    listen {bind}:{guarded} backlog=4096;\n{rules}  }}\n\
         \x20 server {{ listen {statistics}; location / {{ stub_status; }} }}\n\
         }}\n"
    );
    text
}

/// Reads the third number below `server accepts handled requests`.
fn requests(statistics: &str) -> Option<u64> {
    let mut lines =
        statistics.lines().skip_while(|line| !line.starts_with("server accepts handled requests"));
    lines.nth(1)?.split_whitespace().nth(2)?.parse().ok()
}

fn write_file(path: &Path, bytes: usize) -> Result<()> {
    let content: Vec<u8> = b"0123456789abcdef".iter().copied().cycle().take(bytes).collect();
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read() {
        let text = "Active connections: 3 \nserver accepts handled requests\n 10 9 1234 \nReading: 0 Writing: 1 Waiting: 2 \n";
        assert_eq!(requests(text), Some(1234));
        assert_eq!(requests("Active connections: 3 \n"), None);
    }

    #[test]
    fn rules_are_on_the_guarded_port_only() {
        let site = Site { files: &[], zones: "  zones;\n".into(), rules: "    rules;\n".into() };
        let statistics = SocketAddr::from((Ipv4Addr::LOCALHOST, 8082));
        let text = configuration(&site, Some(2), "0.0.0.0", [80, 8081], statistics);
        let plain = text.lines().find(|line| line.contains("listen 0.0.0.0:80 ")).unwrap();
        assert!(
            plain.ends_with('}') && text.contains("listen 0.0.0.0:8081 backlog=4096;\n    rules;\n  }"),
            "{text}"
        );
        assert!(text.contains("worker_processes 2;"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
