//! The verifier is a test with a budget: every program loads, and takes no more of its instructions than is stated here.
//! The kernel's own limit is a million for each program; a later kernel may need more for the same program.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

#[path = "support/verifier.rs"]
mod verifier;

use xps_core::abi::program;
use xps_core::path::Stage;

/// Instructions that the verifier may go through for each program that a packet of TCP meets.
const BOUND: u32 = 150_000;

#[test]
fn every_program_loads_within_its_budget() {
    let mut budget = Stage::ALL.map(|stage| (stage.program(), BOUND)).to_vec();
    budget.extend([(program::EGRESS, BOUND), (program::LISTEN, 2_000)]);
    verifier::check(
        env!("XPS_OBJECT"),
        &[xps_core::abi::map::FLOWS, kv_fastpath::abi::map::INDEX, kv_fastpath::abi::map::PAGES],
        &budget,
    );
}
