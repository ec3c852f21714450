//! The programs at tcx ingress, which go on in one another by tail calls.
//!
//! Their table belongs to the programs that were loaded with it, since working memory does, too: each agent makes its own. The
//! kernel empties such a table when no file and no pin of it is left, so it is pinned under a name of its own before an
//! interface gets its programs, and those of agents before are removed when no interface has their programs any more. At each
//! moment an interface has programs that are of one make, whatever dies when.

use aya::Ebpf;
use aya::maps::{MapError, ProgramArray};
use aya::programs::SchedClassifier;

use super::load::{Loaded, load_program};
use super::{InstallError, Maps};
use crate::pins::Pins;
use crate::table;

use xps_core::abi::map;
use xps_core::path::Stage;

/// First part of the name of a table's pin; behind it stands the map's identifier.
const PREFIX: &str = "STAGES-";

/// Loads the programs, that which is attached first, and fills their table.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<Vec<Loaded>, InstallError> {
    let mut loaded = Vec::new();
    for stage in Stage::ALL {
        let name = stage.program();
        loaded.push(load_program(ebpf, name)?);
        let failed = |error: aya::programs::ProgramError| InstallError::Load {
            what: name.into(),
            source: error.into(),
        };
        let program = ebpf.program(name).ok_or_else(|| InstallError::Object(format!("no program {name}")))?;
        let program: &SchedClassifier = program.try_into().map_err(failed)?;
        let fd = program.fd().map_err(failed)?.try_clone();
        let fd = fd.map_err(|source| InstallError::System { what: "cannot keep a program", source })?;
        let missing = || InstallError::Object(format!("no map {}", map::STAGES));
        let table = ebpf.map_mut(map::STAGES).ok_or_else(missing)?;
        ProgramArray::try_from(table)
            .and_then(|mut table| table.set(stage as u32, &fd, 0))
            .map_err(refused)?;
    }
    Ok(loaded)
}

/// Pins the table, so that its programs work on without an agent. Its pin's name.
pub(super) fn pin(pins: &Pins, maps: &Maps) -> Result<String, InstallError> {
    let opened = maps.open(map::STAGES)?;
    let data =
        table::data_of(&opened).ok_or_else(|| InstallError::Object(format!("no map {}", map::STAGES)))?;
    let name = format!("{PREFIX}{}", data.info().map_err(refused)?.id());
    let path = pins.directory().join(&name);
    // An identifier is given out once, until the machine starts anew, and then nothing is pinned.
    data.pin(&path)
        .map_err(|error| InstallError::PinDirectory { path, source: std::io::Error::other(error) })?;
    Ok(name)
}

/// Removes the pins of tables whose programs are at no interface any more: all but this.
pub(super) fn drop_others(pins: &Pins, name: &str) {
    for entry in std::fs::read_dir(pins.directory()).into_iter().flatten().flatten() {
        let other = entry.file_name();
        if other.as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && other != name
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(%error, "cannot remove a pin");
        }
    }
}

fn refused(source: MapError) -> InstallError {
    InstallError::Map { name: map::STAGES.into(), source }
}
