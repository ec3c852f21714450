//! Rules of nftables on the server's host.

use crate::laboratory::{Network, both_paths, situations::firewall};

both_paths! {
    one_port_is_open: Network::direct, firewall::one_port_is_open;
    a_source_is_dropped: Network::direct, firewall::a_source_is_dropped;
    a_source_is_dropped_at_the_device: Network::direct, firewall::a_source_is_dropped_at_the_device;
    a_rule_that_comes_later_holds: Network::direct, firewall::a_rule_that_comes_later_holds;
    new_connections_are_limited: Network::direct, firewall::new_connections_are_limited;
}
