//! http-guard's own metrics, beside those of the runtime ([`xps_runtime::metrics`]).
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for what only grows. Labels hold names of
//! rules and what there are few of, never a client or a path. Everything is counted elsewhere and only told here.

use std::collections::BTreeMap;

use xps_runtime::metrics::Page;

use crate::telling::status::Status;

/// What a status holds in Prometheus' text format.
///
/// # Errors
/// If two metrics contradict each other, which is a mistake of this program.
pub fn text(status: &Status) -> prometheus::Result<String> {
    let page = Page::default();
    requests(&page, status)?;
    rules(&page, status)?;
    page.gauge("http_guard_connections", "Connections that are open.", status.connections as f64)?;
    page.gauge("http_guard_blocked_clients", "Clients that are blocked.", status.blocked_clients as f64)?;
    page.gauge("http_guard_disabled", "Whether the operator lets everything pass.", status.disabled.into())?;
    page.counters(
        "http_guard_agent_total",
        "What the agent did to connections: closed since a head was slow (slow_heads) or a body (slow_bodies), or removed \
         since the socket was gone (flows_collected).",
        "action",
        &labelled(&status.agent),
    )?;
    page.text()
}

fn requests(page: &Page, status: &Status) -> prometheus::Result<()> {
    page.counter("http_guard_requests_total", "Requests that were read.", status.requests_total)?;
    page.counter("http_guard_requests_refused_total", "Requests that were refused.", status.refused_total)?;
    page.counter(
        "http_guard_requests_passed_total",
        "Requests that went to the server.",
        status.passed_total,
    )?;
    page.counter(
        "http_guard_replies_total",
        "Requests that were answered instead of the server.",
        status.replies_total,
    )?;
    page.counters(
        "http_guard_closes_total",
        "Connections that were ended since a request was refused, by how: with an answer (closed), with a reset (reset), \
         without a word (silenced), or not let in (not_admitted; blocked_xdp before the stack has seen the packet).",
        "result",
        &labelled(&status.closes),
    )?;
    page.counters(
        "http_guard_syntax_refusals_total",
        "Requests that were refused since they could be read in two ways, by why.",
        "reason",
        &labelled(&status.refusals),
    )
}

fn rules(page: &Page, status: &Status) -> prometheus::Result<()> {
    let mut counts = Vec::new();
    for rule in &status.rules {
        for (result, count) in [
            ("passed", rule.passed),
            ("rejected", rule.rejected),
            ("rejected_dry_run", rule.rejected_dry_run),
            ("full", rule.full),
        ] {
            counts.push(([rule.name.as_str(), result], count));
        }
    }
    page.counters_by_two(
        "http_guard_rule_requests_total",
        "Requests that a rule held for, by what became of them: the words of Nginx's $limit_req_status, and full where the \
         table of limits had no place for their key.",
        ["rule", "status"],
        &counts,
    )
}

fn labelled(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    counts.iter().map(|(label, count)| (label.as_str(), *count)).collect()
}
