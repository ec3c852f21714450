//! Links, devices and routes that are narrower than clients can take.

use crate::support::laboratory::{
    both_paths,
    situations::interface_mtu::{self, wide},
    situations::path_mtu::{self, narrow},
};

both_paths! {
    a_narrow_link_is_found_out: narrow, |lab| path_mtu::found_out(lab, false);
    a_narrow_link_is_found_out_with_probing: narrow, |lab| path_mtu::found_out(lab, true);
    a_narrow_link_that_is_known_is_heeded: narrow, path_mtu::heeded;
    fragments_of_clients_are_put_together: narrow, path_mtu::fragments;
    the_mtu_of_the_way_out_is_heeded: wide, interface_mtu::heeded;
}

/// It takes the server several time-outs.
#[test]
fn a_narrow_link_that_nobody_tells_of_is_found_out() {
    crate::network::on_the_kernel_path(narrow, path_mtu::black_hole);
}
