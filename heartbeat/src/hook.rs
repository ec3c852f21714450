//! Runs a command whenever a member is seen differently or a BFD session changes its state: a failover script, a pager.
//!
//! One after the other, in the order of the changes, so that a command for a recovery never overtakes the one for the failure. What
//! happened is in its environment; it has nothing else of the agent's but `PATH`.

use std::process::Stdio;
use std::sync::Arc;

use prometheus::{IntCounterVec, Opts};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::bfd::SessionChange;
use crate::child;
use crate::config::{Current, Hook};
use crate::happenings::{Happening, Happenings};
use crate::prober::event::Event;

/// What becomes of a command.
const RESULTS: [&str; 4] = ["success", "failure", "timeout", "missed"];

/// Runs the configured command.
#[derive(Debug)]
pub struct Runner {
    current: Arc<Current>,
    /// Commands by what became of them; `missed`: changes that came while too many waited.
    pub runs: IntCounterVec,
}

impl Runner {
    /// Nothing has run yet.
    ///
    /// # Errors
    /// If a metric's name is not one, which is a mistake of this program.
    pub fn new(current: Arc<Current>) -> prometheus::Result<Self> {
        let runs = IntCounterVec::new(
            Opts::new(
                "heartbeat_hook_runs_total",
                "Runs of the hook's command, by result; missed: changes for which none was run, since too many waited.",
            ),
            &["result"],
        )?;
        for result in RESULTS {
            runs.with_label_values(&[result]);
        }
        Ok(Self { current, runs })
    }

    /// Runs it for whatever happens until `stop` turns true.
    pub async fn run(self: Arc<Self>, mut happenings: Happenings, mut stop: watch::Receiver<bool>) {
        loop {
            let happened = tokio::select! {
                happened = happenings.next() => happened,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let hook = self.current.read().hook.clone();
            let variables = match happened {
                None => return,
                Some(_) if hook.command.is_empty() => continue,
                Some(Happening::Member(event)) => of_member(&event),
                Some(Happening::Session(change)) => of_session(&change),
                Some(Happening::Missed(missed)) => {
                    tracing::error!(
                        missed,
                        "the hook's command is too slow: no command is run for these changes"
                    );
                    self.runs.with_label_values(&["missed"]).inc_by(missed);
                    continue;
                }
            };
            let result = tokio::select! {
                result = execute(&hook, variables) => result,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.runs.with_label_values(&[result]).inc();
        }
    }
}

/// What a command is told.
type Variables = Vec<(&'static str, String)>;

/// Runs the command; what became of it.
async fn execute(hook: &Hook, variables: Variables) -> &'static str {
    let [program, arguments @ ..] = hook.command.as_slice() else { return "success" };
    let mut running = match child::start(program, arguments, variables, Stdio::inherit()) {
        Ok(running) => running,
        Err(error) => {
            tracing::error!(program, %error, "the hook's command cannot be run");
            return "failure";
        }
    };
    match timeout(hook.timeout, running.end()).await {
        Ok(Ok(status)) if status.success() => "success",
        Ok(ended) => {
            let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::error!(program, ended, "the hook's command has failed");
            "failure"
        }
        Err(_) => {
            tracing::error!(program, timeout = ?hook.timeout, "the hook's command took too long and is killed");
            "timeout"
        }
    }
}

fn of_member(event: &Event) -> Variables {
    vec![
        ("HEARTBEAT_OBSERVER", event.observer.to_string()),
        ("HEARTBEAT_NODE", event.node.to_string()),
        ("HEARTBEAT_ADDRESS", event.address.map(|address| address.to_string()).unwrap_or_default()),
        ("HEARTBEAT_FROM", event.from.to_string()),
        ("HEARTBEAT_TO", event.to.to_string()),
        ("HEARTBEAT_INCARNATION", event.incarnation.to_string()),
        ("HEARTBEAT_AT_UNIX_MS", event.at_unix_ms.to_string()),
    ]
}

fn of_session(change: &SessionChange) -> Variables {
    vec![
        ("HEARTBEAT_BFD_PEER", change.peer.to_string()),
        ("HEARTBEAT_FROM", change.from.label().to_owned()),
        ("HEARTBEAT_TO", change.to.label().to_owned()),
        ("HEARTBEAT_BFD_DIAGNOSTIC", change.diagnostic.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::prober::event::State;

    fn event() -> Event {
        Event {
            observer: 1,
            node: 2,
            address: "10.0.0.2:7946".parse().ok(),
            from: State::Suspect,
            to: State::Failed,
            incarnation: 3,
            at_ns: 4,
            at_unix_ms: 5,
        }
    }

    fn hook(script: &str) -> Hook {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Hook { command, timeout: Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn the_command_knows_what_happened_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let script = format!("env | grep -v -e ^PWD -e ^SHLVL -e ^_= -e ^PATH | sort > {}", told.display());
        assert_eq!(execute(&hook(&script), of_member(&event())).await, "success");
        let told = std::fs::read_to_string(told).expect("what it was told");
        assert_eq!(
            told,
            "HEARTBEAT_ADDRESS=10.0.0.2:7946\nHEARTBEAT_AT_UNIX_MS=5\nHEARTBEAT_FROM=suspect\n\
             HEARTBEAT_INCARNATION=3\nHEARTBEAT_NODE=2\nHEARTBEAT_OBSERVER=1\nHEARTBEAT_TO=failed\n"
        );
    }

    #[tokio::test]
    async fn what_fails_or_hangs_is_told() {
        assert_eq!(execute(&hook("exit 3"), of_member(&event())).await, "failure");
        let nobody = Hook { command: vec!["/no/such/program".to_owned()], ..hook("") };
        assert_eq!(execute(&nobody, of_member(&event())).await, "failure");
        let start = Instant::now();
        let slow = Hook { timeout: Duration::from_millis(50), ..hook("sleep 1000 & wait") };
        assert_eq!(execute(&slow, of_member(&event())).await, "timeout");
        assert!(start.elapsed() < Duration::from_secs(500));
    }
}
