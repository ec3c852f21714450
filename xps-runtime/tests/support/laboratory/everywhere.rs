//! The [situations](super::laboratory::situations) that hold for any service, as its tests on both paths. Part of a service's module
//! `network`, which has the `laboratory` at hand.

use super::laboratory::{Network, both_paths, situations::interface_mtu::wide, situations::path_mtu::narrow};

/// Connection tracking that forgets soon.
mod conntrack {
    use super::super::laboratory::situations::conntrack;
    use super::{Network, both_paths};

    both_paths! {
        connections_in_use_are_not_forgotten: Network::direct, conntrack::connections_in_use_stay;
    }
}

/// Requests come by a director, replies leave by another gateway.
mod direct_return {
    use super::super::laboratory::situations::direct_return;
    use super::{Network, both_paths};

    both_paths! {
        replies_leave_by_the_route_of_the_kernel: Network::direct_return, direct_return::served;
        replies_leave_by_the_rules_of_routing: Network::direct_return_by_rule, direct_return::served;
    }
}

/// Marks of congestion and classes of service.
mod ecn {
    use super::super::laboratory::situations::ecn;
    use super::{both_paths, wide};

    both_paths! {
        congestion_is_told_and_not_echoed: wide, ecn::congestion;
        replies_are_in_the_class_of_the_server: wide, ecn::classes;
    }
}

/// Rules of nftables on the server's host.
mod firewall {
    use super::super::laboratory::situations::firewall;
    use super::{Network, both_paths};

    both_paths! {
        one_port_is_open: Network::direct, firewall::one_port_is_open;
        a_source_is_dropped: Network::direct, firewall::a_source_is_dropped;
        a_source_is_dropped_at_the_device: Network::direct, firewall::a_source_is_dropped_at_the_device;
        a_rule_that_comes_later_holds: Network::direct, firewall::a_rule_that_comes_later_holds;
        new_connections_are_limited: Network::direct, firewall::new_connections_are_limited;
    }
}

/// What routers tell of a client's connection, the server's TCP hears.
mod icmp {
    use super::super::laboratory::situations::icmp;
    use super::{both_paths, narrow, wide};

    both_paths! {
        that_a_packet_was_too_big_is_heard: narrow, icmp::too_big;
        that_the_client_is_unreachable_is_heard_and_survived: wide, icmp::unreachable;
    }
}

/// A device whose queue is shaped.
mod shaping {
    use super::super::laboratory::situations::shaping;
    use super::{Network, both_paths};

    both_paths! {
        answers_wait_in_the_queue_like_all_others: Network::direct, shaping::respected;
        a_queue_that_comes_and_goes_is_followed: Network::direct, shaping::followed;
    }
}
