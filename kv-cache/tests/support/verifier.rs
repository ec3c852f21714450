//! The verifier as a test with a budget: every program loads, and takes no more of its instructions than is stated.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

use aya::EbpfLoader;
use aya::programs::{Program, ProgramError};

/// Loads the object at `object` with small `tables`: what the verifier sees does not depend on how large they are.
///
/// # Panics
/// If a program is refused, is not in the budget, or goes beyond it.
pub(crate) fn check(object: &str, tables: &[&'static str], budget: &[(&str, u32)]) {
    if std::env::var("XPS_KERNEL_TESTS").as_deref() != Ok("1") {
        println!("SKIPPED: loading programs needs root; XPS_KERNEL_TESTS=1 runs it");
        return;
    }
    let object = std::fs::read(object).expect("the object that the build script has built");
    let mut loader = EbpfLoader::new();
    for table in tables {
        loader.map_max_entries(table, 16);
    }
    let mut ebpf = loader.load(&object).expect("the maps");
    let names: Vec<_> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names.len(), budget.len(), "{names:?}");
    for &(name, budget) in budget {
        let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}"));
        match program {
            Program::SchedClassifier(program) => program.load(),
            Program::Xdp(program) => program.load(),
            Program::SkLookup(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        }
        .unwrap_or_else(|error| panic!("{name} is refused: {error:?}"));
        let info = program.info().expect("what the kernel says of it");
        let verified = info.verified_instruction_count().expect("a count (kernel 5.16 or newer)");
        println!(
            "{name}: {verified} of {budget} instructions verified, {} bytes of machine code",
            info.size_jitted()
        );
        assert!(verified < budget, "{name}: {verified} instructions verified, the budget is {budget}");
    }
}
