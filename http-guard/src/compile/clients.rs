//! Prefixes of clients' addresses, with all conditions that hold for each.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use http_fastpath::abi::{CONDITION_WORDS, ClientKey, Conditions};

use crate::rules::prefix::{MAPPED_BITS, Prefix};

/// The prefixes, for a longest-prefix tree: the longest one that fits an address tells all that holds for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// By address, a prefix before the longer ones in it.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    prefix: Prefix,
    conditions: Conditions,
    /// Index of the next shorter prefix that spans it.
    within: Option<usize>,
}

impl Clients {
    /// From the prefixes of each condition, by its number.
    pub(super) fn new<'a>(conditions: impl Iterator<Item = (usize, &'a [Prefix])>) -> Self {
        let mut own: BTreeMap<(u128, u32), Conditions> = BTreeMap::new();
        for (number, prefixes) in conditions {
            for prefix in prefixes {
                let conditions = own.entry((prefix.address, prefix.bits)).or_default();
                conditions[number / 64] |= 1 << (number % 64);
            }
        }
        // What holds for a prefix of IPv6 that spans the mapped addresses does not hold for IPv4.
        let all_ipv4 = Prefix::IPV4;
        if own.keys().any(|&(address, bits)| bits < MAPPED_BITS && Prefix { address, bits }.spans(&all_ipv4))
        {
            own.entry((all_ipv4.address, all_ipv4.bits)).or_default();
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(own.len());
        let mut within: Vec<usize> = Vec::new();
        for ((address, bits), mut conditions) in own {
            let prefix = Prefix { address, bits };
            while within.last().is_some_and(|&outer| !entries[outer].prefix.spans(&prefix)) {
                within.pop();
            }
            if let Some(&outer) = within.last()
                && entries[outer].prefix.is_ipv4() == prefix.is_ipv4()
            {
                for (all, inherited) in conditions.iter_mut().zip(entries[outer].conditions) {
                    *all |= inherited;
                }
            }
            entries.push(Entry { prefix, conditions, within: within.last().copied() });
            within.push(entries.len() - 1);
        }
        Self { entries }
    }

    /// The entries of the tree, for the tables of this generation.
    pub fn entries(&self, generation: u32) -> impl Iterator<Item = (ClientKey, Conditions)> {
        self.entries.iter().map(move |entry| {
            let key = ClientKey {
                bits: ClientKey::FIRST_BITS + entry.prefix.bits,
                generation,
                padding: 0,
                address: entry.prefix.address.to_be_bytes(),
            };
            (key, entry.conditions)
        })
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no rule looks at addresses.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What holds for an address.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Conditions {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        self.entry(address).copied().unwrap_or([0; CONDITION_WORDS])
    }

    /// What holds for an address, IPv4 as `::ffff:a.b.c.d`; `None` if no prefix fits.
    #[must_use]
    pub fn entry(&self, address: Ipv6Addr) -> Option<&Conditions> {
        let one = Prefix::of(IpAddr::V6(address));
        // The last entry up to it is the longest prefix of it, or lies within all prefixes of it.
        let behind = self.entries.partition_point(|entry| entry.prefix.address <= one.address);
        let mut at = behind.checked_sub(1);
        while let Some(index) = at {
            let entry = &self.entries[index];
            if entry.prefix.spans(&one) {
                return Some(&entry.conditions);
            }
            at = entry.within;
        }
        None
    }
}
