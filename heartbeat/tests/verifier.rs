//! The verifier is a test with a budget: every program loads, and takes no more of its instructions than is stated here.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

#[path = "../../kv-cache/tests/support/verifier.rs"]
mod verifier;

use heartbeat::abi::{map, program};

/// Instructions that the verifier may go through.
const BUDGET: [(&str, u32); 2] = [(program::XDP, 100_000), (program::TCX, 100_000)];

#[test]
fn every_program_loads_within_its_budget() {
    verifier::check(env!("XPS_OBJECT"), &[map::PEERS, map::ECHO_PEERS], &BUDGET);
}
