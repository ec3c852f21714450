//! The whole handler over tables of any content: it never fails, and what is held does not pass (the driver asserts that).
#![no_main]

use http_fastpath::abi::{Limit, Rule};
use http_fastpath::host::world::{Flow, Outcome, World};
use http_fastpath::limit::Rate;
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// Tables are large, and zero but for their first parts.
    static WORLD: World = World::new();
}

const ROOM: usize = 512;

/// Fills words from bytes, over and over.
fn words<'a>(bytes: &'a [u8]) -> impl Iterator<Item = u16> + 'a {
    (0..).map(move |at: usize| {
        let byte = |at: usize| if bytes.is_empty() { 0 } else { bytes[at % bytes.len()] };
        u16::from_le_bytes([byte(2 * at), byte(2 * at + 1)])
    })
}

fuzz_target!(|input: (&[u8], &[u8], Vec<(u8, &[u8])>)| {
    let (tables, rules, segments) = input;
    WORLD.with(|world| {
        let mut word = words(tables);
        let mut next = || word.next().unwrap_or_default();
        world.change_matcher(0, |matcher| {
            matcher.stride_bits = u32::from(next() & 3);
            matcher.hits_from = u32::from(next());
            matcher.cookie = u32::from(next());
            matcher.classes.iter_mut().for_each(|class| *class = next() as u8);
            matcher.starts.iter_mut().for_each(|start| *start = next());
            matcher.slots.iter_mut().for_each(|slot| *slot = next() as u8);
            matcher.ends[..ROOM].iter_mut().for_each(|end| *end = next());
            matcher.hits[..ROOM].iter_mut().for_each(|hit| *hit = next());
            matcher.sets[..ROOM].iter_mut().for_each(|set| *set = [u64::from(next()); 4]);
            matcher.transitions[..8 * ROOM].iter_mut().for_each(|to| *to = next() % (2 * ROOM as u16));
        });
        world.clear_rules();
        for part in rules.chunks(6).take(16) {
            let byte = |at: usize| u64::from(part.get(at).copied().unwrap_or_default());
            let strikes = Rate { interval_ns: byte(5), tolerance_ns: byte(4) };
            let rate = Rate { interval_ns: byte(2) << 20, tolerance_ns: byte(3) << 22 };
            let limit = Limit { rate, key: byte(1) as u32 * 3, id: byte(1), strikes, ..Limit::default() };
            let dry_run = (part.len() % 2) as u32;
            let need = [byte(5) & byte(4), 0, 0, 0];
            world.add_rule(Rule { need, action: byte(0) as u32, dry_run, limit, ..Rule::default() });
        }
        let mut flow = Flow::new(world, 1);
        for (choice, bytes) in segments {
            world.now_ns.set(world.now_ns.get() + (u64::from(choice) << 18));
            match choice % 4 {
                0 => flow.response(bytes),
                1 => flow.answered(u32::from(choice / 4) % 3),
                _ => {
                    if !matches!(flow.request(bytes), Outcome::Passed | Outcome::Replied(_)) {
                        break;
                    }
                }
            }
        }
        world.forget();
    });
});
