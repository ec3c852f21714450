//! The object file in the kernel: its maps and programs as descriptors, which is all that an installation keeps of it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};

use super::InstallError;
use crate::pins::{Layout, Pins, Runs, Shape, runs_of};

/// A program as loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: &'static str,
    pub(crate) fd: OwnedFd,
    /// Instructions that the verifier went through; 0 where the kernel does not say.
    pub(crate) verified: u32,
}

impl Loaded {
    /// What the kernel has counted of its runs.
    pub(crate) fn runs(&self) -> Runs {
        runs_of(self.fd.as_fd())
    }
}

/// Creates the maps, or takes over those that are pinned.
pub(crate) fn load_maps(
    pins: &Pins,
    shapes: &[Shape],
    layout: &Layout<'_>,
    object: &[u8],
    map_entries: &[(&str, u32)],
) -> Result<Ebpf, InstallError> {
    let mut loader = EbpfLoader::new();
    for shape in shapes {
        if layout.keeps(&shape.name) {
            loader.map_pin_path(&shape.name, pins.directory().join(&shape.name));
        }
    }
    for (name, entries) in map_entries {
        loader.map_max_entries(name, *entries);
    }
    loader.load(object).map_err(|error| InstallError::Load { what: "the maps".into(), source: error.into() })
}

/// Hands a program to the verifier.
pub(crate) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<Loaded, InstallError> {
    let program = ebpf.program_mut(name).ok_or_else(|| InstallError::Object(format!("no program {name}")))?;
    let (fd, verified) = load(program, name)?;
    Ok(Loaded { name, fd, verified })
}

/// Loads the classifiers beside those that are `loaded`: they are for the agent to run.
pub(super) fn load_called(
    ebpf: &mut Ebpf,
    loaded: &[&Loaded],
) -> Result<BTreeMap<String, OwnedFd>, InstallError> {
    let mut called = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        if matches!(program, Program::SchedClassifier(_)) && !loaded.iter().any(|loaded| loaded.name == name)
        {
            let (fd, _) = load(program, name)?;
            called.insert(name.to_owned(), fd);
        }
    }
    Ok(called)
}

/// The program's descriptor, and how many instructions the verifier went through.
fn load(program: &mut Program, name: &str) -> Result<(OwnedFd, u32), InstallError> {
    let refused = |error: ProgramError| InstallError::Load { what: name.to_owned(), source: error.into() };
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(refused)?;
    let verified = program.info().map_err(refused)?.verified_instruction_count().unwrap_or(0);
    let fd = program.fd().map_err(refused)?.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| InstallError::System { what: "cannot keep a program", source })?;
    Ok((fd, verified))
}
