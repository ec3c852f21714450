//! Redis's idle timeout must not close a connection that only has hits (C10).
//!
//! Redis closes a connection of which it has not heard for `timeout` seconds, and of hits it does not hear. So the timeout
//! is divided into [`PARTS`] epochs, whose number the handler compares with the one that the connection keeps: where they
//! differ, it lets a request pass and keeps the new one. Requests that come more often than an epoch lasts then reach Redis
//! at least once in two epochs, half of the timeout; those that come more seldom find another epoch each time, and all
//! pass. So a connection is closed when it would be without kv-cache, with the other half of the timeout to spare.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::shared::Shared;

/// Epochs in a timeout.
const PARTS: u32 = 4;

/// Length of an epoch for a timeout of one second, the shortest.
const STEP: Duration = Duration::from_millis(1000 / PARTS as u64);

/// The clock of epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Epochs {
    number: u32,
    steps: u32,
}

impl Epochs {
    /// A step later, with this timeout in seconds; 0: there is none. The epoch's number, which is 0 only then.
    fn step(&mut self, timeout_s: u32) -> u32 {
        if timeout_s == 0 {
            *self = Self { steps: 0, ..*self };
            return 0;
        }
        self.steps += 1;
        if self.steps >= timeout_s || self.number == 0 {
            // The handler keeps the low byte: never that of 0, which stands for no timeout.
            self.number = self.number % 255 + 1;
            self.steps = 0;
        }
        self.number
    }
}

/// Moves the epochs on until `stop` turns true.
pub async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut epochs = Epochs::default();
    loop {
        tokio::select! {
            () = sleep(STEP) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        shared.settings.set_epoch(epochs.step(shared.idle_timeout_s.load(Ordering::Relaxed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_quarter_of_the_timeout() {
        let mut epochs = Epochs::default();
        assert_eq!((0..3).map(|_| epochs.step(0)).collect::<Vec<_>>(), [0, 0, 0]);
        let seen: Vec<u32> = (0..9).map(|_| epochs.step(3)).collect();
        assert_eq!(seen, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
        assert_eq!(epochs.step(0), 0);
        // Not the number that connections may have kept.
        assert_eq!(epochs.step(1), 4);
    }

    #[test]
    fn the_low_byte_is_never_that_of_no_timeout_and_changes_each_time() {
        let mut epochs = Epochs::default();
        let mut before = 0;
        for _ in 0..1000 {
            let number = epochs.step(1);
            assert!(number as u8 != 0 && number as u8 != before);
            before = number as u8;
        }
    }
}
