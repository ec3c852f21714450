//! The hostile laboratory: connections that lie, made from a seed, against a real Linux TCP socket behind the recorder's
//! programs. What the handler has read and passed must be what the server's socket delivers, after each burst of segments
//! and at the end; or the connection was ended, or the handler was told that it will not see the rest.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped. `XPS_HOSTILE_SECONDS` and
//! `XPS_HOSTILE_SEED` say for how long and with which connections, `XPS_HOSTILE_ONLY` which one of them alone,
//! `XPS_HOSTILE_DIFFERENCES` at how many differences to stop.
//!
//! # Layout
//! - [`lab`]: namespaces, listeners, the recorder in the stack.
//! - [`batch`]: connections that are run side by side. [`connection`]: one of them, and the verdict on it.
//! - [`search`]: batches until time is up or a difference is found, and what is said of it.

mod batch;
mod connection;
mod lab;
mod search;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lab::Lab;
use search::{Search, Tally};
use xps_recorder::check::Check;
use xps_testkit::plan::Focus;
use xps_testkit::wish::{self, number};

/// How long the search for one mutation may take.
const MUTATION: Duration = Duration::from_secs(20);

/// How long its connections run with all checks on.
const CONTROL: Duration = Duration::from_millis(500);

/// Tests of one program share two processors: one at a time.
static SERIAL: Mutex<()> = Mutex::new(());

/// Whether kernel tests run. Without `XPS_KERNEL_TESTS=1` says why not.
fn kernel_tests() -> bool {
    let wanted = std::env::var("XPS_KERNEL_TESTS").as_deref() == Ok("1");
    if !wanted {
        println!("SKIPPED: needs root and network namespaces; XPS_KERNEL_TESTS=1 runs it");
    }
    wanted
}

#[test]
fn what_the_handler_reads_is_what_the_server_takes() {
    if !kernel_tests() {
        return;
    }
    let _turn = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = wish::seed();
    let mut lab = Lab::create().expect("the test network");
    let tally = match number("XPS_HOSTILE_ONLY") {
        Some(only) => Search::new(&mut lab, seed, focus_of_wish()).only(only),
        None => {
            let duration = wish::duration(Duration::from_secs(12));
            let differences_max = number("XPS_HOSTILE_DIFFERENCES").unwrap_or(3);
            Search::new(&mut lab, seed, focus_of_wish()).run(duration, differences_max)
        }
    };
    let tally = tally.expect("the laboratory works");
    println!("counters: {}", lab.counters().expect("counters"));
    lab.finish().expect("an end without remains");
    println!("{tally}");
    assert_eq!(
        tally.differences, 0,
        "seed {seed}: the handler read what the server did not take, or the other way round"
    );
    assert_eq!(tally.honest_broken, 0, "seed {seed}: honest connections do not get through");
    // What finds nothing because it does nothing must not pass.
    let compared = tally.equal * 3 > tally.connections && tally.hostile > 10 * tally.connections.min(100);
    assert!(number("XPS_HOSTILE_ONLY").is_some() || compared, "hardly anything was compared");
}

/// Lies of the handshake itself, which the server's half-open connection judges by rules of its own, are found out by whoever asks
/// for them with `XPS_HOSTILE_HANDSHAKES=1`: not all of them are followed yet.
fn focus_of_wish() -> Focus {
    if std::env::var_os("XPS_HOSTILE_HANDSHAKES").is_some() { Focus::Any } else { Focus::Open }
}

#[test]
fn each_check_that_is_missing_is_found() {
    if !kernel_tests() {
        return;
    }
    let _turn = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = wish::seed();
    let mut lab = Lab::create().expect("the test network");
    let (mut missed, mut unclear) = (Vec::new(), Vec::new());
    for check in Check::ALL {
        // With all checks on, the same connections show nothing.
        let control =
            Search::new(&mut lab, seed, focus(check)).run(CONTROL, 1).expect("the laboratory works");
        if control.differences != 0 {
            unclear.push(check.name());
        }
        let search = Search::new(&mut lab, seed, focus(check)).without(check);
        let tally: Tally = search.run(MUTATION, 1).expect("the laboratory works");
        let found = tally.differences != 0;
        println!(
            "without {}: {} after {} segments",
            check.name(),
            if found { "found" } else { "MISSED" },
            tally.hostile
        );
        if !found {
            missed.push(check.name());
        }
    }
    lab.finish().expect("an end without remains");
    println!("{} of {} mutations found", Check::ALL.len() - missed.len(), Check::ALL.len());
    assert!(missed.is_empty(), "nothing was found without {missed:?}");
    assert!(unclear.is_empty(), "with all checks on, too, something was found for {unclear:?}");
}

/// The connections that a check is there for.
const fn focus(check: Check) -> Focus {
    match check {
        Check::AckFlag => Focus::AckFlag,
        Check::Syn => Focus::Syn,
        Check::AckAhead => Focus::AckAhead,
        Check::AckOld => Focus::AckOld,
        Check::Paws => Focus::Timestamps,
        Check::Window => Focus::Window,
        Check::IpChecksum => Focus::IpChecksum,
        Check::TcpChecksum => Focus::TcpChecksum,
        Check::LinkAddress => Focus::LinkAddress,
        Check::IpOptions => Focus::IpOptions,
        Check::Signature => Focus::Signature,
        Check::Urgent => Focus::Urgent,
        Check::BehindFin => Focus::BehindFin,
        Check::Repetition => Focus::Repetition,
    }
}
