//! What is measured, by name.

use std::time::Duration;

/// One row of the result.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(super) kind: Kind,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// How long replies take.
    Replies { saturated: bool },
    /// How long it takes until an observer knows.
    Detection(Fault),
    /// How often a time-out passes though the responder is alive.
    FalseAlarms { timeout: Duration },
    /// What a reply takes in the stack, and how many a core can give.
    Stack,
}

/// What befalls a responder's application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is killed (SIGKILL).
    Killed,
    /// It is stopped (SIGSTOP), as one that hangs.
    Stopped,
    /// Its host's link goes down.
    LinkDown,
}

/// All workloads.
pub(crate) fn all() -> Vec<Workload> {
    let alarms = |name, ms| Workload { name, kind: Kind::FalseAlarms { timeout: Duration::from_millis(ms) } };
    vec![
        Workload { name: "reply-idle", kind: Kind::Replies { saturated: false } },
        Workload { name: "reply-saturated", kind: Kind::Replies { saturated: true } },
        Workload { name: "detect-kill", kind: Kind::Detection(Fault::Killed) },
        Workload { name: "detect-stop", kind: Kind::Detection(Fault::Stopped) },
        Workload { name: "detect-link", kind: Kind::Detection(Fault::LinkDown) },
        alarms("false-alarms-5ms", 5),
        alarms("false-alarms-20ms", 20),
        alarms("false-alarms-100ms", 100),
        Workload { name: "stack", kind: Kind::Stack },
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = super::all().iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 9);
    }
}
