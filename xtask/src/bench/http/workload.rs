//! What is measured, by name.

use super::rules::{FLOODED, File, LARGE, LIMITED, PAGE, PRIVATE};

/// One row of the result.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(super) file: File,
    pub(super) kind: Kind,
    /// Nginx is asked on the port on which it holds requests against the same rules, not on the plain one.
    pub(super) guarded: bool,
    /// HAProxy is measured too.
    pub(super) haproxy: bool,
}

/// Who sends what, and what must come of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests that Nginx answers with the file.
    Allowed(Asking),
    /// Requests that are refused with this status, but for so many in a round.
    Refused { status: u16, passes_max: u64 },
    /// Clients that may have the file, beside a flood of requests that are refused.
    Flood(Pace),
}

/// How requests that may pass are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Each like the one before.
    Alike,
    /// Each with a query of its own: no head comes twice.
    Distinct,
    /// Each on a connection of its own.
    OnNewConnections,
}

/// What decides how often the connections of a flood ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The clock: every side is asked as often, which is as often as Nginx can refuse when it has nothing else to do.
    Offered,
    /// The server: who has refused is asked again at once, so a side that refuses faster is asked more.
    ClosedLoop,
}

/// All workloads.
pub(crate) fn all() -> Vec<Workload> {
    let allowed = |name, file, asking| Workload {
        name,
        file,
        kind: Kind::Allowed(asking),
        guarded: false,
        haproxy: false,
    };
    let refused = |name, file, status, passes_max| Workload {
        name,
        file,
        kind: Kind::Refused { status, passes_max },
        guarded: true,
        haproxy: false,
    };
    let flood =
        |name, pace| Workload { name, file: FLOODED, kind: Kind::Flood(pace), guarded: true, haproxy: true };
    // One a minute, and a round may lie on the edge of one.
    let by_rate = |name| refused(name, LIMITED, 429, 2);
    vec![
        allowed("allowed-612B", PAGE, Asking::Alike),
        allowed("allowed-612B-distinct", PAGE, Asking::Distinct),
        allowed("allowed-100KB", LARGE, Asking::Alike),
        allowed("allowed-new-connections", PAGE, Asking::OnNewConnections),
        refused("refused-rule", PRIVATE, 403, 0),
        by_rate("refused-rate"),
        flood("flood-goodput", Pace::Offered),
        flood("flood-closed-loop", Pace::ClosedLoop),
        Workload { haproxy: true, ..by_rate("haproxy-stick") },
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
