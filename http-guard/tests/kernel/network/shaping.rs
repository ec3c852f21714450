//! A device whose queue is shaped.

use crate::laboratory::{Network, both_paths, situations::shaping};

both_paths! {
    answers_wait_in_the_queue_like_all_others: Network::direct, shaping::respected;
}
