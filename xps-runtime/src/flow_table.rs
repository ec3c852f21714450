//! The connections in the stack, as the agent sees them.

use std::collections::HashSet;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use xps_core::flow::{Flow, FlowKey};
use xps_core::splice::{Splice, flag};

use crate::control::State;

/// `BPF_F_LOCK`: the value is copied while its lock is held.
const LOCKED: u64 = 4;

/// Plain bytes of a `T`, for maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>(pub(crate) T);

// SAFETY: constructed by this crate only for ABI types, which are repr(C) and made of integers, and for the handler
// states whose provider has vouched for that (`FlowTable::of`).
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// The flow table of a service whose handler has the state `S`.
pub struct FlowTable<S: Copy + 'static> {
    map: HashMap<MapData, Plain<FlowKey>, Plain<Flow<S>>>,
    entries_max: usize,
    state: State,
}

/// Whether a connection is one through the accelerated port, which needs the programs: without them neither side would hear of
/// the other again, and the server's half would look like a connection older than the next agent's hooks.
#[must_use]
pub fn is_accelerated(splice: &Splice) -> bool {
    splice.has(flag::ACCELERATED)
}

impl<S: Copy + 'static> FlowTable<S> {
    /// # Safety
    /// Every bit pattern of its size must be a valid `S`.
    ///
    /// # Errors
    /// If the map has other sizes than `Flow<S>`.
    pub(crate) unsafe fn of(map: Map, state: State) -> Result<Self, MapError> {
        let map = HashMap::<MapData, Plain<FlowKey>, Plain<Flow<S>>>::try_from(map)?;
        let entries_max = aya::maps::IterableMap::map(&map).info()?.max_entries() as usize;
        Ok(Self { map, entries_max, state })
    }

    /// The keys of all flows. Flows that come or go meanwhile may be missing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn keys(&self) -> Result<Vec<FlowKey>, MapError> {
        let mut keys = HashSet::new();
        // A key that is removed while it is the cursor makes the kernel start again, hence the set and the bound.
        for key in self.map.keys().take(2 * self.entries_max + 16) {
            keys.insert(key?.0);
        }
        Ok(keys.into_iter().collect())
    }

    /// A flow, copied under its lock: its splice is consistent, its handler's state need not be.
    ///
    /// # Errors
    /// The kernel's, other than that there is none.
    pub fn get(&self, key: &FlowKey) -> Result<Option<Flow<S>>, MapError> {
        match self.map.get(&Plain(*key), LOCKED) {
            Ok(flow) => Ok(Some(flow.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls `each` for all flows.
    ///
    /// # Errors
    /// The kernel's.
    pub fn for_each(&self, mut each: impl FnMut(&FlowKey, &Flow<S>)) -> Result<(), MapError> {
        for key in self.keys()? {
            if let Some(flow) = self.get(&key)? {
                each(&key, &flow);
            }
        }
        Ok(())
    }

    /// Whether the programs must stay: a connection is open that `needs` them, e.g. since somebody must go on translating its
    /// numbers (S12).
    #[must_use]
    pub fn needs_programs(&self, needs: impl Fn(&Splice) -> bool) -> bool {
        let mut needed = false;
        let looked = self.for_each(|_, flow| {
            let ended = flow.splice.has(flag::CLIENT_FIN) && flow.splice.has(flag::SERVER_FIN);
            // Of a connection that the stack has ended the client must get the last words; then its own stack resets it.
            let closed = flow.splice.has(flag::CLOSED)
                && !(flow.splice.has(flag::FIN_SENT) && flow.splice.outstanding());
            let over = ended || closed || flow.splice.has(flag::RESET);
            needed |= needs(&flow.splice) && !over;
        });
        // What cannot be read may be needed.
        looked.is_err() || needed
    }

    /// Forgets a flow and counts it off. Whether it was there. Only for connections that have ended: one that lives would
    /// lose its translation.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&mut self, key: &FlowKey) -> Result<bool, MapError> {
        match self.map.remove(&Plain(*key)) {
            Ok(()) => {
                self.state.count_removed_flow();
                Ok(true)
            }
            Err(MapError::KeyNotFound) => Ok(false),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
