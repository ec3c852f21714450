//! The addresses that the stack answers at: those that the agent is to listen at, as far as they are this host's.
//!
//! Another host's are never among them, whatever the configuration names: the programs see what is only forwarded, too, and
//! must not answer for somebody else, as for an address that has moved to another host.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use tokio::sync::watch;
use xps_runtime::addresses::{Addresses, Here};

use super::maps::Maps;

/// Keeps the programs' addresses true until `stop` turns true. `listen` are the configured ones; an unspecified one
/// (`0.0.0.0`, `::`) is all of its family. `addresses` was not asked yet.
pub async fn follow(maps: &Maps, listen: &[IpAddr], addresses: Addresses, stop: watch::Receiver<bool>) {
    let tell = |known: io::Result<&Here>| match known
        .map(|known| maps.set_addresses(&here(listen, &known.addresses())))
    {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "not all addresses are answered at in the stack"),
        Err(error) => tracing::error!(%error, "addresses can no longer be watched"),
    };
    addresses.follow(stop, tell).await;
}

/// Those of a host's addresses that are listened at.
#[must_use]
pub fn here(listen: &[IpAddr], of_host: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let is_meant = |address: &IpAddr| {
        listen.iter().any(|listen| {
            listen == address || listen.is_unspecified() && listen.is_ipv4() == address.is_ipv4()
        })
    };
    of_host.iter().copied().filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_hosts_addresses_are_answered_at() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let host = all(&["127.0.0.1", "10.0.0.1", "::1", "fd00::1"]).into_iter().collect();
        for (listen, expected) in [
            (&["0.0.0.0", "::"][..], &["10.0.0.1", "127.0.0.1", "::1", "fd00::1"][..]),
            (&["0.0.0.0"], &["10.0.0.1", "127.0.0.1"]),
            (&["::"], &["::1", "fd00::1"]),
            (&["10.0.0.1", "10.0.0.2"], &["10.0.0.1"]),
            (&["10.0.0.1", "::"], &["10.0.0.1", "::1", "fd00::1"]),
            (&["10.0.0.2"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(here(&all(listen), &host), all(expected), "{listen:?}");
        }
    }
}
