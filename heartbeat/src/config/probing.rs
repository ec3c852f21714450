//! How peers are probed: `[probe]`.

use std::time::Duration;

use heartbeat_detector::config::Config;
use xps_runtime::config::Reader;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads the section.
pub(super) fn ask(reader: &mut Reader) -> Config {
    let mut section = reader.section("probe");
    let interval = section.duration("interval", 100 * MS, MS..=HOUR);
    let usual = Config::with_interval(nanoseconds(interval));
    let mut time = |key: &str, default_ns: u64| {
        let default = Duration::from_nanos(default_ns);
        nanoseconds(section.duration(key, default, Duration::from_micros(1)..=HOUR))
    };
    let timeout_max_ns = time("timeout", usual.timeout_max_ns);
    // A shorter time-out asks for tries that fit into it.
    let wait_ns = usual.wait_min_ns.min(timeout_max_ns / 4).max(1);
    let config = Config {
        timeout_max_ns,
        wait_min_ns: time("retry", wait_ns),
        confirmation_ns: time("confirmation", usual.confirmation_ns),
        failed_interval_ns: time("failed_interval", usual.failed_interval_ns),
        gap_min_ns: time("gap_min", usual.gap_min_ns),
        late_ns: time("late", usual.late_ns),
        deviation_min_ns: time("deviation_min", usual.deviation_min_ns),
        jitter_per_mille: section.integer("jitter_per_mille", usual.jitter_per_mille, 0..=1000),
        tries: section.integer("tries", usual.tries, 1..=100),
        phi: f64::from(section.integer("phi", usual.phi as u32, 1..=56)),
        helpers: section.integer("helpers", usual.helpers, 1..=64),
        local_health_max: section.integer("local_health_max", usual.local_health_max, 0..=100),
        ..usual
    };
    if let Err(wrong) = config.check() {
        reader.mistake("probe", "interval", format!("[probe]: {wrong}"));
    }
    config
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
