//! A program that runs for a test and ends with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running program whose output goes to a file. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A process, by its id and when it was started: ids come again.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) id: u32,
    /// In clock ticks since the machine's start (proc_pid_stat(5), field 22).
    start: String,
}

impl Life {
    fn start_of(id: u32) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name, field 2, may hold anything, also blanks; it ends with the last bracket.
        stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
    }

    /// Whether no such process is there any more.
    pub(crate) fn is_over(&self) -> bool {
        Self::start_of(self.id).as_ref() != Some(&self.start)
    }
}

impl Process {
    /// Starts a program. Its output is added to `<folder>/<name>.log`.
    pub(crate) fn start(command: &mut Command, folder: &Path, name: &str) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {name}; is it installed?"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until `ready` gives something. Fails when the program ends first or the time is over.
    pub(crate) fn until<T>(&mut self, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(done) = ready() {
                return Ok(done);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}). Its words:\n{}", self.name, self.words());
            }
            if start.elapsed() > limit {
                bail!("{} is not ready after {limit:?}. Its words:\n{}", self.name, self.words());
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// What it said so far.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it said, and how it ended, if it has.
    pub(crate) fn last_words(&mut self) -> String {
        let words = self.words();
        let lines: Vec<&str> = words.lines().collect();
        let end = self.child.try_wait().ok().flatten().map_or("runs".to_owned(), |status| status.to_string());
        format!("{}\n({end})", lines[lines.len().saturating_sub(30)..].join("\n"))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What tells it from a later process that was given the same id.
    pub(crate) fn life(&self) -> Result<Life> {
        let id = self.child.id();
        let start = Life::start_of(id).with_context(|| format!("process {id} has ended already"))?;
        Ok(Life { id, start })
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        // SAFETY: kill has no memory effects. The child is not waited for yet, so its id is still its own.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("{} did not end within {limit:?}. Its words:\n{}", self.name, self.words());
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGKILL and waits.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory that a process has in RAM, in bytes.
pub(crate) fn resident_bytes(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
