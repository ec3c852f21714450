//! How many connections each client has.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// Clients with connections, by address or prefix.
#[derive(Debug, Default)]
pub(super) struct Clients {
    open: DashMap<[u64; 2], u32>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    clients: Arc<Clients>,
    client: [u64; 2],
}

impl Clients {
    /// A place for another connection of a client that may have `max`; 0: any number.
    pub(super) fn enter(self: &Arc<Self>, client: [u64; 2], max: u32) -> Option<Place> {
        let mut open = self.open.entry(client).or_insert(0);
        if max != 0 && *open >= max {
            return None;
        }
        *open += 1;
        drop(open);
        Some(Place { clients: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.clients.open.entry(self.client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let clients = Arc::<Clients>::default();
        let first = clients.enter([0, 1], 2).unwrap();
        let second = clients.enter([0, 1], 2).unwrap();
        assert!(clients.enter([0, 1], 2).is_none());
        assert!(clients.enter([0, 2], 2).is_some() && clients.enter([0, 1], 0).is_some());
        drop(first);
        assert!(clients.enter([0, 1], 2).is_some());
        drop(second);
        assert!(clients.open.is_empty());
    }
}
