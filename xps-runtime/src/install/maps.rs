//! The maps of an installation, by their names.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData};

use super::InstallError;
use crate::mapping::Mapping;
use crate::pins::{Shape, memory_of};
use crate::table;

/// The maps of an installation.
#[derive(Debug)]
pub struct Maps(BTreeMap<String, OwnedFd>);

impl Maps {
    /// All maps of an object.
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, InstallError> {
        let mut maps = BTreeMap::new();
        for (name, map) in ebpf.maps() {
            if let Some(data) = table::data_of(map) {
                let fd = data.fd().as_fd().try_clone_to_owned();
                let fd = fd.map_err(|source| InstallError::System { what: "cannot keep a map", source })?;
                maps.insert(name.to_owned(), fd);
            }
        }
        Ok(Self(maps))
    }

    /// A new handle to a map, owned by the caller; typed maps of `aya` are made from it by `try_into`.
    ///
    /// # Errors
    /// If there is no such map.
    pub fn open(&self, name: &str) -> Result<Map, InstallError> {
        let data = self.data(name)?;
        Map::from_map_data(data).map_err(|source| InstallError::Map { name: name.into(), source })
    }

    /// An array map as memory.
    ///
    /// # Errors
    /// If there is no such map, or it was not created as mappable.
    pub fn mapping(&self, name: &str) -> Result<Mapping, InstallError> {
        Ok(Mapping::of(&self.open(name)?)?)
    }

    /// Type and sizes of a map, as the kernel has it.
    ///
    /// # Errors
    /// If there is no such map.
    pub fn shape(&self, name: &str) -> Result<Shape, InstallError> {
        let data = self.data(name)?;
        Shape::of_map(name, &data).map_err(|source| InstallError::Map { name: name.into(), source })
    }

    /// Memory that each map takes now, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(name, fd)| (name.clone(), memory_of(fd.as_fd()))).collect()
    }

    fn data(&self, name: &str) -> Result<MapData, InstallError> {
        let fd = self.0.get(name).ok_or_else(|| InstallError::Object(format!("no map {name}")))?;
        let fd =
            fd.try_clone().map_err(|source| InstallError::System { what: "cannot open a map", source })?;
        MapData::from_fd(fd).map_err(|source| InstallError::Map { name: name.into(), source })
    }
}
