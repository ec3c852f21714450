//! Hits, misses and values of all sizes.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::support::{ACCELERATED, Lab, Options, PLAIN, bulk};

#[test]
fn gets_are_answered_in_the_stack_also_the_first_of_a_connection() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "one")?;
        assert_eq!(fast.get("none")?, None);
        lab.warm(&mut fast, "key", "one")?;
        lab.expect_hits(100, || (0..100).try_for_each(|_| fast.holds("key", "one")))?;
        // Misses of keys that are not there, of a list, and of other commands, are Redis's to answer.
        plain.check("RPUSH list a b", ":2\r\n")?;
        lab.expect_hits(0, || {
            for _ in 0..20 {
                fast.check("GET none", "$-1\r\n")?;
                fast.check(
                    "GET list",
                    "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
                )?;
                fast.check("STRLEN key", ":3\r\n")?;
            }
            Ok(())
        })?;
        let started = Instant::now();
        lab.expect_hits(60, || {
            for _ in 0..20 {
                let mut fresh = lab.client(ACCELERATED)?;
                (0..3).try_for_each(|_| fresh.holds("key", "one"))?;
            }
            Ok(())
        })?;
        let each = started.elapsed() / 20;
        ensure!(each < Duration::from_millis(150), "a fresh connection's hits took {each:?}");
        Ok(())
    });
}

#[test]
fn values_of_all_sizes_are_right_and_those_that_fit_are_hits() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        // One segment holds 1448 bytes here; a value of 1400 is the largest that is cached.
        let sizes = [1, 2, 7, 8, 9, 63, 64, 512, 1023, 1024, 1398, 1399, 1400, 1401, 1402, 1436, 1437, 1438]
            .into_iter()
            .chain([1439, 1440, 1441, 1447, 1448, 1449, 1459, 1460, 1461, 2048, 16 << 10, 1 << 20]);
        for size in sizes {
            let value: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
            let key = format!("size:{size}");
            let (writer, reader) =
                if size % 2 == 0 { (&mut fast, &mut plain) } else { (&mut plain, &mut fast) };
            writer.set(&key, &value)?;
            reader.holds(&key, &value)?;
            if size <= 1400 {
                lab.warm(&mut fast, &key, &value)?;
                lab.expect_hits(5, || (0..5).try_for_each(|_| fast.holds(&key, &value)))?;
            } else {
                lab.expect_hits(0, || (0..5).try_for_each(|_| fast.holds(&key, &value)))?;
            }
        }
        // Empty values and keys of all lengths; the longest that is cached has 250 bytes.
        fast.check("SET empty ", "+OK\r\n")?;
        fast.check("GET empty", bulk(""))?;
        for length in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 249, 250] {
            let key = "k".repeat(length);
            plain.set(&key, length.to_string())?;
            lab.warm(&mut fast, &key, length.to_string())?;
        }
        let long = "k".repeat(251);
        plain.set(&long, "long")?;
        lab.expect_hits(0, || (0..20).try_for_each(|_| fast.holds(&long, "long")))
    });
}

#[test]
fn a_value_is_never_served_after_its_time() {
    Lab::run(Options::default(), |lab| {
        // Redis itself counts in milliseconds, of a clock that it reads once a round.
        const GRAIN: Duration = Duration::from_millis(3);
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        let before = lab.hits()?;
        let mut rounds_with_hits = 0;
        for round in 0..12 {
            let time = Duration::from_millis(60 + 17 * round);
            let key = format!("px:{round}");
            let writer = if round % 2 == 0 { &mut plain } else { &mut fast };
            writer.check(&format!("SET {key} short PX {}", time.as_millis()), "+OK\r\n")?;
            let latest = Instant::now() + time;
            let hits = lab.hits()?;
            loop {
                let asked = Instant::now();
                match fast.get(&key)? {
                    None => break,
                    Some(value) => {
                        ensure!(value == b"short");
                        ensure!(asked <= latest + GRAIN, "served {:?} after its time", asked - latest);
                    }
                }
            }
            ensure!(Instant::now() + GRAIN >= latest, "gone before its time");
            rounds_with_hits += usize::from(lab.hits()? > hits);
        }
        ensure!(rounds_with_hits >= 10, "only {rounds_with_hits} of 12 rounds had hits");
        ensure!(lab.hits()? - before > 100, "too few hits to show anything");
        Ok(())
    });
}
