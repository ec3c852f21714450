//! What routers tell of a client's connection, the server's TCP hears.

use crate::laboratory::{
    both_paths,
    situations::path_mtu::narrow,
    situations::{icmp, interface_mtu::wide},
};

both_paths! {
    that_a_packet_was_too_big_is_heard: narrow, icmp::too_big;
    #[not_yet_in_the_stack = "T6: errors about answered segments carry numbers that the socket does not know"]
    that_the_client_is_unreachable_is_heard_and_survived: wide, icmp::unreachable;
}
