//! When the machine itself stands still: on each CPU somebody who comes before all others wants to run all the time, if only for
//! a moment, and notes when it could not.
//!
//! In a virtual machine that is what the host's other guests had. `/proc/stat` tells how much that was, but not when.

use super::cpu;
use super::record::Pause;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long nobody looks.
const EACH: Duration = Duration::from_micros(250);
/// Longer than it takes to be woken on a CPU that runs, be it in the middle of an interrupt.
const PAUSE_MIN_NS: u64 = 500_000;

/// Somebody on each CPU.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Pause>>>,
}

impl Watch {
    /// From now on. Who may not be urgent would note what it has waited for others, and notes nothing.
    pub(super) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |cpu| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let may = cpu::be_on(cpu).is_ok() && cpu::be_urgent(cpu::WATCHES);
                if may { watch(&stop) } else { Vec::new() }
            })
        };
        let threads = (0..cpu::count()).map(watch).collect();
        Self { stop, threads }
    }

    /// What was noted on all CPUs.
    pub(super) fn end(mut self) -> Vec<Pause> {
        self.stop.store(true, Ordering::Relaxed);
        let noted = self.threads.drain(..).map(|thread| thread.join().unwrap_or_default());
        noted.flatten().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(stop: &AtomicBool) -> Vec<Pause> {
    let mut pauses = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let from_ns = cpu::now_ns() + EACH.as_nanos() as u64;
        std::thread::sleep(EACH);
        let until_ns = cpu::now_ns();
        if until_ns > from_ns + PAUSE_MIN_NS {
            pauses.push(Pause { from_ns, until_ns });
        }
    }
    pauses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_lies_within_the_watch() {
        let start_ns = cpu::now_ns();
        let watch = Watch::start();
        std::thread::sleep(20 * EACH);
        let pauses = watch.end();
        let end_ns = cpu::now_ns();
        for pause in pauses {
            assert!(start_ns < pause.from_ns && pause.until_ns <= end_ns, "{pause:?}");
            assert!(pause.until_ns - pause.from_ns > PAUSE_MIN_NS, "{pause:?}");
        }
    }
}
