//! The verifier is a test with a budget: every program loads, and takes no more of its instructions than is stated here.
//! The kernel's own limit is a million for each program; a later kernel may need more for the same program.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

use aya::EbpfLoader;
use aya::programs::SchedClassifier;
use xps_core::abi::program;

/// Instructions that the verifier may go through.
const BUDGET: [(&str, u32); 2] = [(program::INGRESS, 800_000), (program::EGRESS, 215_000)];

#[test]
fn every_program_loads_within_its_budget() {
    if std::env::var("XPS_KERNEL_TESTS").as_deref() != Ok("1") {
        println!("SKIPPED: loading programs needs root; XPS_KERNEL_TESTS=1 runs it");
        return;
    }
    let object = std::fs::read(env!("XPS_OBJECT")).expect("the object that the build script has built");
    let mut loader = EbpfLoader::new();
    // What the verifier sees does not depend on how large the tables are.
    for table in [xps_core::abi::map::FLOWS, http_fastpath::abi::map::LIMITS] {
        loader.map_max_entries(table, 16);
    }
    let mut ebpf = loader.load(&object).expect("the maps");
    let names: Vec<_> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names.len(), BUDGET.len(), "{names:?}");
    for (name, budget) in BUDGET {
        let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}"));
        let program: &mut SchedClassifier = program.try_into().expect("a classifier");
        program.load().unwrap_or_else(|error| panic!("{name} is refused: {error:?}"));
        let info = program.info().expect("what the kernel says of it");
        let verified = info.verified_instruction_count().expect("a count (kernel 5.16 or newer)");
        println!(
            "{name}: {verified} of {budget} instructions verified, {} bytes of machine code",
            info.size_jitted()
        );
        assert!(verified < budget, "{name}: {verified} instructions verified, the budget is {budget}");
    }
}
