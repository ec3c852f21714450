//! Connection tracking that forgets soon.

use crate::support::laboratory::{Network, both_paths, situations::conntrack};

both_paths! {
    connections_in_use_are_not_forgotten: Network::direct, conntrack::connections_in_use_stay;
}
