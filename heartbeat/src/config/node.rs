//! The nodes of this host: `[[node]]`, or `[node]` if there is one.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use heartbeat_detector::config::Config as Probing;
use heartbeat_fastpath::peer::Rate;
use heartbeat_fastpath::wire::NodeId;
use xps_runtime::config::{Reader, Section};

use crate::lease;
use crate::members::{OPERATORS, Sources};

/// A node of this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its number.
    pub id: Number,
    /// When its application is alive.
    pub lease: lease::Settings,
    /// How often a peer may probe it.
    pub rate: Rate,
}

/// The number of a node of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// This one.
    Given(NodeId),
    /// That of this host's address among those that `members.dns` leads to.
    OfAddress,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(id) => write!(f, "{}", id.number()),
            Self::OfAddress => f.write_str("address"),
        }
    }
}

/// What [`Number::from_str`] takes.
const EXPECTED: &str = "a number from 1 to 4294967279, or \"address\" with members.dns";

impl FromStr for Number {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "address" {
            return Ok(Self::OfAddress);
        }
        let number: u32 = text.parse().map_err(drop)?;
        let id = NodeId::new(number).filter(|_| !OPERATORS.contains(&number));
        id.map(Self::Given).ok_or(())
    }
}

/// Probes that may come at once are those of so many thousandths of a second.
const BURST_MS: u64 = 100;

/// Reads the tables.
pub(super) fn ask(reader: &mut Reader, probing: &Probing, members: &Sources) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut seen = HashSet::new();
    for name in reader.tables("node") {
        let Some(node) = one(&mut reader.section(&name), probing) else { continue };
        if !reader.section(&name).is_given("id") {
            reader.mistake(&name, "id", format!("{name} has no id; it must be {EXPECTED}"));
        } else if !seen.insert(node.id) {
            reader.mistake(&name, "id", format!("{name}.id is that of another node of this host"));
        }
        if node.id == Number::OfAddress && members.dns.is_none() {
            let message = format!("{name}.id is \"address\", but members.dns gives no addresses");
            reader.mistake(&name, "id", message);
        }
        nodes.push(node);
    }
    nodes
}

fn one(section: &mut Section<'_>, probing: &Probing) -> Option<Node> {
    let id = section.parsed("id", Number::OfAddress, EXPECTED);
    // A peer that hears nothing tries more often than it probes.
    let usual = (1_000_000_000 / probing.wait_min_ns.max(1)).clamp(1000, 1_000_000);
    let per_second: u64 = section.integer("probes_per_second_max", usual, 1..=10_000_000);
    let burst = (per_second * BURST_MS / 1000).max(16) as u32;
    let lease = lease::Settings::ask(section);
    // Within these bounds there is such a rate.
    Some(Node { id, lease, rate: Rate::new(1_000_000_000 / per_second, burst)? })
}
