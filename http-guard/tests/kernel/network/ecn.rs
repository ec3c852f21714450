//! Marks of congestion and classes of service.

use crate::laboratory::{both_paths, situations::ecn, situations::interface_mtu::wide};

both_paths! {
    #[not_yet_in_the_stack = "a CWR on an answered request is not told to the server, which demands it for longer"]
    congestion_is_told_and_not_echoed: wide, ecn::congestion;
    replies_are_in_the_class_of_the_server: wide, ecn::classes;
}
