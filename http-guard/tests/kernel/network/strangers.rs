//! Strangers: segments of nobody.

use super::on_the_kernel_path;
use crate::laboratory::{Network, situations::strangers::forged_segments};

#[test]
fn segments_of_nobody_change_nothing_for_others() {
    on_the_kernel_path(Network::direct, forged_segments);
}
