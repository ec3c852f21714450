//! A Docker daemon of the test's own: its files, its socket, no rules in the firewall. The system's is neither used nor seen.

use super::engine::Engine;
use crate::lab::{Folder, end, pidfd};
use crate::{cleanup, workspace};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(60);
/// It stops its containers first.
const STOP_LIMIT_MS: libc::c_int = 60_000;

/// A running daemon. Stopped when dropped, with all its containers. Fields are dropped in order.
pub(super) struct Daemon {
    _stop: cleanup::Guard,
    engine: Engine,
    settings: PathBuf,
    socket: String,
    /// Held while the images of this checkout are in use.
    _lock: File,
}

impl Daemon {
    /// Starts it. Images and what was built stay in `target` for the next run.
    pub(super) fn start(engine: Engine, folder: &Folder) -> Result<Self> {
        let kept = workspace::target().join("xps-compose");
        fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
        let lock = File::create(kept.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another `cargo xtask compose` of this checkout is running; wait for its end");
        }
        let settings = folder.path().join("docker");
        fs::create_dir_all(&settings)?;
        std::os::unix::fs::symlink(engine.plugins(), settings.join("cli-plugins"))?;
        let socket = format!("unix://{}", folder.path().join("docker.sock").display());
        let log = folder.path().join("dockerd.log");
        let output = File::create(&log)?;
        // It ends with this program, also if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(engine.program("sbin/dockerd"));
        for (option, value) in [
            ("--data-root", kept.join("docker")),
            ("--exec-root", folder.path().join("docker-state")),
            ("--pidfile", folder.path().join("dockerd.pid")),
            ("--userland-proxy-path", engine.program("sbin/docker-proxy")),
        ] {
            command.arg(option).arg(value);
        }
        command.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        command.args(["--bridge=none", "--host", &socket]).env("PATH", engine.path());
        // A group of its own: Ctrl-C on the terminal is for this program, which stops containers in order.
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn().context("cannot start dockerd")?;
        let handle = Arc::new(pidfd(&child).context("cannot hold on to dockerd")?);
        let stop = cleanup::at_end(move || {
            if !end(&handle, STOP_LIMIT_MS) {
                eprintln!("dockerd does not end by SIGTERM and is killed");
            }
        });
        let daemon = Self { _stop: stop, engine, settings, socket, _lock: lock };
        let start = Instant::now();
        while workspace::output(daemon.docker().arg("version")).is_err() {
            if child.try_wait()?.is_some() || start.elapsed() > START_LIMIT {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("dockerd does not run. Its last words:\n{}", workspace::tail(&said, 15));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // It is waited for by its handle; this only keeps it from becoming a zombie.
        std::thread::spawn(move || child.wait());
        Ok(daemon)
    }

    /// The command line, talking to this daemon.
    pub(super) fn docker(&self) -> Command {
        let mut command = Command::new(self.engine.program("bin/docker"));
        command.env("DOCKER_HOST", &self.socket).env("DOCKER_CONFIG", &self.settings);
        command.env("PATH", self.engine.path()).current_dir(workspace::root());
        command
    }

    /// The programs it was started with.
    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }
}
