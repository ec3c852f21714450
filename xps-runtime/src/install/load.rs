//! The object file in the kernel: its maps and programs as descriptors, which is all that an installation keeps of it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapData};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use xps_core::abi::program;

use super::{InstallError, Service};
use crate::pins::{Pins, Shape};
use crate::table;

/// A program as loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) name: &'static str,
    pub(super) fd: OwnedFd,
    pub(super) verified: u32,
}

/// Creates the maps, or takes over those that are pinned.
pub(super) fn load_maps(pins: &Pins, shapes: &[Shape], service: &Service<'_>) -> Result<Ebpf, InstallError> {
    let mut loader = EbpfLoader::new();
    for shape in shapes {
        if shape.kept(service) {
            loader.map_pin_path(&shape.name, pins.directory().join(&shape.name));
        }
    }
    for (name, entries) in &service.map_entries {
        loader.map_max_entries(name, *entries);
    }
    loader.load(service.object).map_err(|error| InstallError::Load { what: "the maps", source: error.into() })
}

/// Hands a program to the verifier.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<Loaded, InstallError> {
    let refused = |error: ProgramError| InstallError::Load { what: name, source: error.into() };
    let program = ebpf.program_mut(name).ok_or_else(|| InstallError::Object(format!("no program {name}")))?;
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(refused)?;
    let verified = program.info().map_err(refused)?.verified_instruction_count().unwrap_or(0);
    let fd = program.fd().map_err(refused)?.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| InstallError::System { what: "cannot keep a program", source })?;
    Ok(Loaded { name, fd, verified })
}

/// Loads the object's other classifiers: those are for the agent to run.
pub(super) fn load_called(ebpf: &mut Ebpf) -> Result<BTreeMap<String, OwnedFd>, InstallError> {
    let mut called = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        let refused = |error: ProgramError| InstallError::Load { what: "a program", source: error.into() };
        let Program::SchedClassifier(program) = program else { continue };
        if name == program::INGRESS || name == program::EGRESS {
            continue;
        }
        program.load().map_err(refused)?;
        let fd = program.fd().map_err(refused)?.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|source| InstallError::System { what: "cannot keep a program", source })?;
        called.insert(name.to_owned(), fd);
    }
    Ok(called)
}

/// Descriptors of all maps, by their names.
pub(super) fn descriptors(ebpf: &Ebpf) -> Result<BTreeMap<String, OwnedFd>, InstallError> {
    let mut maps = BTreeMap::new();
    for (name, map) in ebpf.maps() {
        if let Some(data) = table::data_of(map) {
            let fd = data.fd().as_fd().try_clone_to_owned();
            let fd = fd.map_err(|source| InstallError::System { what: "cannot keep a map", source })?;
            maps.insert(name.to_owned(), fd);
        }
    }
    Ok(maps)
}

/// A new handle to a map.
pub(super) fn open_data(maps: &BTreeMap<String, OwnedFd>, name: &str) -> Result<MapData, InstallError> {
    let fd = maps.get(name).ok_or_else(|| InstallError::Object(format!("no map {name}")))?;
    let fd = fd.try_clone().map_err(|source| InstallError::System { what: "cannot open a map", source })?;
    MapData::from_fd(fd).map_err(|source| InstallError::Map { name: name.into(), source })
}

/// Likewise, as one of its type.
pub(super) fn open(maps: &BTreeMap<String, OwnedFd>, name: &str) -> Result<Map, InstallError> {
    let data = open_data(maps, name)?;
    Map::from_map_data(data).map_err(|source| InstallError::Map { name: name.into(), source })
}
