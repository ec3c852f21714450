//! How many connections each client has, in the stack and through the proxy, kept true.
//!
//! The programs count a connection when it comes and when it goes. Of one that vanishes without a word they do not hear: its
//! flow is the agent's to remove, and what it counted for, too. An agent that was killed has counted off none of its proxy's.
//! But a number that programs change at the same time cannot be changed from here by one. So flows and the proxy's connections
//! are counted, and a number that is wrong twice in the same way is written anew.

use std::collections::{BTreeMap, HashMap};

use aya::maps::{HashMap as Map, MapData, MapError};

use crate::path::ledger::Client;

/// The programs' counts.
pub struct Connected {
    map: Map<MapData, Client, u64>,
    /// Counts that were not true when they were compared last: the count, and how many connections there were.
    wrong: HashMap<Client, (u64, u64)>,
}

impl Connected {
    /// The counts in this map.
    #[must_use]
    pub fn new(map: Map<MapData, Client, u64>) -> Self {
        Self { map, wrong: HashMap::new() }
    }

    /// Compares the counts with the connections that there are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn compare(&mut self, open: &BTreeMap<Client, u64>) -> Result<(), MapError> {
        let mut wrong = HashMap::new();
        for client in self.map.keys().collect::<Result<Vec<_>, _>>()? {
            let counted = match self.map.get(&client, 0) {
                Ok(counted) => counted,
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(error),
            };
            let real = open.get(&client).copied().unwrap_or_default();
            // Who has none is forgotten the same way: the table has room for those who have.
            if counted == real && real != 0 {
                continue;
            }
            if self.wrong.get(&client) != Some(&(counted, real)) {
                wrong.insert(client, (counted, real));
            } else if real == 0 {
                self.map.remove(&client)?;
            } else {
                self.map.insert(client, real, 0)?;
            }
        }
        self.wrong = wrong;
        Ok(())
    }
}
