//! The kernel path with a real Redis, in network namespaces. Every test checks contents byte for byte, and by the
//! sidecar's counters that the stack answered what it should have.
//!
//! They need root and run with `XPS_KERNEL_TESTS=1`; see `support`.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the other test programs; each uses a part")]
mod support;

mod addresses;
mod bad_input;
mod bounded;
mod bypass;
mod cluster;
mod ends;
mod expiry;
mod failover;
mod half_open;
mod hits;
mod hostile;
mod in_place;
mod life;
mod limits;
mod link;
mod load;
mod local;
mod logins;
mod network;
mod operators;
mod replicas;
mod seen;
mod sessions;
mod streams;
mod tagged;
mod top;
mod user;
mod users;
mod writes;
