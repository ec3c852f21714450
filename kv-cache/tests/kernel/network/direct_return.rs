//! Requests come by a director, replies leave by another gateway.

use crate::support::laboratory::{Network, both_paths, situations::direct_return};

both_paths! {
    replies_leave_by_the_route_of_the_kernel: Network::direct_return, direct_return::served;
    replies_leave_by_the_rules_of_routing: Network::direct_return_by_rule, direct_return::served;
}
