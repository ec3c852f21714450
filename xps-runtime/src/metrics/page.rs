//! Metrics that are counted elsewhere, told anew each time.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry};

use super::text_of;

/// Metrics of one answer: what is counted elsewhere, told anew each time.
#[derive(Debug, Default)]
pub struct Page(Registry);

impl Page {
    /// What only grows.
    ///
    /// # Errors
    /// If the name is taken or is none, which is a mistake of the service; likewise below.
    pub fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    /// What only grows, by a label.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (text, value) in values {
            counters.with_label_values(&[text]).inc_by(*value);
        }
        self.0.register(Box::new(counters))
    }

    /// What only grows, by two labels.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn counters_by_two(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: &[([&str; 2], u64)],
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for (texts, value) in values {
            counters.with_label_values(texts).inc_by(*value);
        }
        self.0.register(Box::new(counters))
    }

    /// What rises and falls.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn gauge(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    /// 1 for each of `which`.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn states(&self, name: &str, help: &str, label: &str, which: &[&str]) -> prometheus::Result<()> {
        let gauges = GaugeVec::new(Opts::new(name, help), &[label])?;
        for text in which {
            gauges.with_label_values(&[text]).set(1.0);
        }
        self.0.register(Box::new(gauges))
    }

    /// What rises and falls, by labels.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: &[([&str; N], f64)],
    ) -> prometheus::Result<()> {
        let gauges = GaugeVec::new(Opts::new(name, help), &labels)?;
        for (texts, value) in values {
            gauges.with_label_values(texts).set(*value);
        }
        self.0.register(Box::new(gauges))
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// If two metrics contradict each other, which is a mistake of the service.
    pub fn text(&self) -> prometheus::Result<String> {
        text_of(&self.0)
    }
}
