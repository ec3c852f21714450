//! Any heads against rules: the rule that decides is the one that holds for the request as it was told, letter by letter.
#![no_main]

use http_fastpath::abi::{Rule, subject};
use http_fastpath::head::Settings;
use http_fastpath::host::world::{Flow, World};
use http_fastpath::host::{Seen, requests};
use http_fastpath::rules::Action;
use libfuzzer_sys::fuzz_target;

/// What a condition is about: the subject, the word, and whether more may follow. No word goes on where more may follow another
/// one: these tables, made by hand, have one state for both then.
const CONDITIONS: [(u32, &[u8], bool); 12] = [
    (subject::METHOD, b"GET", false),
    (subject::METHOD, b"GE", false),
    (subject::PATH, b"/", false),
    (subject::PATH, b"/a", false),
    (subject::PATH, b"/a/b", true),
    (subject::PATH, b"/b/", true),
    (subject::HOST, b"a", false),
    (subject::HOST, b"a.b", true),
    (VALUE, b"v", false),
    (VALUE, b"v w", true),
    (VALUE, b"", false),
    (subject::HOST, b"", false),
];
const VALUE: u32 = subject::FIRST_VALUE;
const NAME: &[u8] = b"x";

thread_local! {
    static WORLD: World = {
        let world = World::new();
        world.value(subject::HEADER_NAME, NAME, VALUE, 0);
        for (number, (subject, word, begins)) in CONDITIONS.into_iter().enumerate() {
            world.condition(subject, word, begins, number);
        }
        world
    };
}

/// The conditions that hold for a request as it was told.
fn holds(seen: &Seen) -> u64 {
    let is =
        |told: &[u8], word: &[u8], begins: bool| if begins { told.starts_with(word) } else { told == word };
    let mut bits = 0;
    for (number, (subject, word, begins)) in CONDITIONS.into_iter().enumerate() {
        let held = match subject {
            subject::METHOD => is(&seen.method, word, begins),
            subject::PATH => is(&seen.path, word, begins),
            subject::HOST => is(&seen.host, word, begins),
            _ => seen.fields.iter().any(|(name, value)| name == NAME && is(value, word, begins)),
        };
        bits |= u64::from(held) << number;
    }
    bits
}

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (cut, rules, bytes) = input;
    let reading = requests(bytes, &[], &Settings::DEFAULT);
    let (Some(seen), None) = (reading.seen.first(), reading.refusal) else { return };
    if reading.seen.len() != 1 || !reading.at_boundary {
        return;
    }
    let holds = holds(seen);
    WORLD.with(|world| {
        world.clear_rules();
        let mut expected = None;
        for (number, rule) in rules.chunks_exact(4).take(8).enumerate() {
            let mask = (1 << CONDITIONS.len()) - 1;
            let word = |at: usize| u64::from(u16::from_le_bytes([rule[at], rule[at + 1]])) & mask;
            let (need, need_not) = (word(0), word(2));
            if expected.is_none() && holds & need == need && holds & need_not == 0 {
                expected = Some(number as u32);
            }
            world.add_rule(Rule {
                need: [need, 0, 0, 0],
                need_not: [need_not, 0, 0, 0],
                action: Action::Deny as u32,
                ..Rule::default()
            });
        }
        // Read at once, in two parts, and known from before.
        let cut = usize::from(cut) % bytes.len();
        for cut in [0, cut, 0, 0] {
            let mut flow = Flow::new(world, 1);
            if cut > 0 {
                flow.request(&bytes[..cut]);
            }
            flow.request(&bytes[cut..]);
            let decided = world.reports.borrow().last().map(|(_, cause)| *cause);
            assert_eq!(decided, expected, "cut at {cut}: {seen:?} holds {holds:b}");
            world.forget();
        }
    });
});
