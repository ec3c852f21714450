//! The program that enters what the proxy does into the stack's tables, by itself.

use std::os::fd::AsFd;
use std::time::Instant;

use aya::EbpfLoader;
use aya::maps::Array;
use aya::programs::SchedClassifier;
use http_fastpath::abi::{Settings, map, program};
use http_fastpath::ledger::{Entry, Order};
use http_fastpath::limit::{Charge, Rate};
use xps_runtime::call::Call;

use crate::kernel_tests;

/// Charges of each thread.
const CHARGES: u32 = 5_000;
/// Requests that may come at once.
const BURST: u64 = 300;

/// A value of a map as the kernel has it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain(Settings);

// SAFETY: integers of a fixed layout.
unsafe impl aya::Pod for Plain {}

fn run(call: &Call, order: Order) -> Entry {
    let mut entry = Entry::from(order);
    call.run(entry.words_mut()).expect("the program runs");
    entry
}

#[test]
fn orders_are_carried_out_by_many_at_once() {
    if !kernel_tests() {
        return;
    }
    let object = std::fs::read(env!("XPS_OBJECT")).expect("the object that the build script has built");
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(xps_core::abi::map::FLOWS, 16).map_max_entries(map::LIMITS, 16);
    let mut ebpf = loader.load(&object).expect("the maps");
    let loaded: &mut SchedClassifier =
        ebpf.program_mut(program::LEDGER).expect("the program").try_into().expect("a classifier");
    loaded.load().expect("the verifier takes it");
    let call = Call::new(loaded.fd().expect("loaded").as_fd().try_clone_to_owned().expect("a descriptor"));

    let hour_ns = 3_600_000_000_000;
    let rate = Rate::new(1, hour_ns, BURST).expect("a rate");
    let start = Instant::now();
    let passed: u64 = std::thread::scope(|scope| {
        let charge = || {
            let entries = (0..CHARGES).map(|_| run(&call, Order::Charge { index: 3, tag: 9, rate }));
            entries.filter(|entry| matches!(entry.charge(), Some(Charge::Pass { .. }))).count() as u64
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(charge)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    println!("{} ns for each order, by four threads", start.elapsed().as_nanos() / (4 * u128::from(CHARGES)));
    assert_eq!(passed, BURST);
    let refused = run(&call, Order::Charge { index: 3, tag: 9, rate }).charge();
    assert!(
        matches!(refused, Some(Charge::Refused { retry_after_ns }) if retry_after_ns <= hour_ns),
        "{refused:?}"
    );
    assert_eq!(run(&call, Order::Charge { index: 1 << 20, tag: 9, rate }).charge(), Some(Charge::Full));

    let client = [7, 8];
    let asked = |order| run(&call, order).answer();
    let entered: usize = std::thread::scope(|scope| {
        let enter = || (0..100).filter(|_| asked(Order::Enter { client, max: 150 }) == Some(true)).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(enter)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!(entered <= 150, "{entered}");
    for _ in 0..entered {
        assert_eq!(asked(Order::Leave { client }), Some(true));
    }
    assert_eq!(asked(Order::Enter { client, max: 1 }), Some(true), "all have left");
    assert_eq!(asked(Order::Enter { client, max: 1 }), Some(false));

    assert_eq!(asked(Order::IsBlocked { client }), Some(false));
    assert_eq!(asked(Order::Block { client, time_ns: hour_ns }), Some(true));
    assert_eq!(asked(Order::IsBlocked { client }), Some(true));
    assert_eq!(asked(Order::Block { client, time_ns: 0 }), Some(true));
    assert_eq!(asked(Order::IsBlocked { client }), Some(false), "it is over");
    let settings: Array<_, Plain> =
        Array::try_from(ebpf.map(map::SETTINGS).expect("the map")).expect("settings");
    assert_eq!(settings.get(&0, 0).expect("the settings").0.blocking, 1, "programs look for blocks");
}
