//! A map whose keys are addresses: 16 bytes, IPv4 as `::ffff:a.b.c.d`. It is kept equal to what it should hold while programs
//! read it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;

use aya::maps::{HashMap, Map, MapData, MapError};
use xps_core::packet::mapped;

use crate::flow_table::Plain;
use crate::install::InstallError;
use crate::lock::lock;

/// An address as programs look for it.
#[must_use]
pub fn key_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The map.
pub struct AddressTable<V: Copy + 'static> {
    name: &'static str,
    held: Mutex<Held<V>>,
}

struct Held<V: Copy + 'static> {
    map: HashMap<MapData, Plain<[u8; 16]>, Plain<V>>,
    /// What the map holds: nobody else writes to it.
    entries: BTreeMap<[u8; 16], V>,
}

impl<V: Copy + 'static> fmt::Debug for AddressTable<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<V: Copy + PartialEq + 'static> AddressTable<V> {
    /// The map `name`, with what an agent before has left in it.
    ///
    /// # Safety
    /// Every bit pattern of its size must be a valid `V`.
    ///
    /// # Errors
    /// If keys or values have another size.
    pub unsafe fn of(map: Map, name: &'static str) -> Result<Self, InstallError> {
        let refused = |source| InstallError::Map { name: name.into(), source };
        let map = HashMap::try_from(map).map_err(refused)?;
        let entries = map.iter().map(|entry| entry.map(|(Plain(key), Plain(value))| (key, value)));
        let entries = entries.collect::<Result<_, _>>().map_err(refused)?;
        Ok(Self { name, held: Mutex::new(Held { map, entries }) })
    }

    /// Makes the map hold these and nothing else. What is not wanted goes first, so that there is room. How many there was no
    /// room for.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set(&self, wanted: &BTreeMap<[u8; 16], V>) -> Result<usize, MapError> {
        let Held { map, entries } = &mut *lock(&self.held);
        let unwanted: Vec<_> = entries.keys().filter(|key| !wanted.contains_key(*key)).copied().collect();
        for key in unwanted {
            match map.remove(&Plain(key)) {
                Err(error) if errno(&error) == Some(libc::ENOENT) => {}
                other => other?,
            }
            entries.remove(&key);
        }
        let mut left_out = 0;
        for (key, value) in wanted {
            if entries.get(key) == Some(value) {
                continue;
            }
            match map.insert(Plain(*key), Plain(*value), 0) {
                Err(error) if errno(&error) == Some(libc::E2BIG) => left_out += 1,
                other => {
                    other?;
                    entries.insert(*key, *value);
                }
            }
        }
        Ok(left_out)
    }
}

/// The number of a refused system call.
fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_have_keys() {
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(key_of([10, 0, 0, 1].into()), mapped([10, 0, 0, 1]));
        assert_eq!((key_of(v6)[0], key_of(v6)[15]), (0xfd, 1));
    }
}
