//! What the configuration keeps out of the cache, and for how long it lets entries be served.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::support::{ACCELERATED, Lab, Options, PLAIN};

#[test]
fn keys_that_the_configuration_keeps_out_are_never_hits() {
    let settings = vec![
        "cache.key_prefixes=in:,also:",
        "cache.key_prefixes_excluded=in:not:",
        "cache.key_bytes_max=12",
        "cache.value_bytes_max=8",
    ];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        for (key, value) in [("in:key", "value"), ("also:", "8 bytes."), ("in:exactly12", "")] {
            plain.set(key, value)?;
            lab.warm(&mut fast, key, value)?;
        }
        let out = [
            ("out", "value"),
            ("in:not:key", "value"),
            ("in:exactly_13", "value"),
            ("in:large", "9 bytes.."),
        ];
        for (key, value) in out {
            plain.set(key, value)?;
            lab.expect_hits(0, || (0..50).try_for_each(|_| fast.holds(key, value)))?;
        }
        ensure!(lab.status()?.agent["filtered"] > 0, "nothing was counted as filtered");
        lab.expect_hits(10, || (0..10).try_for_each(|_| fast.holds("in:key", "value")))
    });
}

#[test]
fn no_entry_is_served_for_longer_than_the_cap() {
    const CAP: Duration = Duration::from_millis(300);
    let settings = vec!["cache.ttl_max=300ms"];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        // From the hit on that was the first one seen, hits must end within the cap: without one, they would not end at all.
        for round in 0..3 {
            let start = Instant::now();
            loop {
                let before = lab.counted("miss")?;
                fast.holds("key", "value")?;
                if lab.counted("miss")? > before {
                    break;
                }
                ensure!(start.elapsed() < CAP * 10, "round {round}: hits for {:?}", start.elapsed());
            }
            lab.warm(&mut fast, "key", "value")?;
        }
        // A key that does not exist is an entry too.
        lab.warm_missing(&mut fast, "none")?;
        std::thread::sleep(CAP + Duration::from_millis(50));
        lab.expect_hits(0, || fast.check("GET none", "$-1\r\n"))
    });
}
