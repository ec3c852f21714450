//! Routes as the programs' table.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn route(text: &str, interface: u32, vrf: u32) -> LocalRoute {
    let (address, bits) =
        text.split_once('/').unwrap_or((text, if text.contains(':') { "128" } else { "32" }));
    LocalRoute { address: ip(address), prefix_bits: bits.parse().expect("bits"), interface, vrf }
}

/// Loopback's routes and these.
fn here(has_vrfs: bool, routes: &[LocalRoute]) -> Here {
    let loopback = [route("127.0.0.0/8", 1, 0), route("127.0.0.1", 1, 0), route("::1", 1, 0)];
    Here { routes: routes.iter().copied().chain(loopback).collect(), has_vrfs }
}

fn found(entries: &BTreeMap<[u8; 16], Local>, text: &str) -> Option<(u32, u32, u32)> {
    entries.get(&key_of(ip(text))).map(|local| (local.scope, local.index, local.accelerated))
}

const HOST: u32 = Scope::Host as u32;
const INTERFACE: u32 = Scope::Interface as u32;
const VRF: u32 = Scope::Vrf as u32;

#[test]
fn addresses_are_taken_wherever_they_come_in() {
    let here = here(false, &[route("10.0.0.1", 2, 0), route("fd00::1", 2, 0), route("fe80::1", 2, 0)]);
    let (entries, unseen) = entries(&here, &[]);
    assert_eq!(unseen, []);
    assert_eq!(found(&entries, "10.0.0.1"), Some((HOST, 0, 1)));
    assert_eq!(found(&entries, "fd00::1"), Some((HOST, 0, 1)));
    assert_eq!(found(&entries, "fe80::1"), Some((INTERFACE, 2, 1)));
    assert_eq!(found(&entries, "127.0.0.1"), Some((INTERFACE, 1, 1)));
    assert_eq!(found(&entries, "::1"), Some((INTERFACE, 1, 1)));
    assert_eq!(entries.len(), 5);
}

#[test]
fn a_link_local_address_of_two_interfaces_is_taken_at_each() {
    let (entries, unseen) = entries(&here(false, &[route("fe80::1", 2, 0), route("fe80::1", 3, 0)]), &[]);
    assert_eq!((found(&entries, "fe80::1"), unseen), (Some((HOST, 0, 1)), vec![]));
}

#[test]
fn only_named_addresses_are_accelerated_and_all_are_known() {
    let here = here(false, &[route("10.0.0.1", 2, 0), route("10.0.0.2", 2, 0)]);
    let (entries, _) = entries(&here, &[ip("10.0.0.2"), ip("127.0.0.9"), ip("10.0.0.3")]);
    assert_eq!(found(&entries, "10.0.0.1"), Some((HOST, 0, 0)));
    assert_eq!(found(&entries, "10.0.0.2"), Some((HOST, 0, 1)));
    assert_eq!(found(&entries, "127.0.0.1"), Some((INTERFACE, 1, 0)));
    assert_eq!(found(&entries, "127.0.0.9"), Some((INTERFACE, 1, 1)));
    assert_eq!(found(&entries, "10.0.0.3"), None, "it is no address of this host");
}

#[test]
fn networks_are_named() {
    let networks = ["10.1.0.0/16", "0.0.0.0/0", "fd01::/64", "127.1.0.0/16"];
    let (entries, unseen) = entries(&here(false, &networks.map(|text| route(text, 1, 0))), &[]);
    assert_eq!(entries.len(), 2);
    assert_eq!(unseen.len(), 4);
    assert!(unseen.iter().all(|one| one.label() == "local_network"), "{unseen:?}");
    assert!(
        unseen.iter().any(|one| one.to_string().starts_with("all of 10.1.0.0/16 is local")),
        "{unseen:?}"
    );
}

#[test]
fn vrfs_have_addresses_of_their_own() {
    let routes = [
        route("10.0.0.1", 2, 0),
        route("10.0.0.2", 3, 9),
        route("10.0.0.3", 2, 0),
        route("10.0.0.3", 3, 9),
        route("127.0.0.1", 9, 9),
        route("fe80::1", 3, 9),
    ];
    let (entries, unseen) = entries(&here(true, &routes), &[]);
    assert_eq!(found(&entries, "10.0.0.1"), Some((VRF, 0, 1)));
    assert_eq!(found(&entries, "10.0.0.2"), Some((VRF, 9, 1)));
    assert_eq!(found(&entries, "10.0.0.3"), None);
    assert_eq!(found(&entries, "127.0.0.1"), Some((INTERFACE, 1, 1)));
    assert_eq!(found(&entries, "fe80::1"), Some((INTERFACE, 3, 1)));
    assert_eq!(unseen, [Unseen::Ambiguous { address: ip("10.0.0.3") }]);
}
