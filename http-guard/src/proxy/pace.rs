//! How fast a client must send a body.

use std::time::Duration;

use tokio::time::Instant;

/// The time in which so much must come, one such time after the other.
#[derive(Debug)]
pub(super) struct Pace {
    span: Duration,
    /// Bytes a second on average; 0: any byte is enough, and the time begins anew with each.
    rate_min: u64,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// From now on.
    pub(super) fn new(span: Duration, rate_min: u64) -> Self {
        Self { span, rate_min, since: Instant::now(), bytes: 0 }
    }

    /// When the time is over.
    pub(super) fn end(&self) -> Instant {
        self.since + self.span
    }

    /// Bytes have come.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.rate_min == 0 {
            self.restart();
        }
    }

    /// Whether enough has come now that the time is over: then it begins anew.
    pub(super) fn is_kept(&mut self) -> bool {
        let kept = self.bytes != 0 && self.bytes as f64 >= self.rate_min as f64 * self.span.as_secs_f64();
        if kept {
            self.restart();
        }
        kept
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn a_body_that_trickles_is_slow_where_its_rate_counts() {
        for (bytes, kept) in [(0, false), (999, false), (1000, true), (5000, true)] {
            let mut pace = Pace::new(SPAN, 100);
            let end = pace.end();
            (0..bytes).for_each(|_| pace.came(1));
            assert_eq!(pace.end(), end, "the time goes on");
            assert_eq!(pace.is_kept(), kept, "{bytes} bytes");
            assert!(!pace.is_kept(), "it begins anew");
        }
    }

    #[test]
    fn otherwise_any_byte_is_enough() {
        let mut pace = Pace::new(SPAN, 0);
        let end = pace.end();
        assert!(!pace.is_kept(), "none came");
        std::thread::sleep(Duration::from_millis(2));
        pace.came(1);
        assert!(pace.end() > end, "the time begins anew");
    }
}
