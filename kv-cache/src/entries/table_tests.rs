//! The table against a store that remembers every byte's owner.

use super::*;
use proptest::prelude::*;

#[derive(Default)]
struct Memory {
    index: HashMap<u64, Location>,
    /// Owner and length by place, for entries that programs could still read.
    readable: HashMap<(u32, usize), (u64, usize, u64)>,
    now_ms: u64,
    hits: HashMap<u64, u16>,
}

impl Store for Memory {
    fn take_hits(&mut self, id: u64) -> u16 {
        self.hits.remove(&id).unwrap_or(0)
    }
    fn publish(&mut self, id: u64, location: Location) -> bool {
        self.index.insert(id, location);
        true
    }
    fn withdraw(&mut self, id: u64) {
        let location = self.index.remove(&id).expect("only what is there is withdrawn");
        let place = (location.page, usize::from(location.offset_words) * WORD);
        self.readable.get_mut(&place).expect("it was written").2 = self.now_ms + QUARANTINE_MS;
    }
    fn write(&mut self, location: Location, head: &EntryHead, key: &[u8], reply: &[u8]) {
        let start = usize::from(location.offset_words) * WORD;
        let len = entry_bytes(key.len(), reply.len());
        assert!(start <= START_MAX, "an entry starts where the programs may look");
        self.readable.retain(|_, (_, _, until)| *until > self.now_ms);
        for ((page, other), (_, other_len, _)) in &self.readable {
            let apart = *page != location.page || start + len <= *other || other + other_len <= start;
            assert!(apart, "no byte is written that a program may read");
        }
        self.readable.insert((location.page, start), (head.id, len, u64::MAX));
    }
    fn clear(&mut self) {
        assert!(self.index.is_empty());
    }
}

fn head(id: u64) -> EntryHead {
    EntryHead { id, deadline_tai_ns: u64::MAX, ..EntryHead::default() }
}

#[test]
fn nothing_is_written_before_a_former_agents_entries_are_forgotten() {
    let mut store = Memory::default();
    let mut table = Table::new(4, 100, 5_000);
    assert_eq!(table.insert(&mut store, 5_500, &head(1), b"k", b"r"), Admission::NoRoom);
    assert_eq!(table.insert(&mut store, 6_000, &head(1), b"k", b"r"), Admission::Admitted);
}

#[test]
fn late_entries_are_swept() {
    let mut store = Memory { now_ms: 1_000, ..Memory::default() };
    let mut table = Table::new(4, 100, 0);
    table.insert(&mut store, 1_000, &EntryHead { deadline_tai_ns: 50, ..head(1) }, b"k", b"r");
    table.insert(&mut store, 1_000, &head(2), b"k", b"r");
    table.sweep(&mut store, 1_001, 49, 4);
    assert_eq!(table.len(), 2);
    table.sweep(&mut store, 1_002, 50, 4);
    assert_eq!(table.removed(), Removed { expired: 1, evicted: 0 });
    assert_eq!(table.len(), 1);
    assert!(table.contains(2));
}

#[test]
fn a_frequent_key_takes_the_place_of_a_rare_one() {
    let mut store = Memory { now_ms: 1_000, ..Memory::default() };
    let mut table = Table::new(1, 1_000_000, 0);
    let reply = [0; 100];
    let id = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut entries = 0;
    while table.insert(&mut store, 1_000, &head(id(entries)), b"key", &reply) == Admission::Admitted {
        table.asked(id(entries), 1);
        entries += 1;
    }
    assert!(entries > 100);
    assert_eq!(table.insert(&mut store, 1_000, &head(id(9_999)), b"key", &reply), Admission::NotFrequent);
    for _ in 0..10 {
        table.asked(id(9_999), 1);
    }
    assert_eq!(table.insert(&mut store, 1_000, &head(id(9_999)), b"key", &reply), Admission::NoRoom);
    store.now_ms = 2_000;
    assert_eq!(table.insert(&mut store, 2_000, &head(id(9_999)), b"key", &reply), Admission::Admitted);
}

#[test]
fn another_size_gets_room_in_time() {
    let mut table = Table::new(2, 1_000_000, 0);
    let mut store = Memory { now_ms: 1_000, ..Memory::default() };
    for id in 1..2_000_u64 {
        table.insert(&mut store, 1_000, &head(id << 32 | id), b"key", &[0; 64]);
    }
    let admitted = (1..20).any(|round| {
        store.now_ms = 1_000 + round * 600;
        let now = store.now_ms;
        table.insert(&mut store, now, &head(77), b"key", &[0; 900]) == Admission::Admitted
    });
    assert!(admitted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn entries_never_overlap_and_the_budget_is_kept(
        steps in proptest::collection::vec((0u64..60, 0usize..250, 0usize..1500, 0u64..400, 0u8..10), 1..400),
        pages in 1u32..6,
        entries_max in 1usize..80,
    ) {
        let mut store = Memory { now_ms: 1_000, ..Memory::default() };
        let mut table = Table::new(pages, entries_max, 0);
        for (id, key, reply, wait, what) in steps {
            store.now_ms += wait;
            let now = store.now_ms;
            let id = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            match what {
                0 => table.remove(&mut store, now, id),
                1 => table.sweep(&mut store, now, 0, 2),
                2 => { *store.hits.entry(id).or_default() += 3; }
                3 if wait == 0 => table.clear(&mut store, now),
                _ => {
                    table.asked(id, 1);
                    table.insert(&mut store, now, &head(id), &vec![0; key], &vec![0; reply]);
                }
            }
            prop_assert_eq!(table.len(), store.index.len());
            prop_assert!(table.len() <= entries_max);
            prop_assert!(table.bytes() <= table.capacity_bytes());
        }
    }
}

#[test]
fn hits_are_taken_page_by_page_and_count_for_eviction() {
    let mut store = Memory { now_ms: 1_000, ..Memory::default() };
    let mut table = Table::new(4, 100, 0);
    let (short, long) = ([b'r'; 8], [b'r'; 1000]);
    table.insert(&mut store, 1_000, &head(1), b"k", &short);
    table.insert(&mut store, 1_000, &EntryHead { deadline_tai_ns: 7, ..head(2) }, b"k", &long);
    table.insert(&mut store, 1_000, &head(3), b"k", &short);
    store.hits.extend([(1, 5), (2, 9), (77, 4)]);
    let mut heats: Vec<Heat> =
        (0..table.pages()).flat_map(|page| table.take_page_hits(&mut store, page)).collect();
    heats.sort_by_key(|heat| heat.id);
    let seen: Vec<_> =
        heats.iter().map(|heat| (heat.id, heat.hits, heat.bytes, heat.deadline_tai_ns)).collect();
    assert_eq!(seen, [(1, 5, entry_bytes(1, 8), u64::MAX), (2, 9, entry_bytes(1, 1000), 7)]);
    for heat in heats {
        assert_eq!(store.index[&heat.id], heat.location);
        assert_eq!(table.location(heat.id), Some(heat.location));
        assert!(u16::from(table.sketch.estimate(heat.id)) >= heat.hits);
    }
    assert_eq!(table.take_hits(&mut store, 1), Some(0), "they were taken");
    assert_eq!(table.take_hits(&mut store, 77), None, "there is no such entry");
    assert!(table.take_page_hits(&mut store, 99).is_empty());
}
