//! How many connections of the proxy each client has.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::Client;

/// Clients with connections.
#[derive(Debug, Default)]
pub struct Clients {
    open: DashMap<Client, u32>,
}

impl Clients {
    /// A client has one more, unless it has `max`; 0: any number. Whether it has.
    pub fn enter(&self, client: Client, max: u32) -> bool {
        let mut open = self.open.entry(client).or_insert(0);
        let enters = max == 0 || *open < max;
        *open += u32::from(enters);
        enters
    }

    /// A client has one less.
    pub fn leave(&self, client: Client) {
        if let Entry::Occupied(mut open) = self.open.entry(client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    /// Shows how many each client has.
    pub fn for_each(&self, mut show: impl FnMut(Client, u32)) {
        self.open.iter().for_each(|open| show(*open.key(), *open.value()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let clients = Clients::default();
        assert!(clients.enter([0, 1], 2) && clients.enter([0, 1], 2));
        assert!(!clients.enter([0, 1], 2));
        assert!(clients.enter([0, 2], 2) && clients.enter([0, 1], 0));
        let mut shown = Vec::new();
        clients.for_each(|client, open| shown.push((client, open)));
        shown.sort_unstable();
        assert_eq!(shown, [([0, 1], 3), ([0, 2], 1)]);
        clients.leave([0, 1]);
        assert!(!clients.enter([0, 1], 2));
        clients.leave([0, 1]);
        assert!(clients.enter([0, 1], 2));
        for client in [[0, 1], [0, 1], [0, 2]] {
            clients.leave(client);
        }
        assert!(clients.open.is_empty());
    }
}
