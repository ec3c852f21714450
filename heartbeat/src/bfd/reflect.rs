//! Whose echo packets the stack sends back, and how often.

use std::net::IpAddr;

use heartbeat_fastpath::echo::{EchoKey, EchoPeer};
use heartbeat_fastpath::peer::Rate;
use nix::net::if_::if_nametoindex;
use xps_core::packet::mapped;

use super::settings::SessionSettings;

/// Packets that may come at once: what has piled up behind something else on the way.
const BURST: u32 = 4;

/// Those with whom there are sessions over one hop, for [`crate::path::kernel::Kernel::reflect`]. To be asked anew when
/// sessions change or an interface comes: one that is not there yet has no index.
#[must_use]
pub fn echo_peers(settings: &[SessionSettings]) -> Vec<(EchoKey, EchoPeer)> {
    settings.iter().filter_map(echo_peer).collect()
}

fn echo_peer(settings: &SessionSettings) -> Option<(EchoKey, EchoPeer)> {
    let device = match &settings.key.interface {
        Some(name) => if_nametoindex(name.as_str()).ok()?,
        None => 0,
    };
    let address = match settings.key.peer {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    };
    // Packets are spread: an interval is three quarters of what was agreed, at the least (RFC 5880 section 6.8.9).
    let interval_ns = u64::from(settings.config.required_min_echo_rx_us) * 750;
    Some((EchoKey::new(address, device), EchoPeer::new(Rate::new(interval_ns, BURST)?)))
}
