//! The verifier is a test with a budget: every program loads, and takes no more of its instructions than is stated here.
//! The kernel's own limit is a million for each program; a later kernel may need more for the same program.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

#[path = "../../kv-cache/tests/support/verifier.rs"]
mod verifier;

use xps_core::abi::program;

/// Instructions that the verifier may go through.
const BUDGET: [(&str, u32); 9] = [
    (program::INGRESS, 150_000),
    (program::OPEN, 150_000),
    (program::REQUEST, 150_000),
    (program::END, 150_000),
    (program::ERROR, 150_000),
    (program::EGRESS, 150_000),
    (program::LISTEN, 2_000),
    (http_fastpath::abi::program::LEDGER, 2_000),
    (http_fastpath::abi::program::BLOCK, 12_000),
];

#[test]
fn every_program_loads_within_its_budget() {
    verifier::check(
        env!("XPS_OBJECT"),
        &[xps_core::abi::map::FLOWS, http_fastpath::abi::map::LIMITS],
        &BUDGET,
    );
}
