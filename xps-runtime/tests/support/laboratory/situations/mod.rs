//! Situations of networks, each for any service: on the plain port and on the accelerated one the outcome must be the
//! same.

pub(crate) mod conntrack;
pub(crate) mod direct_return;
pub(crate) mod ecn;
pub(crate) mod firewall;
pub(crate) mod icmp;
pub(crate) mod interface_mtu;
pub(crate) mod path_mtu;
pub(crate) mod shaping;
pub(crate) mod strangers;
