//! Numbers that rise over the restarts of a node, without a file: they are made of the time.
//!
//! An incarnation counts seconds since 1970, which 32 bits hold until 2106; a sequence begins at the nanoseconds since 1970, and
//! nobody sends a thousand million messages a second. Where the clock was set back since, peers take the node's messages for
//! repeated ones until it is past its old time: keep the clocks of a cluster's hosts in step, or at least going forward.

use heartbeat_fastpath::wire::{Incarnation, Sequence};

/// The first incarnation and sequence of a node that starts now, so many nanoseconds after 1970. `before` is the incarnation
/// that it is known to have had.
#[must_use]
pub fn first(real_ns: u64, before: Option<Incarnation>) -> (Incarnation, Sequence) {
    let seconds = (real_ns / 1_000_000_000).try_into().unwrap_or(u32::MAX);
    let after = before.map_or(0, |before| before.0.saturating_add(1));
    (Incarnation(after.max(seconds)), Sequence(real_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_rise() {
        let at = 1_800_000_000_000_000_000;
        assert_eq!(first(at, None), (Incarnation(1_800_000_000), Sequence(at)));
        assert_eq!(first(at, Some(Incarnation(5))).0, Incarnation(1_800_000_000));
        // It restarts within a second, or has contradicted often.
        assert_eq!(first(at, Some(Incarnation(1_800_000_003))).0, Incarnation(1_800_000_004));
    }
}
