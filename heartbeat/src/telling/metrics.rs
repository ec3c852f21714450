//! heartbeat's own metrics, beside those of the runtime and of the prober.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for what only grows. Labels hold numbers of
//! members, of which there are as many as the operator lists, and what there are few of.

use std::collections::BTreeMap;

use xps_runtime::metrics::Page;

use crate::bfd::SessionView;
use crate::bfd::view::SessionState;
use crate::prober::event::{Member, State};
use crate::telling::status::Status;

/// What a status holds in Prometheus' text format.
///
/// # Errors
/// If two metrics contradict each other, which is a mistake of this program.
pub fn text(status: &Status, members: &[Member]) -> prometheus::Result<String> {
    let page = Page::default();
    page.counters(
        "heartbeat_replies_total",
        "Probes that were answered, by where: in the stack (kernel) or by the agent (user), and degraded where the application's \
         lease had lapsed.",
        "path",
        &labelled(&status.replies),
    )?;
    page.counters(
        "heartbeat_dropped_total",
        "Datagrams to heartbeat's port that were dropped, by why (PROTOCOL.md).",
        "reason",
        &labelled(&status.dropped),
    )?;
    leases(&page, status)?;
    sessions(&page, status)?;
    of_members(&page, members)?;
    page.text()
}

/// Counts by label, as a page takes them.
fn labelled(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    counts.iter().map(|(label, count)| (label.as_str(), *count)).collect()
}

fn leases(page: &Page, status: &Status) -> prometheus::Result<()> {
    let known: Vec<_> =
        status.nodes.iter().filter_map(|node| Some((node.id.to_string(), node.lease.as_ref()?))).collect();
    let alive: Vec<_> =
        known.iter().map(|(id, lease)| ([id.as_str()], f64::from(u8::from(lease.alive)))).collect();
    page.gauges(
        "heartbeat_lease_alive",
        "Whether the application of a node of this host is alive by its lease.",
        ["node"],
        &alive,
    )?;
    let count = |of: fn(&crate::lease::LeaseView) -> u64| {
        known.iter().map(|(id, lease)| (id.as_str(), of(lease))).collect::<Vec<_>>()
    };
    page.counters(
        "heartbeat_lease_renewals_total",
        "Renewals of the leases of this host's nodes.",
        "node",
        &count(|lease| lease.renewals),
    )?;
    page.counters(
        "heartbeat_lease_failures_total",
        "Checks of this host's applications that failed, and promises that were not believed.",
        "node",
        &count(|lease| lease.failures),
    )?;
    page.counter(
        "heartbeat_lease_calls_refused_total",
        "Datagrams to lease.socket that renewed nothing.",
        status.lease_calls_refused,
    )
}

fn sessions(page: &Page, status: &Status) -> prometheus::Result<()> {
    let known: Vec<_> = status.bfd.iter().map(|session| (session.peer.to_string(), session)).collect();
    let states: Vec<_> = known
        .iter()
        .flat_map(|(peer, session)| {
            SessionState::ALL
                .map(|state| ([peer.as_str(), state.label()], f64::from(u8::from(session.state == state))))
        })
        .collect();
    let labels = ["peer", "state"];
    page.gauges("heartbeat_bfd_session_state", "1 for the state of a BFD session.", labels, &states)?;
    let count = |of: fn(&SessionView) -> u64| {
        known.iter().map(|(peer, session)| (peer.as_str(), of(session))).collect::<Vec<_>>()
    };
    page.counters(
        "heartbeat_bfd_session_downs_total",
        "How often a BFD session went down.",
        "peer",
        &count(|session| session.downs),
    )?;
    page.counters(
        "heartbeat_bfd_dropped_total",
        "Control packets of a BFD session that were dropped.",
        "peer",
        &count(|session| session.dropped.values().sum()),
    )?;
    page.counters(
        "heartbeat_bfd_unclaimed_total",
        "Packets to BFD's ports that were no session's, by why.",
        "reason",
        &labelled(&status.bfd_unclaimed),
    )?;
    page.counters(
        "heartbeat_bfd_echoes_total",
        "Echo packets in the stack: other systems', sent back (reflected), more than was agreed (too_fast), or of a system \
         without a session (stranger); and of this host's own that came back (returned).",
        "result",
        &labelled(&status.echoes),
    )
}

fn of_members(page: &Page, members: &[Member]) -> prometheus::Result<()> {
    let labels: Vec<_> =
        members.iter().map(|member| [member.observer.to_string(), member.node.to_string()]).collect();
    let each = || members.iter().zip(&labels).map(|(member, [observer, node])| (member, observer, node));
    let mut states = Vec::new();
    for (member, observer, node) in each() {
        for state in State::ALL {
            let is = f64::from(u8::from(state == member.state));
            states.push(([observer.as_str(), node, state.label()], is));
        }
    }
    page.gauges(
        "heartbeat_member_state",
        "1 for the state in which a node of this host (observer) sees a member.",
        ["observer", "node", "state"],
        &states,
    )?;
    let phis: Vec<_> =
        each().map(|(member, observer, node)| ([observer.as_str(), node], member.phi)).collect();
    page.gauges(
        "heartbeat_member_phi",
        "The suspicion against a member: at 8, that it is alive has a probability of 10^-8 if it goes on as before.",
        ["observer", "node"],
        &phis,
    )?;
    let round_trips: Vec<_> = each()
        .filter_map(|(member, observer, node)| Some(([observer.as_str(), node], member.round_trip_us? / 1e6)))
        .collect();
    page.gauges(
        "heartbeat_member_round_trip_seconds",
        "How long a member takes to answer, smoothed.",
        ["observer", "node"],
        &round_trips,
    )
}
