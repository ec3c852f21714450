//! The user path's latencies as Prometheus' histogram.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use xps_runtime::latency::{BOUNDS_NS, Latency, Served};
use xps_runtime::session::SegmentCounts;

const NAME: &str = "kv_cache_user_path_seconds";
const HELP: &str = "On the user path: from reading a request that hits to writing its reply, and from passing a request to Redis to having its reply.";
const LABEL: &str = "result";

/// Collects them when it is asked to.
#[derive(Debug)]
pub struct UserPathLatencies {
    counts: Arc<SegmentCounts>,
    description: Desc,
}

impl UserPathLatencies {
    /// Of what `counts` counts.
    ///
    /// # Errors
    /// If the name is not one, which is a mistake of this program.
    pub fn new(counts: Arc<SegmentCounts>) -> prometheus::Result<Self> {
        let labels = vec![LABEL.to_owned()];
        let description = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, Default::default())?;
        Ok(Self { counts, description })
    }
}

impl Collector for UserPathLatencies {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let of = |result, served| metric(result, &self.counts.latencies.read(served));
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![of("hit", Served::Answered), of("pass", Served::Passed)]);
        vec![family]
    }
}

fn metric(result: &str, latency: &Latency) -> Metric {
    let mut label = LabelPair::default();
    label.set_name(LABEL.to_owned());
    label.set_value(result.to_owned());
    let mut below = 0;
    let buckets = BOUNDS_NS.iter().zip(latency.buckets).map(|(bound_ns, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound_ns as f64 / 1e9);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(latency.buckets.iter().sum());
    histogram.set_sample_sum(latency.sum_ns as f64 / 1e9);
    let mut metric = Metric::from_label(vec![label]);
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let mut latency = Latency { sum_ns: 1_500_000_000, ..Latency::default() };
        (latency.buckets[0], latency.buckets[2], latency.buckets[BOUNDS_NS.len()]) = (3, 2, 1);
        let mut family = UserPathLatencies::new(Arc::default()).expect("a name").collect().remove(0);
        family.set_metric(vec![metric("hit", &latency)]);
        let mut text = Vec::new();
        TextEncoder::new().encode(&[family], &mut text).expect("text");
        let text = String::from_utf8_lossy(&text);
        for line in [
            "kv_cache_user_path_seconds_bucket{result=\"hit\",le=\"0.00001\"} 3",
            "kv_cache_user_path_seconds_bucket{result=\"hit\",le=\"0.00005\"} 5",
            "kv_cache_user_path_seconds_bucket{result=\"hit\",le=\"5\"} 5",
            "kv_cache_user_path_seconds_bucket{result=\"hit\",le=\"+Inf\"} 6",
            "kv_cache_user_path_seconds_sum{result=\"hit\"} 1.5",
            "kv_cache_user_path_seconds_count{result=\"hit\"} 6",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
