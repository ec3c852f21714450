//! The members of the cluster: who they are, and at which address each is probed.
//!
//! Three sources, which may be mixed: a list in the configuration, a file of the same lines, and a name whose addresses are
//! the members. A member that cannot be resolved stays one, since a cluster does not shrink because its names are not served for a
//! while: it keeps the address that it had, and without one it cannot answer.
//!
//! # Layout
//!
//! - [`entry`]: a line of list or file.
//! - [`numbering`]: numbers of members that are only known by their address.
//! - [`follow`]: looking again, while the agent runs.

pub mod entry;
pub mod follow;
pub mod numbering;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_fastpath::wire::NodeId;
use xps_runtime::endpoint::Endpoint;

use entry::Entry;

/// Members at most: as many as a node's peers may be.
pub const MEMBERS_MAX: usize = 16_384;

/// Numbers from this one on belong to no member: `heartbeat probe` uses them.
pub const OPERATORS: std::ops::RangeInclusive<u32> = 0xffff_fff0..=u32::MAX;

/// Where members come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Those that the configuration lists.
    pub list: Vec<Entry>,
    /// A file with more of them.
    pub file: Option<PathBuf>,
    /// What stood in it when it was read.
    pub in_file: Vec<Entry>,
    /// A name, all of whose addresses are members.
    pub dns: Option<Endpoint>,
    /// How often names are resolved again.
    pub refresh: Duration,
}

/// The members: for each number the address, if it is known.
pub type Members = BTreeMap<NodeId, Option<SocketAddr>>;

/// What became of looking for members.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The members.
    pub members: Members,
    /// What did not work, for the log.
    pub failures: Vec<String>,
}

impl Sources {
    /// Looks for the members. `before` is what was known: addresses of names that cannot be resolved now stay.
    pub async fn look(&self, before: &Members) -> Found {
        let mut found = Found::default();
        let mut names: HashMap<String, Result<SocketAddr, String>> = HashMap::new();
        for entry in self.list.iter().chain(&self.in_file) {
            let name = entry.at.to_string();
            let resolved = match names.get(&name) {
                Some(resolved) => resolved.clone(),
                None => first(&entry.at).await,
            };
            let address = match &resolved {
                Ok(address) => Some(*address),
                Err(failure) => {
                    found.failures.push(format!("member {}: {failure}", entry.id.number()));
                    before.get(&entry.id).copied().flatten()
                }
            };
            names.insert(name, resolved);
            found.members.insert(entry.id, address);
        }
        if let Some(dns) = &self.dns {
            self.look_up(dns, before, &mut found).await;
        }
        if found.members.len() > MEMBERS_MAX {
            let more = found.members.len() - MEMBERS_MAX;
            found.failures.push(format!("{more} members more than {MEMBERS_MAX} are left out"));
            while found.members.len() > MEMBERS_MAX {
                found.members.pop_last();
            }
        }
        found
    }

    async fn look_up(&self, dns: &Endpoint, before: &Members, found: &mut Found) {
        match dns.resolve().await {
            Ok(addresses) => {
                for address in addresses {
                    let id = numbering::of(address.ip());
                    match found.members.get(&id) {
                        Some(Some(other)) if *other != address => {
                            found.failures.push(format!(
                                "{} and {} have the same number {}: {} is left out; list it with a number of its own",
                                other.ip(),
                                address.ip(),
                                id.number(),
                                address.ip()
                            ));
                        }
                        _ => {
                            found.members.insert(id, Some(address));
                        }
                    }
                }
            }
            Err(error) => {
                found.failures.push(error.to_string());
                for (id, address) in before {
                    found.members.entry(*id).or_insert(*address);
                }
            }
        }
    }
}

async fn first(at: &Endpoint) -> Result<SocketAddr, String> {
    let addresses = at.resolve().await.map_err(|error| error.to_string())?;
    addresses.first().copied().ok_or_else(|| format!("{at} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> NodeId {
        NodeId::new(number).expect("not 0")
    }

    fn sources(lines: &[&str]) -> Sources {
        let entry = |line: &&str| Entry::parse(line, 7946).expect("an entry");
        Sources { list: lines.iter().map(entry).collect(), ..Sources::default() }
    }

    #[tokio::test]
    async fn a_member_that_cannot_be_resolved_keeps_its_address() {
        let sources = sources(&["1 127.0.0.1", "2 no.such.host.invalid:9", "3 other.host.invalid"]);
        let known: SocketAddr = "10.0.0.2:9".parse().expect("an address");
        let found = sources.look(&Members::from([(id(2), Some(known))])).await;
        assert_eq!(
            found.members,
            Members::from([
                (id(1), Some("127.0.0.1:7946".parse().expect("an address"))),
                (id(2), Some(known)),
                (id(3), None)
            ])
        );
        assert_eq!(found.failures.len(), 2, "{:?}", found.failures);
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_members() {
        let dns = Some("localhost:7946".parse().expect("a name"));
        let found = Sources { dns, ..sources(&["5 127.0.0.9"]) }.look(&Members::new()).await;
        assert!(found.members.contains_key(&numbering::of("127.0.0.1".parse().expect("an address"))));
        assert!(found.members.contains_key(&id(5)));
    }

    #[tokio::test]
    async fn a_name_that_is_not_served_for_a_while_loses_nobody() {
        let dns = Some("no.such.host.invalid:7946".parse().expect("a name"));
        let before = Members::from([(id(9), None), (id(10), "10.0.0.10:1".parse().ok())]);
        let found = Sources { dns, ..Sources::default() }.look(&before).await;
        assert_eq!((found.members, found.failures.len()), (before, 1));
    }
}
