//! How many hits entries had, for reports: page by page, so that nobody waits long for the table.

use kv_fastpath::abi::Location;

use super::{Slot, Store, Table, WORD};

/// An entry and its hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heat {
    /// Hash of database and key.
    pub id: u64,
    /// Where it lies.
    pub location: Location,
    /// Hits since they were taken last; at [`kv_fastpath::abi::HITS_MAX`] the programs stop counting.
    pub hits: u16,
    /// Bytes that it takes.
    pub bytes: usize,
    /// Until when it may be served, `CLOCK_TAI` in nanoseconds.
    pub deadline_tai_ns: u64,
}

impl Table {
    /// Number of pages.
    #[must_use]
    pub const fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Where an entry lies.
    #[must_use]
    pub fn location(&self, id: u64) -> Option<Location> {
        let (page, slot) = *self.live.get(&id)?;
        let class = self.pages[page as usize].class;
        Some(Location { page, offset_words: (usize::from(slot) * class) as u16, hits: 0 })
    }

    /// Takes the hits of an entry: counted from zero again, and known to eviction. `None` if there is no such entry.
    pub fn take_hits(&mut self, store: &mut impl Store, id: u64) -> Option<u16> {
        self.live.get(&id)?;
        let hits = store.take_hits(id);
        if hits > 0 {
            self.sketch.add(id, u32::from(hits));
        }
        Some(hits)
    }

    /// Takes the hits of all entries of a page; those that had none are left out.
    pub fn take_page_hits(&mut self, store: &mut impl Store, page: usize) -> Vec<Heat> {
        let Some(owner) = self.pages.get(page) else { return Vec::new() };
        let bytes = owner.class * WORD;
        let live = owner.slots.iter().filter_map(|slot| match slot {
            Slot::Live { id, deadline, .. } => Some((*id, *deadline)),
            _ => None,
        });
        let live: Vec<_> = live.collect();
        let mut heats = Vec::new();
        for (id, deadline_tai_ns) in live {
            if let (Some(hits @ 1..), Some(location)) = (self.take_hits(store, id), self.location(id)) {
                heats.push(Heat { id, location, hits, bytes, deadline_tai_ns });
            }
        }
        heats
    }
}
