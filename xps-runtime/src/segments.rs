//! What became of segments on the user path, counted by many threads without disturbing each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use xps_core::verdict::Reason;

use crate::latency::Latencies;

/// Slots of the counters: so many threads count without disturbing each other.
const SLOTS: usize = 8;

/// What became of segments, by reason; may be read at any time.
#[derive(Debug)]
pub struct SegmentCounts {
    slots: Vec<Slot>,
    /// How long it took.
    pub latencies: Latencies,
}

#[derive(Debug)]
#[repr(align(128))]
struct Slot([AtomicU64; Reason::COUNT]);

impl Default for SegmentCounts {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| Slot([const { AtomicU64::new(0) }; Reason::COUNT])).collect();
        Self { slots, latencies: Latencies::default() }
    }
}

impl SegmentCounts {
    /// All counts, in the order of [`Reason::ALL`].
    #[must_use]
    pub fn read(&self) -> [u64; Reason::COUNT] {
        std::array::from_fn(|i| self.slots.iter().map(|slot| slot.0[i].load(Ordering::Relaxed)).sum())
    }

    pub(crate) fn add(&self, reason: Reason, count: u64) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS;
        }
        OWN.with(|own| self.slots[*own].0[reason as usize].fetch_add(count, Ordering::Relaxed));
    }
}
