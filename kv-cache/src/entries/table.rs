//! The entries: where each lies, which one makes room for another, when bytes may be used again.
//!
//! Pages are dealt out to size classes, in steps of 8 bytes; a page of a class is divided into slots of its size. An
//! entry that is removed leaves its slot in quarantine for [`QUARANTINE_MS`], since a program may still be reading it.
//! When all slots of a class are taken, CLOCK over the class picks a victim, and the candidate must have been asked for
//! more often than it. A page whose slots are all free again goes back to the pool; a class without pages may empty
//! another's page.
//!
//! Pure: time enters as an argument, the maps are behind [`Store`].

use std::collections::{HashMap, VecDeque};

use kv_fastpath::abi::{ENTRY_BYTES_MAX, EntryHead, Location, PAGE_BYTES, QUARANTINE_MS};

use crate::entries::sketch::Sketch;

mod hits;

pub use hits::Heat;

/// Where entries are kept: the maps, or memory in tests.
pub trait Store {
    /// How many hits an entry had since this was asked last; counts up to some limit.
    fn take_hits(&mut self, id: u64) -> u16;
    /// Makes an entry visible to the programs. Whether that worked.
    fn publish(&mut self, id: u64, location: Location) -> bool;
    /// Makes an entry invisible.
    fn withdraw(&mut self, id: u64);
    /// Writes an entry's bytes where no program looks.
    fn write(&mut self, location: Location, head: &EntryHead, key: &[u8], reply: &[u8]);
    /// Removes all entries, also those that this process did not make.
    fn clear(&mut self);
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is an entry now.
    Admitted,
    /// Every possible victim is asked for as often.
    NotFrequent,
    /// It does not fit an entry.
    TooLarge,
    /// All bytes are in use or in quarantine, or the index is full; later, perhaps.
    NoRoom,
}

/// Steps of the CLOCK hand for one admission: bounds its time.
const STEPS_MAX: usize = 32;

/// Unit of sizes and offsets, in bytes.
const WORD: usize = 8;

/// Last offset at which an entry may start.
const START_MAX: usize = PAGE_BYTES - ENTRY_BYTES_MAX;

/// Number of size classes, indexed by words; 0 is not used.
const CLASSES: usize = ENTRY_BYTES_MAX / WORD + 1;

/// A slot's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Quarantined,
    Live { id: u64, deadline: u64, versions: (u64, u64) },
}

#[derive(Debug, Default)]
struct Page {
    class: usize,
    slots: Vec<Slot>,
    /// Slots that are not free.
    used: usize,
}

#[derive(Debug, Default)]
struct Class {
    pages: Vec<u32>,
    free: Vec<(u32, u16)>,
    hand: (usize, usize),
}

/// The table's content.
#[derive(Debug)]
pub struct Table {
    pages: Vec<Page>,
    pool: Vec<u32>,
    classes: Vec<Class>,
    live: HashMap<u64, (u32, u16)>,
    /// Freed slots with the time from which they may be used, in milliseconds.
    quarantine: VecDeque<(u64, u32, u16)>,
    entries_max: usize,
    bytes: usize,
    page_hand: usize,
    sweep_hand: usize,
    /// Nothing is written before, in milliseconds: programs may still read a former agent's entries.
    usable_from: u64,
    sketch: Sketch,
    removed: Removed,
    /// Programs that ran before this time have ended, in milliseconds.
    quiet_from: u64,
}

/// How many entries were removed so far, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// They made room for others.
    pub evicted: u64,
    /// Their time was over.
    pub expired: u64,
}

/// Bytes that an entry takes.
#[must_use]
pub fn entry_bytes(key_len: usize, reply_len: usize) -> usize {
    size_of::<EntryHead>() + key_len.next_multiple_of(WORD) + reply_len.next_multiple_of(WORD)
}

impl Table {
    /// An empty table of `pages` pages and at most `entries_max` entries. It takes no entry until a former agent's have
    /// been left alone long enough, which is counted from `now_ms`.
    #[must_use]
    pub fn new(pages: u32, entries_max: usize, now_ms: u64) -> Self {
        Self {
            pages: (0..pages).map(|_| Page::default()).collect(),
            pool: (0..pages).rev().collect(),
            classes: (0..CLASSES).map(|_| Class::default()).collect(),
            live: HashMap::new(),
            quarantine: VecDeque::new(),
            entries_max,
            bytes: 0,
            page_hand: 0,
            sweep_hand: 0,
            usable_from: now_ms + QUARANTINE_MS,
            sketch: Sketch::new(entries_max),
            removed: Removed::default(),
            quiet_from: u64::MAX,
        }
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many entries were removed so far.
    #[must_use]
    pub const fn removed(&self) -> Removed {
        self.removed
    }

    /// Bytes of the slots that entries take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all pages.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES
    }

    /// Counts a request for `id` that stands for `weight` requests.
    pub fn asked(&mut self, id: u64, weight: u32) {
        self.sketch.add(id, weight);
    }

    /// Whether there is an entry `id`.
    #[must_use]
    pub fn contains(&self, id: u64) -> bool {
        self.live.contains_key(&id)
    }

    /// Whether there is an entry `id` of these versions of its bucket and of the global one, whose deadline is ahead.
    #[must_use]
    pub fn valid(&self, id: u64, of: (u64, u64), now_tai_ns: u64) -> bool {
        self.live.get(&id).is_some_and(|(page, slot)| {
            match self.pages[*page as usize].slots[usize::from(*slot)] {
                Slot::Live { deadline, versions, .. } => versions == of && deadline > now_tai_ns,
                _ => false,
            }
        })
    }

    /// Whether a key would be fetched in vain: there is no room, and it was hardly asked for.
    #[must_use]
    pub fn hopeless(&self, id: u64) -> bool {
        let full = self.pool.is_empty() || self.live.len() >= self.entries_max;
        full && !self.contains(id) && self.sketch.estimate(id) < 2
    }

    /// Puts an entry in, in place of one with the same id if there is one.
    pub fn insert(
        &mut self,
        store: &mut impl Store,
        now_ms: u64,
        head: &EntryHead,
        key: &[u8],
        reply: &[u8],
    ) -> Admission {
        let bytes = entry_bytes(key.len(), reply.len());
        if bytes > ENTRY_BYTES_MAX {
            return Admission::TooLarge;
        }
        if now_ms < self.usable_from {
            return Admission::NoRoom;
        }
        self.release_quarantine(now_ms);
        let class = bytes / WORD;
        let replaced = self.live.contains_key(&head.id);
        if !replaced && self.live.len() >= self.entries_max {
            // The index is full: a victim of any class will do, but the slot that it leaves serves only its own class.
            let victim_class =
                if self.classes[class].pages.is_empty() { self.some_used_class() } else { Some(class) };
            match victim_class.and_then(|class| self.victim(store, class)) {
                Some(victim) if self.beats(head.id, victim) => self.evict(store, now_ms, victim),
                _ => return Admission::NotFrequent,
            }
        }
        let Some((page, slot)) = self.slot(class) else {
            if replaced {
                // Stale in any case: its version has changed, or it would not be filled again.
                self.remove(store, now_ms, head.id);
            }
            return self.make_room(store, now_ms, class, head.id);
        };
        self.remove(store, now_ms, head.id);
        let offset = usize::from(slot) * class * WORD;
        let location = Location { page, offset_words: (offset / WORD) as u16, hits: 0 };
        let room = class * WORD - size_of::<EntryHead>() - key.len().next_multiple_of(WORD);
        let head = &EntryHead { reply_room: room as u16, ..*head };
        store.write(location, head, key, reply);
        if !store.publish(head.id, location) {
            self.classes[class].free.push((page, slot));
            return Admission::NoRoom;
        }
        let versions = (head.bucket, head.global);
        let live = Slot::Live { id: head.id, deadline: head.deadline_tai_ns, versions };
        self.pages[page as usize].slots[usize::from(slot)] = live;
        self.pages[page as usize].used += 1;
        self.live.insert(head.id, (page, slot));
        self.bytes += class * WORD;
        Admission::Admitted
    }

    /// Removes an entry, if it is there.
    pub fn remove(&mut self, store: &mut impl Store, now_ms: u64, id: u64) {
        let Some((page, slot)) = self.live.remove(&id) else { return };
        store.withdraw(id);
        let owner = &mut self.pages[page as usize];
        owner.slots[usize::from(slot)] = Slot::Quarantined;
        self.bytes -= owner.class * WORD;
        self.quarantine.push_back((now_ms + QUARANTINE_MS, page, slot));
    }

    fn evict(&mut self, store: &mut impl Store, now_ms: u64, id: u64) {
        self.removed.evicted += 1;
        self.remove(store, now_ms, id);
    }

    /// Removes all entries.
    pub fn clear(&mut self, store: &mut impl Store, now_ms: u64) {
        let ids: Vec<u64> = self.live.keys().copied().collect();
        for id in ids {
            self.remove(store, now_ms, id);
        }
        store.clear();
    }

    /// Removes entries whose deadline has passed, looking at up to `pages` pages, and gives back slots whose quarantine is
    /// over. To be called about once a second.
    pub fn sweep(&mut self, store: &mut impl Store, now_ms: u64, now_tai_ns: u64, pages: usize) {
        for _ in 0..pages.min(self.pages.len()) {
            let page = self.sweep_hand % self.pages.len();
            self.sweep_hand = page + 1;
            let late: Vec<u64> = self.pages[page]
                .slots
                .iter()
                .filter_map(|slot| match slot {
                    Slot::Live { id, deadline, .. } if *deadline <= now_tai_ns => Some(*id),
                    _ => None,
                })
                .collect();
            for id in late {
                self.removed.expired += 1;
                self.remove(store, now_ms, id);
            }
        }
        self.release_quarantine(now_ms);
    }

    /// All programs have ended that ran before `before_ms`: bytes of entries that were removed by then are read and written
    /// by none of them any more. Until this is told once, [`QUARANTINE_MS`] alone decides.
    pub fn programs_ended(&mut self, before_ms: u64) {
        self.quiet_from = before_ms;
    }

    fn release_quarantine(&mut self, now_ms: u64) {
        while let Some((from, page, slot)) = self.quarantine.front().copied() {
            if from > now_ms || from - QUARANTINE_MS >= self.quiet_from {
                break;
            }
            self.quarantine.pop_front();
            let owner = &mut self.pages[page as usize];
            owner.slots[usize::from(slot)] = Slot::Free;
            owner.used -= 1;
            let class = &mut self.classes[owner.class];
            if owner.used == 0 {
                class.pages.retain(|own| *own != page);
                class.free.retain(|(own, _)| *own != page);
                owner.slots.clear();
                self.pool.push(page);
            } else {
                class.free.push((page, slot));
            }
        }
    }

    /// A free slot of the class, on a new page if need be.
    fn slot(&mut self, class: usize) -> Option<(u32, u16)> {
        if let Some(free) = self.classes[class].free.pop() {
            return Some(free);
        }
        let page = self.pool.pop()?;
        let slots = START_MAX / (class * WORD) + 1;
        self.pages[page as usize] = Page { class, slots: vec![Slot::Free; slots], used: 0 };
        self.classes[class].pages.push(page);
        self.classes[class].free.extend((0..slots as u16).rev().map(|slot| (page, slot)));
        self.classes[class].free.pop()
    }

    fn beats(&self, candidate: u64, victim: u64) -> bool {
        self.sketch.estimate(candidate) > self.sketch.estimate(victim)
    }

    /// Frees a slot of the class for later, since bytes in quarantine cannot be used at once.
    fn make_room(&mut self, store: &mut impl Store, now_ms: u64, class: usize, candidate: u64) -> Admission {
        if let Some(victim) = self.victim(store, class) {
            if !self.beats(candidate, victim) {
                return Admission::NotFrequent;
            }
            self.evict(store, now_ms, victim);
        } else if self.classes[class].pages.is_empty() && self.quarantine.is_empty() {
            // A class that came too late for a page: empty another's, one at a time.
            self.page_hand = (self.page_hand + 1) % self.pages.len().max(1);
            let ids: Vec<u64> = self.pages.get(self.page_hand).map_or(Vec::new(), |page| {
                page.slots
                    .iter()
                    .filter_map(|slot| if let Slot::Live { id, .. } = slot { Some(*id) } else { None })
                    .collect()
            });
            for id in ids {
                self.evict(store, now_ms, id);
            }
        }
        Admission::NoRoom
    }

    fn some_used_class(&mut self) -> Option<usize> {
        let count = self.pages.len().max(1);
        (0..count).map(|i| (self.page_hand + i) % count).find(|page| self.pages[*page].used > 0).map(|page| {
            self.page_hand = page + 1;
            self.pages[page].class
        })
    }

    /// The first entry of the class behind the hand that had no hit since the hand came by; after too many steps the one
    /// that was asked for least.
    fn victim(&mut self, store: &mut impl Store, class: usize) -> Option<u64> {
        let pages = self.classes[class].pages.clone();
        if pages.is_empty() {
            return None;
        }
        let mut least: Option<(u8, u64)> = None;
        let (mut page, mut slot) = self.classes[class].hand;
        let mut looked = 0;
        let slots = START_MAX / (class * WORD) + 1;
        for _ in 0..pages.len() * slots {
            slot += 1;
            if page >= pages.len() || slot >= slots {
                (page, slot) = ((page + 1) % pages.len(), 0);
            }
            let Slot::Live { id, .. } = self.pages[pages[page] as usize].slots[slot] else { continue };
            let recent = store.take_hits(id);
            if recent > 0 {
                self.sketch.add(id, u32::from(recent));
            }
            let estimate = self.sketch.estimate(id);
            if least.is_none_or(|(lowest, _)| estimate < lowest) {
                least = Some((estimate, id));
            }
            looked += 1;
            if recent == 0 && estimate <= 1 || looked >= STEPS_MAX {
                break;
            }
        }
        self.classes[class].hand = (page, slot);
        least.map(|(_, id)| id)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
