//! How often the configuration was read again while a sidecar runs, and with which result.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounterVec, IntGauge, Opts};

use crate::lock::lock;

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";

/// What became of reloads. Its metrics count them.
#[derive(Debug)]
pub struct Reloads {
    /// Keys whose new value waits for a restart.
    waiting: Mutex<Vec<&'static str>>,
    reloads: IntCounterVec,
    successful: IntGauge,
    succeeded_at: Gauge,
}

impl Reloads {
    /// None yet. Metrics' names begin with `prefix`.
    ///
    /// # Errors
    /// If a metric's name is not one, which is a mistake of the service.
    pub fn new(prefix: &str) -> prometheus::Result<Self> {
        let reloads = IntCounterVec::new(
            Opts::new(
                format!("{prefix}_config_reloads_total"),
                "Times the configuration was read again, by result.",
            ),
            &["result"],
        )?;
        for result in [SUCCESS, FAILURE] {
            reloads.with_label_values(&[result]);
        }
        let successful = IntGauge::new(
            format!("{prefix}_config_last_reload_successful"),
            "Whether the last attempt to read the configuration succeeded.",
        )?;
        let succeeded_at = Gauge::new(
            format!("{prefix}_config_last_reload_success_timestamp_seconds"),
            "When the configuration was last read with success, in seconds since 1970.",
        )?;
        successful.set(1);
        succeeded_at.set(unix_seconds());
        Ok(Self { waiting: Mutex::default(), reloads, successful, succeeded_at })
    }

    /// Its metrics.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.reloads.clone()),
            Box::new(self.successful.clone()),
            Box::new(self.succeeded_at.clone()),
        ]
    }

    /// The old configuration goes on, for these reasons. What to tell who asked.
    pub fn failed(&self, mistakes: &str) -> String {
        for mistake in mistakes.lines() {
            tracing::error!(mistake, "the configuration was not reloaded, the old one goes on");
        }
        self.reloads.with_label_values(&[FAILURE]).inc();
        self.successful.set(0);
        format!("not reloaded, the old configuration goes on:\n{mistakes}")
    }

    /// There is a new configuration. What to tell who asked.
    pub fn succeeded(&self, difference: Difference) -> String {
        self.reloads.with_label_values(&[SUCCESS]).inc();
        self.successful.set(1);
        self.succeeded_at.set(unix_seconds());
        let changed = difference.changed.join(", ");
        let kept = difference.kept.join(", ");
        *lock(&self.waiting) = difference.kept;
        tracing::info!(changed, waiting_for_restart = kept, "reloaded the configuration");
        let mut text =
            if changed.is_empty() { "nothing has changed".to_owned() } else { format!("changed: {changed}") };
        if !kept.is_empty() {
            text += &format!("\nonly after a restart: {kept}");
        }
        text
    }

    /// Whether the last one succeeded.
    #[must_use]
    pub fn last_successful(&self) -> bool {
        self.successful.get() == 1
    }

    /// Keys whose new value waits for a restart.
    #[must_use]
    pub fn waiting_for_restart(&self) -> Vec<String> {
        lock(&self.waiting).iter().map(|&key| key.to_owned()).collect()
    }

    /// How many succeeded, and how many did not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |result| self.reloads.with_label_values(&[result]).get();
        (count(SUCCESS), count(FAILURE))
    }
}

/// When a new value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// With the reload.
    AtOnce,
    /// The old one is kept until then.
    AfterRestart,
}

/// What differs between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Keys that hold at once.
    pub changed: Vec<&'static str>,
    /// Keys that keep their old value until a restart.
    pub kept: Vec<&'static str>,
    /// All that was compared, and when it holds: also what is the same.
    pub compared: Vec<(&'static str, Holds)>,
}

impl Difference {
    /// A key that holds at once.
    pub fn change<T: PartialEq>(&mut self, key: &'static str, new: &T, old: &T) {
        self.compared.push((key, Holds::AtOnce));
        if new != old {
            self.changed.push(key);
        }
    }

    /// A key that keeps its old value, which `new` is given.
    pub fn keep<T: PartialEq + Clone>(&mut self, key: &'static str, new: &mut T, old: &T) {
        self.keep_where(new != old, key, new, old);
    }

    /// The same of a value that is changed at run time where it does not differ in this way.
    pub fn keep_where<T: Clone>(&mut self, differs: bool, key: &'static str, new: &mut T, old: &T) {
        self.compared.push((key, Holds::AfterRestart));
        if differs {
            self.kept.push(key);
            new.clone_from(old);
        }
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
