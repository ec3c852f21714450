//! Signs of life of the server: the stack answers only for one that would have answered itself a moment ago (C9).
//!
//! A server that hangs, in a stalled disk or a frozen machine, says nothing any more; and while it is silent, Sentinel or its
//! cluster may make another the master, which takes writes that nobody here sees. So the lease ends `lease.duration` after
//! the last question was sent that the server has answered. Who is replaced after a longer silence than that is replaced when
//! hits are over.
//!
//! Any answer is a sign of life, an error too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use xps_runtime::control::monotonic_ns;

use crate::path::kernel::Kernel;
use crate::server::redis::{Connection, RedisError, retry_delay};

/// Questions during the lease's time.
const BEATS: u32 = 8;

/// Until when the server's last sign of life holds.
#[derive(Debug, Default)]
pub struct Pulse {
    until_ns: AtomicU64,
}

impl Pulse {
    /// Until when hits are allowed, `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn until_ns(&self) -> u64 {
        self.until_ns.load(Ordering::Acquire)
    }

    /// A question that was sent then is answered.
    fn felt(&self, sent_ns: u64, lease: Duration) {
        let lease_ns = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        self.until_ns.store(sent_ns.saturating_add(lease_ns), Ordering::Release);
    }
}

/// Feels the pulse until `stop` turns true.
pub async fn run(kernel: Arc<Kernel>, mut stop: watch::Receiver<bool>) {
    let mut failures = 0;
    let feeling = async {
        loop {
            let error = feel(&kernel, &mut failures).await;
            tracing::debug!(%error, "no sign of life from Redis");
            sleep(retry_delay(failures)).await;
            failures += 1;
        }
    };
    tokio::select! {
        () = feeling => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Asks as long as the connection lasts; gives what ended it.
async fn feel(kernel: &Kernel, failures: &mut u32) -> RedisError {
    let config = &kernel.shared.config;
    let redis = config.read().redis.clone();
    let mut connection = match Connection::open(&redis).await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    loop {
        let lease = config.read().lease;
        let sent_ns = monotonic_ns();
        match timeout(lease, connection.ask(&[b"PING"])).await {
            Ok(Ok(_)) => {
                kernel.pulse.felt(sent_ns, lease);
                *failures = 0;
                sleep(lease / BEATS).await;
            }
            Ok(Err(error)) => return error,
            // A new connection waits as long as this one would; but one that was cut off silently must not be waited for.
            Err(_) => return RedisError::Timeout(lease),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_from_the_question_on() {
        let pulse = Pulse::default();
        assert_eq!(pulse.until_ns(), 0);
        pulse.felt(5, Duration::from_nanos(7));
        assert_eq!(pulse.until_ns(), 12);
    }
}
