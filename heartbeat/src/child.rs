//! Commands of the operator's: what an application is asked by, and what is run when something has changed.
//!
//! They run as whom the agent runs, but without capabilities that the agent was given as a user without privileges, in a process
//! group of their own, with `PATH` and what they are told in their environment and nothing else. Whoever stops waiting for one
//! kills its group.

use std::env;
use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

/// Where programs are looked for if the agent has no `PATH` itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs; it is killed with its group when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

/// Runs a program, whose name is the first of the words. What it complains of goes to `complaints`.
///
/// # Errors
/// The system's.
pub(crate) fn start(
    program: &str,
    arguments: &[String],
    variables: impl IntoIterator<Item = (&'static str, String)>,
    complaints: Stdio,
) -> io::Result<Running> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()))
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints)
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            // Those that are kept over exec (capabilities(7), ambient): of an agent that runs as root there are none.
            let cleared =
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0, 0, 0);
            if cleared == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
    command.spawn().map(Running)
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `None` once it was waited for: its number may then be another's.
        if let Some(leader) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // SAFETY: plain numbers. The group is the command's: its leader is not waited for yet, so no other has its number.
            unsafe {
                libc::kill(-leader, libc::SIGKILL);
            }
        }
    }
}
