//! What operators do while clients are at work.

use anyhow::ensure;

use crate::support::{ACCELERATED, Lab, Options, PLAIN, until};

#[test]
fn flushed_entries_are_gone_and_come_back() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        for round in 0..3 {
            plain.set("key", format!("{round}"))?;
            lab.warm(&mut fast, "key", format!("{round}"))?;
            let said = lab.act("flush")?;
            ensure!(said.contains("invalid"), "{said}");
            lab.expect_hits(0, || fast.holds("key", format!("{round}")))?;
            lab.warm(&mut fast, "key", format!("{round}"))?;
        }
        Ok(())
    });
}

#[test]
fn disabled_hits_stay_away_until_they_are_enabled_or_the_sidecar_starts_again() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        lab.act("disable")?;
        let status = lab.status()?.coherence;
        ensure!(status.state == "off" && status.causes[0].starts_with("disabled: "), "{status:?}");
        // Longer than several checks, also those that something asks for.
        for round in 0..30 {
            lab.expect_hits(0, || (0..10).try_for_each(|_| fast.holds("key", "value")))?;
            if round % 10 == 0 {
                plain.check("CONFIG SET hz 10", "+OK\r\n")?;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // What is written meanwhile is what comes back.
        plain.set("key", "other")?;
        lab.act("enable")?;
        lab.warm(&mut fast, "key", "other")?;
        ensure!(lab.status()?.coherence.causes.is_empty());
        lab.act("disable")?;
        lab.kill_sidecar()?;
        lab.start_sidecar()?;
        lab.warm(&mut fast, "key", "other")
    });
}

#[test]
fn disabling_and_enabling_under_load_ends_as_it_was_asked_last() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        for round in 0..60 {
            lab.act("enable")?;
            // The check that this asks for meets the next action at another point each time.
            std::thread::sleep(std::time::Duration::from_millis(round * 7 % 230));
            lab.act("disable")?;
            lab.expect_hits(0, || (0..5).try_for_each(|_| fast.holds("key", "value")))?;
        }
        lab.act("enable")?;
        lab.warm(&mut fast, "key", "value")?;
        until("no cause", || Ok(lab.status()?.coherence.causes.is_empty().then_some(())))
    });
}
