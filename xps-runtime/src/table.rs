//! The small tables that the agent writes and the programs only read: ports, predicates, devices.

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use xps_core::abi::{self, map};
use xps_core::predicate::{PREDICATES_MAX, Predicate};

use crate::flow_table::Plain;
use crate::install::InstallError;
use crate::mapping::Mapping;
use crate::plan::DevicePlan;

/// Number of TCP ports.
const PORTS: usize = 1 << 16;

/// Writes `PREDICATES`, then `PORTS`: a port must not lead to a predicate that is not there yet.
pub(crate) fn fill_predicates(ports: &Map, table: Map, predicates: &[Predicate]) -> Result<(), InstallError> {
    if predicates.len() >= PREDICATES_MAX as usize {
        return Err(InstallError::Object(format!("{} predicates; at most 15", predicates.len())));
    }
    let bad = |source| InstallError::Map { name: map::PREDICATES.into(), source };
    let mut table = Array::<MapData, Plain<Predicate>>::try_from(table).map_err(bad)?;
    let memory = Mapping::of(ports)?;
    if memory.bytes() < PORTS {
        return Err(InstallError::Object(format!(
            "map {} has {} bytes, not {PORTS}",
            map::PORTS,
            memory.bytes()
        )));
    }
    for (i, predicate) in predicates.iter().enumerate() {
        table.set(i as u32 + 1, Plain(*predicate), 0).map_err(bad)?;
    }
    let index = index_of_ports(predicates)?;
    memory.write(0, &index);
    Ok(())
}

/// The value of `PORTS`: for each port the index of its predicate, 0 for none.
fn index_of_ports(predicates: &[Predicate]) -> Result<Vec<u8>, InstallError> {
    let mut index = vec![0u8; PORTS];
    for (i, predicate) in predicates.iter().enumerate() {
        let ports = [predicate.plain_port, predicate.accelerated_port];
        if predicate.plain_port == 0 {
            return Err(InstallError::Object(format!("ports {ports:?} of a predicate: the plain port is 0")));
        }
        // In place both are one.
        let distinct = if predicate.in_place() { 1 } else { 2 };
        for port in ports.into_iter().take(distinct).filter(|&port| port != 0) {
            if std::mem::replace(&mut index[usize::from(port)], i as u8 + 1) != 0 {
                return Err(InstallError::Object(format!("port {port} belongs to two predicates")));
            }
        }
    }
    Ok(index)
}

fn devices(map: Map) -> Result<HashMap<MapData, u32, Plain<abi::Device>>, InstallError> {
    HashMap::try_from(map).map_err(|source| InstallError::Map { name: map::DEVICES.into(), source })
}

/// Writes how replies leave through an interface.
pub(crate) fn set_device(map: Map, device: &DevicePlan) -> Result<(), InstallError> {
    let value = abi::Device { redirect: device.redirect as u32, mtu: device.mtu, vrf: device.vrf };
    let written = devices(map)?.insert(device.ifindex, Plain(value), 0);
    written.map_err(|source| InstallError::Map { name: map::DEVICES.into(), source })
}

/// Forgets an interface; that it is not there is no error.
pub(crate) fn remove_device(map: Map, ifindex: u32) -> Result<(), InstallError> {
    match devices(map)?.remove(&ifindex) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(source) => Err(InstallError::Map { name: map::DEVICES.into(), source }),
    }
}

/// Forgets all interfaces but these.
pub(crate) fn retain_devices(map: Map, kept: &[u32]) -> Result<(), InstallError> {
    let mut devices = devices(map)?;
    let others: Vec<u32> = devices.keys().filter_map(Result::ok).filter(|key| !kept.contains(key)).collect();
    for ifindex in others {
        // The agent alone writes this map, so what was listed is there.
        devices.remove(&ifindex).map_err(|source| InstallError::Map { name: map::DEVICES.into(), source })?;
    }
    Ok(())
}

/// The data behind the kinds of maps that services use.
pub(crate) const fn data_of(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::LpmTrie(data)
        | Map::SockHash(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predicate(accelerated_port: u16, plain_port: u16) -> Predicate {
        Predicate { accelerated_port, plain_port, ..Predicate::default() }
    }

    #[test]
    fn ports_lead_to_their_predicates() {
        let index = index_of_ports(&[predicate(6380, 6379), predicate(0, 80)]).unwrap();
        assert_eq!([index[6379], index[6380], index[80], index[0], index[81]], [1, 1, 2, 0, 0]);
    }

    #[test]
    fn clashing_ports_are_refused() {
        for predicates in [vec![predicate(1, 2), predicate(3, 1)], vec![predicate(5, 0)]] {
            assert!(index_of_ports(&predicates).is_err(), "{predicates:?}");
        }
    }
}
