//! Clients that are blocked, as they are asked for before the stack has made anything of their packets
//! ([`xps_core::path::arrival`]).

use xps_core::path::arrival::Blocks;

use crate::guard::{HttpGuard, Tables};
use crate::judge;

impl<T: Tables> Blocks for HttpGuard<T> {
    #[inline(always)]
    fn any(&self) -> bool {
        // SAFETY: a word of a map's value, aligned.
        self.tables.settings().is_some_and(|all| unsafe { (&raw const (*all).blocking).read_volatile() } != 0)
    }

    #[inline(always)]
    fn blocked(&self, client: &[u8; 16]) -> bool {
        let Some(settings) = self.tables.settings() else { return false };
        // SAFETY: likewise.
        let ipv6_prefix = unsafe { (&raw const (*settings).ipv6_prefix).read_volatile() };
        self.tables.is_blocked(&judge::prefix(client, ipv6_prefix))
    }
}

#[cfg(test)]
mod tests {
    use xps_core::packet::mapped;

    use super::*;
    use crate::host::world::World;

    #[test]
    fn a_client_is_its_address_or_its_prefix_for_a_time() {
        let world = World::new();
        let guard = HttpGuard { tables: &world };
        let v6 = |fourth: u8, last: u8| [0xfd, 0, 0, 0, 0, 0, 0, fourth, 0, 0, 0, 0, 0, 0, 0, last];
        assert!(!guard.any() && !guard.blocked(&mapped([10, 0, 0, 1])));
        for client in [mapped([10, 0, 0, 1]), v6(7, 1)] {
            assert!(guard.tables.block(judge::prefix(&client, 64), 1_000));
        }
        assert!(guard.any());
        assert!(guard.blocked(&mapped([10, 0, 0, 1])) && !guard.blocked(&mapped([10, 0, 0, 2])));
        assert!(guard.blocked(&v6(7, 2)) && !guard.blocked(&v6(8, 1)));
        world.now_ns.set(world.now_ns.get() + 1_000);
        assert!(!guard.blocked(&mapped([10, 0, 0, 1])) && !guard.blocked(&v6(7, 1)));
    }
}
