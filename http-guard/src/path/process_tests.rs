use std::net::{IpAddr, Ipv6Addr};

use http_fastpath::abi::RULES_MAX;
use http_fastpath::guard::{HttpGuard, Scratch, State, Tables};
use http_fastpath::judge::{self, Judgement, Verdict};
use http_fastpath::request::Event;
use http_fastpath::words::{self, Words};
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Window};

use super::*;
use crate::path::ledger::memory::Memory;
use crate::rules;

const RULES: &str = r#"
[[rule]]
name = "scripts"
path_suffix = ".php"
action = "deny"

[[rule]]
name = "by path"
path_prefix = "/p/"
action = "limit"
rate = "1/h"
key = ["path"]

[[rule]]
name = "strikes"
path = "/strikes"
action = "limit"
rate = "1/h"
block_after = "2/h"
block_time = "1h"

[[rule]]
name = "slowly"
path = "/slowly"
action = "limit"
rate = "1/s"
burst = 3
nodelay = false

[[rule]]
name = "from there"
client = "192.0.2.0/24"
action = "drop"
"#;

fn read(text: &str) -> Vec<Rule> {
    rules::read("test", text, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().rules
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(4096))
}

fn process() -> (Arc<Process>, mpsc::Receiver<Refused>) {
    Process::new(&read(RULES), &Page::default(), &ProcessSettings::default(), memory()).unwrap()
}

fn mapped(address: &str) -> [u8; 16] {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address),
    }
}

/// What becomes of a request for a target, given in pieces of `cut` bytes.
fn ask(process: &Arc<Process>, client: &str, target: &str, cut: usize) -> Judgement {
    let guard = HttpGuard { tables: process.view() };
    let (mut state, mut scratch) = (State::default(), Scratch::EMPTY);
    scratch.client = mapped(client);
    let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    for piece in head.as_bytes().chunks(cut) {
        let mut window = Window { len: piece.len() as u32, ..Window::EMPTY };
        window.bytes[..piece.len()].copy_from_slice(piece);
        while window.at < window.len {
            match guard.read(&mut window, &mut state, &mut scratch) {
                Event::None => {}
                Event::Head => {
                    judge::judge(&guard.tables, &mut state, &mut scratch);
                    return scratch.judgement;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the head does not end");
}

fn verdict(process: &Arc<Process>, target: &str) -> Verdict {
    ask(process, "198.51.100.7", target, 200).verdict
}

#[test]
fn the_rules_decide_and_are_counted() {
    let (process, _) = process();
    assert_eq!(verdict(&process, "/x/%2e%2e/a.ph%70"), Verdict::Refuse);
    assert_eq!(verdict(&process, "/a.html"), Verdict::Pass);
    assert_eq!(ask(&process, "192.0.2.1", "/", 200).verdict, Verdict::Drop);
    let counts = process.counts();
    assert_eq!(
        counts[0],
        RuleCounts { name: "scripts".into(), counts: Counts { rejected: 1, ..Counts::default() } }
    );
    assert_eq!(counts.iter().map(|rule| rule.counts.rejected).sum::<u64>(), 2);
}

#[test]
fn paths_are_keys_as_the_server_sees_them() {
    let memory = memory();
    let ledger = Arc::<Memory>::clone(&memory);
    let (process, _) =
        Process::new(&read(RULES), &Page::default(), &ProcessSettings::default(), ledger).unwrap();
    for (target, expected) in [
        ("/p/a", Verdict::Pass),
        ("/p/b", Verdict::Pass),
        ("/p/b", Verdict::Refuse),
        ("/p//x/../%61?q=1", Verdict::Refuse),
        ("/p/x/y/../../a", Verdict::Refuse),
        ("http://a.example/p/a", Verdict::Refuse),
        ("/p/x/y/../../c", Verdict::Pass),
        ("/p/c#d", Verdict::Refuse),
        ("/p/c/", Verdict::Pass),
    ] {
        assert_eq!(verdict(&process, target), expected, "{target}");
    }
    for cut in 1..20 {
        let judgement = ask(&process, "198.51.100.7", "/p/x/y/../../a", cut);
        assert_eq!((judgement.verdict, judgement.rule), (Verdict::Refuse, 1), "{cut}");
    }
    assert!(memory.keys() >= 4);
}

#[test]
fn who_does_not_heed_refusals_is_blocked() {
    let (process, _) = process();
    let verdicts: Vec<_> = (0..4).map(|_| verdict(&process, "/strikes")).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Refuse, Verdict::Refuse, Verdict::Close]);
    let admits = |client: &str| {
        let mut view = process.view();
        view.refresh();
        HttpGuard { tables: view }.admits(&FlowKey { client: mapped(client), ..FlowKey::default() })
    };
    assert!(!admits("198.51.100.7") && admits("198.51.100.8"));
    process.ledger().sweep();
    assert_eq!(process.ledger().blocked(), 1);
    assert!(!admits("198.51.100.7"));
    process.set_disabled(true);
    assert!(admits("198.51.100.7"), "everything passes");
    process.set_disabled(false);
    assert!(!admits("198.51.100.7"));
}

#[test]
fn requests_of_a_burst_wait() {
    let (process, _) = process();
    let waits: Vec<_> =
        (0..3).map(|_| ask(&process, "198.51.100.7", "/slowly", 99).wait_ns / 1_000_000).collect();
    assert_eq!(waits[0], 0);
    assert!((900..=1000).contains(&waits[1]) && (1900..=2000).contains(&waits[2]), "{waits:?}");
}

#[test]
fn connections_have_a_rate() {
    let settings = ProcessSettings {
        connections: Rate::new(1, 3_600_000_000_000, 2).unwrap(),
        ..ProcessSettings::default()
    };
    let (process, _) = Process::new(&[], &Page::default(), &settings, memory()).unwrap();
    let guard = HttpGuard { tables: process.view() };
    let mut admits = |client| guard.admits(&FlowKey { client: mapped(client), ..FlowKey::default() });
    let admitted = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].map(&mut admits);
    assert_eq!(admitted, [true, true, false, true]);
}

#[test]
fn refusals_are_reported() {
    let (process, mut reports) = process();
    let guard = HttpGuard { tables: process.view() };
    guard.tables.report(&mapped("192.0.2.9"), RULES_MAX as u32 + 3);
    guard.tables.count_refusal(3);
    let report = reports.try_recv().unwrap();
    assert_eq!((report.address, report.cause, report.weight), (mapped("192.0.2.9"), RULES_MAX as u32 + 3, 1));
    assert_eq!(process.refusals()[3], 1);
    for _ in 0..=REPORTS_MAX {
        guard.tables.report(&mapped("192.0.2.9"), 0);
    }
    assert_eq!(process.reports_lost(), 1);
}

#[test]
fn answers_are_filled_in() {
    let (process, _) = process();
    let mut view = process.view();
    view.tell_date();
    let mut judgement = Judgement::NONE;
    (judgement.retry_ns, judgement.rule) = (90_000_000_001, 2);
    let mut reply = Reply::EMPTY;
    assert!(words::write(&view, Words::of_rule(0, &judgement, false), false, &mut reply));
    let text = String::from_utf8(reply.bytes[..reply.len as usize].to_vec()).unwrap();
    assert!(text.contains("Retry-After: 91        \r\n"), "{text}");
    assert!(text.contains("RateLimit: \"strikes\";r=0;t=91        \r\n"), "{text}");
    assert!(text.contains("GMT\r\n"), "{text}");
}

#[test]
fn a_reload_keeps_counters_and_buckets_and_changes_no_head_that_has_begun() {
    let (process, _) = process();
    assert_eq!(verdict(&process, "/p/a"), Verdict::Pass);
    let mut before = process.view();
    let other = RULES.replace("\"scripts\"", "\"other\"").replace(".php", ".cgi");
    process.replace(&read(&other), &Page::default(), &ProcessSettings::default()).unwrap();
    assert_eq!(before.set.names().next(), Some("scripts"));
    before.refresh();
    assert_eq!(before.set.names().next(), Some("other"));
    assert_eq!(verdict(&process, "/a.php"), Verdict::Pass);
    assert_eq!(verdict(&process, "/p/a"), Verdict::Refuse);
    let counts = process.counts();
    assert_eq!((counts[1].counts.passed, counts[1].counts.rejected), (1, 1));
    assert_eq!(counts[0].counts, Counts::default());
}

#[test]
fn two_share_what_clients_have_used_up() {
    let ledger: Arc<dyn Ledger> = memory();
    let of = |text: &str| {
        let settings = ProcessSettings::default();
        Process::new(&read(text), &Page::default(), &settings, Arc::clone(&ledger)).unwrap().0
    };
    // Keys are the same whatever other rules there are, and in whichever order.
    let (one, other) = (of(RULES), of(&RULES.replace("\"scripts\"", "\"zzz\"").replace(".php", ".cgi")));
    assert_eq!(verdict(&one, "/p/a"), Verdict::Pass);
    assert_eq!(verdict(&other, "/p/a"), Verdict::Refuse);
    for expected in [Verdict::Pass, Verdict::Refuse] {
        assert_eq!(verdict(&other, "/strikes"), expected);
    }
    for expected in [Verdict::Refuse, Verdict::Close] {
        assert_eq!(verdict(&one, "/strikes"), expected);
    }
    let mut view = other.view();
    view.refresh();
    let key = FlowKey { client: mapped("198.51.100.7"), ..FlowKey::default() };
    assert!(!HttpGuard { tables: view }.admits(&key), "blocked by the other one");
}
