//! What the agent tells the programs and what they tell it: the maps `CONTROL` and `STATE` as memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use xps_core::abi;
use xps_core::flow::FlowKey;

use crate::mapping::Mapping;

/// Handle to the switches in `CONTROL`. Cheap to clone; any thread may use it.
#[derive(Clone, Debug)]
pub struct Control {
    memory: Arc<Mapping>,
}

/// Offset of a field of [`abi::Control`].
macro_rules! at {
    ($field:ident) => {
        std::mem::offset_of!(abi::Control, $field)
    };
}

impl Control {
    pub(crate) fn new(memory: Mapping) -> Self {
        assert!(memory.bytes() >= size_of::<abi::Control>(), "CONTROL is too small");
        Self { memory: Arc::new(memory) }
    }

    /// Vouches for the tables from now on for `duration` (S12), but not beyond `until_ns` (`CLOCK_MONOTONIC`, `u64::MAX`
    /// for no such limit). Handlers answer only while the lease stands.
    pub fn renew_lease(&self, duration: Duration, until_ns: u64) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let deadline = monotonic_ns().saturating_add(nanoseconds).min(until_ns);
        self.memory.u64(at!(lease_deadline_ns)).store(deadline, Ordering::Release);
    }

    /// Ends the lease at once.
    pub fn end_lease(&self) {
        self.memory.u64(at!(lease_deadline_ns)).store(0, Ordering::Release);
    }

    /// Whether new connections to the accelerated port are taken, or left to the user path.
    pub fn set_accept(&self, accept: bool) {
        self.memory.u32(at!(accept)).store(accept.into(), Ordering::Release);
    }

    /// Whether handlers answer, or everything passes.
    pub fn set_answer(&self, answer: bool) {
        self.memory.u32(at!(answer)).store(answer.into(), Ordering::Release);
    }

    /// What the programs see now.
    #[must_use]
    pub fn read(&self) -> abi::Control {
        abi::Control {
            version: self.memory.u32(at!(version)).load(Ordering::Acquire),
            accept: self.memory.u32(at!(accept)).load(Ordering::Acquire),
            answer: self.memory.u32(at!(answer)).load(Ordering::Acquire),
            flows_max: self.memory.u32(at!(flows_max)).load(Ordering::Acquire),
            lease_deadline_ns: self.memory.u64(at!(lease_deadline_ns)).load(Ordering::Acquire),
            secret: [0, 8].map(|i| self.memory.u64(at!(secret) + i).load(Ordering::Acquire)),
            internal_mark: self.memory.u32(at!(internal_mark)).load(Ordering::Acquire),
            reply_bytes_max: self.memory.u32(at!(reply_bytes_max)).load(Ordering::Acquire),
        }
    }

    /// Writes all fields; the version last, since it says that the rest is valid.
    pub(crate) fn write(&self, control: &abi::Control) {
        self.memory.u32(at!(accept)).store(control.accept, Ordering::Release);
        self.memory.u32(at!(answer)).store(control.answer, Ordering::Release);
        self.memory.u32(at!(flows_max)).store(control.flows_max, Ordering::Release);
        self.memory.u64(at!(lease_deadline_ns)).store(control.lease_deadline_ns, Ordering::Release);
        for (i, word) in control.secret.iter().enumerate() {
            self.memory.u64(at!(secret) + 8 * i).store(*word, Ordering::Release);
        }
        self.memory.u32(at!(internal_mark)).store(control.internal_mark, Ordering::Release);
        self.memory.u32(at!(reply_bytes_max)).store(control.reply_bytes_max, Ordering::Release);
        self.memory.u32(at!(version)).store(control.version, Ordering::Release);
    }
}

/// Handle to the counts in `STATE`. Cheap to clone; any thread may use it.
#[derive(Clone, Debug)]
pub struct State {
    memory: Arc<Mapping>,
}

impl State {
    pub(crate) fn new(memory: Mapping) -> Self {
        assert!(memory.bytes() >= size_of::<abi::State>(), "STATE is too small");
        Self { memory: Arc::new(memory) }
    }

    /// What the programs have counted.
    #[must_use]
    pub fn read(&self) -> abi::State {
        let word = |at| self.memory.u64(at).load(Ordering::Acquire);
        let mut state = abi::State {
            flows: word(std::mem::offset_of!(abi::State, flows)),
            foreign: word(std::mem::offset_of!(abi::State, foreign)),
            unseen: word(std::mem::offset_of!(abi::State, unseen)),
            unseen_by: word(std::mem::offset_of!(abi::State, unseen_by)),
            ..abi::State::default()
        };
        let mut key = [0; size_of::<FlowKey>()];
        for (nth, bytes) in key.chunks_exact_mut(8).enumerate() {
            bytes
                .copy_from_slice(&word(std::mem::offset_of!(abi::State, unseen_key) + nth * 8).to_ne_bytes());
        }
        // SAFETY: a key is plain data of this size.
        state.unseen_key = unsafe { key.as_ptr().cast::<FlowKey>().read_unaligned() };
        state
    }

    /// One flow less: whoever deletes an entry of the table counts it off.
    pub(crate) fn count_removed_flow(&self) {
        let flows = self.memory.u64(std::mem::offset_of!(abi::State, flows));
        flows.fetch_sub(1, Ordering::AcqRel);
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of `bpf_ktime_get_ns`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME` in nanoseconds since 1970. It may jump.
#[must_use]
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// `CLOCK_TAI` in nanoseconds: the clock of `bpf_ktime_get_tai_ns`.
#[must_use]
pub fn tai_ns() -> u64 {
    clock_ns(libc::CLOCK_TAI)
}

/// CPU time of this thread in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`): what work costs, however busy the machine is.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; these clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
