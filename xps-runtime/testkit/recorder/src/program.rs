//! The kernel programs of the recorder.
#![no_std]
#![no_main]

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use xps_core::abi::Event;
use xps_core::flow::FlowKey;
use xps_core::handler::WINDOW;
use xps_core::verdict::Reason;
use xps_core::word::{load_u64, store_u64};
use xps_ebpf::maps::Maps;
use xps_recorder::record::{Record, Settings};
use xps_recorder::{Recorder, Tables};

xps_ebpf::service! {
    handler: Recorder<KernelTables> = Recorder { tables: KernelTables },
    flows: 8192,
}

const MAPPABLE: usize = 1 << 10;

#[btf_map]
static SETTINGS: Array<Settings, 1, MAPPABLE> = Array::new();

/// The maps.
#[derive(Clone, Copy)]
struct KernelTables;

/// The test reads the ring when it has sent all.
const NO_WAKEUP: u64 = 1;

impl Tables for KernelTables {
    #[inline(always)]
    fn settings(&self) -> Settings {
        match SETTINGS.get_ptr(0) {
            // SAFETY: two words of the map, aligned; the test changes them while no packet is on its way.
            Some(settings) => unsafe { settings.read_volatile() },
            None => Settings::default(),
        }
    }

    #[inline(always)]
    fn write(&self, kind: u32, key: &FlowKey, position: u32, len: u32, bytes: Option<&[u8; WINDOW]>) {
        let Some(mut record) = xps_service::EVENTS.reserve_untyped::<Record>(0) else {
            lost();
            return;
        };
        let to = record.as_mut_ptr();
        // SAFETY: the record is ours until it is submitted; a window is as long as the record's bytes.
        unsafe {
            (*to).head = Event { kind, len: (size_of::<Record>() - size_of::<Event>()) as u32 };
            let (from, words) = (core::ptr::from_ref(key).cast::<u8>(), (&raw mut (*to).key).cast::<u8>());
            for i in 0..size_of::<FlowKey>() / 8 {
                store_u64(words.add(i * 8), load_u64(from.add(i * 8)));
            }
            (*to).position = position;
            (*to).len = len;
            let words = (&raw mut (*to).bytes).cast::<u8>();
            for i in 0..WINDOW / 8 {
                let word = match bytes {
                    Some(bytes) => load_u64(bytes.as_ptr().add(i * 8)),
                    None => 0,
                };
                store_u64(words.add(i * 8), word);
            }
        }
        record.submit(NO_WAKEUP);
    }
}

/// A record that finds no room is counted: then nothing that the test has read is complete.
#[inline(always)]
fn lost() {
    if let Some(counter) =
        <xps_service::ServiceMaps as Maps<Recorder<KernelTables>>>::counter(Reason::EventLost as u32)
    {
        // SAFETY: this CPU's counter.
        unsafe { *counter += 1 };
    }
}
