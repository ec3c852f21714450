//! What the programs are told of this host's addresses (T4): a packet is theirs only if it is for one of these.
//!
//! What cannot be told is named ([`Unseen`]): packets for it pass unread, so nobody may rely on having read everything.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use aya::maps::Map;
use tokio::sync::watch;
use xps_core::abi::{LOCALS_MAX, Local, Scope, map};
use xps_core::path::local::LOOPBACK_NETWORK;

use crate::address_table::{AddressTable, key_of};
use crate::addresses::{self, Addresses, Here, LocalRoute};
use crate::install::InstallError;
use crate::lock::lock;

/// Addresses of this host whose packets the programs leave alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unseen {
    /// The table is full.
    TableFull {
        /// How many had no room.
        left_out: usize,
    },
    /// A whole network is local.
    Network {
        /// Its first address.
        address: IpAddr,
        /// Leading bits of it that count.
        prefix_bits: u8,
    },
    /// The same address is in several VRFs.
    Ambiguous {
        /// The address.
        address: IpAddr,
    },
    /// They are not known.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Unseen {
    /// Short names for metrics and status, of all kinds; stable.
    pub const LABELS: [&'static str; 4] =
        ["addresses_full", "local_network", "address_ambiguous", "addresses_unknown"];

    /// The short name.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        Self::LABELS[match self {
            Self::TableFull { .. } => 0,
            Self::Network { .. } => 1,
            Self::Ambiguous { .. } => 2,
            Self::Unknown { .. } => 3,
        }]
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { left_out } => {
                write!(
                    f,
                    "this host has {left_out} addresses more than the {LOCALS_MAX} that there is room for"
                )
            }
            Self::Network { address, prefix_bits } => write!(
                f,
                "all of {address}/{prefix_bits} is local (`ip route show table local`), and only addresses are looked for"
            ),
            Self::Ambiguous { address } => write!(f, "{address} is an address of several VRFs"),
            Self::Unknown { reason } => write!(f, "the addresses of this host are not known: {reason}"),
        }
    }
}

/// The programs' table of this host's addresses.
#[derive(Debug)]
pub struct Locals {
    table: AddressTable<Local>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    here: Here,
    /// The addresses at which connections to the accelerated port are taken; empty for all.
    accelerated: Vec<IpAddr>,
    entries: usize,
    unseen: Vec<Unseen>,
}

impl Locals {
    /// Of the map; `accelerated` are the addresses at which connections to the accelerated port are taken, empty for all.
    pub(crate) fn of(table: Map, accelerated: Vec<IpAddr>) -> Result<Self, InstallError> {
        // SAFETY: a `Local` is made of integers.
        let table = unsafe { AddressTable::of(table, map::LOCALS)? };
        Ok(Self { table, told: Mutex::new(Told { accelerated, ..Told::default() }) })
    }

    /// Tells the programs what is local now.
    pub(crate) fn fill(&self) -> Result<(), InstallError> {
        let here = addresses::list().map_err(|source| InstallError::System {
            what: "the addresses of this host are not known",
            source,
        })?;
        self.tell(&mut lock(&self.told), here)
    }

    /// Keeps the table true until `stop` turns true. `changed` is called when it has an address more, to which packets may have
    /// come before, or when what it leaves out is something else.
    ///
    /// # Errors
    /// The kernel's, if addresses cannot be watched.
    pub fn follow(
        self: Arc<Self>,
        stop: watch::Receiver<bool>,
        changed: impl Fn(),
    ) -> io::Result<impl Future<Output = ()>> {
        let addresses = Addresses::watch()?;
        Ok(addresses.follow(stop, move |here| {
            let mut told = lock(&self.told);
            let before = told.unseen.clone();
            let more = match here {
                Ok(here) => {
                    let more = here.routes.difference(&told.here.routes).next().is_some();
                    self.tell_or_say(&mut told, here.clone());
                    more
                }
                Err(error) => {
                    tracing::error!(%error, "addresses can no longer be watched");
                    told.unseen = vec![Unseen::Unknown { reason: error.to_string() }];
                    false
                }
            };
            let others = told.unseen != before;
            drop(told);
            if more || others {
                changed();
            }
        }))
    }

    /// From now on connections to the accelerated port are taken at these addresses; empty for all. Those that there are go on.
    pub fn accelerate(&self, addresses: Vec<IpAddr>) {
        let mut told = lock(&self.told);
        told.accelerated = addresses;
        let here = told.here.clone();
        self.tell_or_say(&mut told, here);
    }

    /// How many addresses the programs know.
    #[must_use]
    pub fn entries(&self) -> usize {
        lock(&self.told).entries
    }

    /// Addresses that the programs leave alone though they are local.
    #[must_use]
    pub fn unseen(&self) -> Vec<Unseen> {
        lock(&self.told).unseen.clone()
    }

    fn tell_or_say(&self, told: &mut Told, here: Here) {
        if let Err(error) = self.tell(told, here) {
            tracing::error!(%error, "the programs cannot be told of an address");
            told.unseen.push(Unseen::Unknown { reason: error.to_string() });
        }
    }

    fn tell(&self, told: &mut Told, here: Here) -> Result<(), InstallError> {
        let (entries, mut unseen) = entries(&here, &told.accelerated);
        told.here = here;
        let left_out = self
            .table
            .set(&entries)
            .map_err(|source| InstallError::Map { name: map::LOCALS.into(), source })?;
        told.entries = entries.len() - left_out;
        if left_out != 0 {
            unseen.push(Unseen::TableFull { left_out });
        }
        for one in unseen.iter().filter(|one| !told.unseen.contains(one)) {
            tracing::warn!(cause = one.label(), "not all packets for this host are seen: {one}");
        }
        told.unseen = unseen;
        Ok(())
    }
}

/// The table's entries, and what they leave out.
fn entries(here: &Here, accelerated: &[IpAddr]) -> (BTreeMap<[u8; 16], Local>, Vec<Unseen>) {
    let mut entries = BTreeMap::new();
    let mut unseen = Vec::new();
    let is_accelerated = |address: IpAddr| accelerated.is_empty() || accelerated.contains(&address);
    let entry = |address, scope: Scope, index| Local {
        scope: scope as u32,
        index,
        accelerated: is_accelerated(address).into(),
    };
    for route in &here.routes {
        let LocalRoute { address, prefix_bits, interface, vrf } = *route;
        if address.is_loopback() {
            // Within a VRF that is the VRF's own device, which is not hooked.
            if vrf != 0 {
                continue;
            }
            let at_loopback = |address| (key_of(address), entry(address, Scope::Interface, interface));
            if route.is_host() {
                entries.extend([at_loopback(address)]);
            } else if address == IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)) && prefix_bits == 8 {
                let whole = IpAddr::V4(Ipv4Addr::LOCALHOST);
                entries.insert(LOOPBACK_NETWORK, entry(whole, Scope::Interface, interface));
                entries
                    .extend(accelerated.iter().filter(|one| one.is_loopback()).map(|&one| at_loopback(one)));
            } else {
                unseen.push(Unseen::Network { address, prefix_bits });
            }
            continue;
        }
        if !route.is_host() {
            unseen.push(Unseen::Network { address, prefix_bits });
            continue;
        }
        let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let scope = match (link_local, here.has_vrfs) {
            (true, _) => entry(address, Scope::Interface, interface),
            (false, true) => entry(address, Scope::Vrf, vrf),
            (false, false) => entry(address, Scope::Host, 0),
        };
        let before = entries.insert(key_of(address), scope);
        match before {
            Some(before) if before != scope && link_local => {
                // Devices on one another have the same link-local address as a rule.
                entries.insert(key_of(address), entry(address, Scope::Host, 0));
            }
            Some(before) if before != scope => unseen.push(Unseen::Ambiguous { address }),
            _ => {}
        }
    }
    unseen.iter().for_each(|one| {
        if let Unseen::Ambiguous { address } = one {
            entries.remove(&key_of(*address));
        }
    });
    unseen.sort();
    unseen.dedup();
    (entries, unseen)
}

#[cfg(test)]
#[path = "locals_tests.rs"]
mod tests;
