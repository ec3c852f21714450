//! The handler steps aside while looking up does not pay, and comes back.

use anyhow::{Result, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, until};

/// GETs of a key that can never be cached.
fn misses(client: &mut Client) -> Result<()> {
    (0..200).try_for_each(|_| client.command("GET list").map(drop))
}

fn active(lab: &Lab) -> Result<bool> {
    Ok(lab.status()?.bypass.active_seconds.is_some())
}

#[test]
fn it_steps_aside_for_misses_and_comes_back_for_hits() {
    // Long enough for a hundred lookups in it, though only one of 32 GETs is looked up while it steps aside.
    let settings = vec!["cache.bypass_window=2s"];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.check("RPUSH list a", ":1\r\n")?;
        plain.set("key", "0")?;
        lab.warm(&mut fast, "key", "0")?;
        ensure!(!active(lab)?);
        until("stepping aside", || {
            misses(&mut fast)?;
            Ok(active(lab)?.then_some(()))
        })?;
        let status = lab.status()?;
        ensure!(status.bypass.share_percent.is_some_and(|share| share < 15), "{:?}", status.bypass);
        ensure!(status.to_string().contains("bypass        active for"), "{status}");
        let bypassed = lab.counted("bypassed")?;
        misses(&mut fast)?;
        ensure!(lab.counted("bypassed")? > bypassed + 150, "nearly all GETs should have been passed at once");

        // Writes count as ever: whatever is looked up meanwhile is never old.
        for round in 0..300 {
            let writer = if round % 2 == 0 { &mut plain } else { &mut fast };
            writer.set("key", format!("{round}"))?;
            (0..10).try_for_each(|_| fast.holds("key", format!("{round}")))?;
        }
        plain.set("key", "end")?;
        until("looking up again", || {
            (0..200).try_for_each(|_| fast.holds("key", "end"))?;
            Ok((!active(lab)?).then_some(()))
        })?;
        lab.warm(&mut fast, "key", "end")?;
        lab.expect_hits(100, || (0..100).try_for_each(|_| fast.holds("key", "end")))
    });
}

#[test]
fn it_never_steps_aside_if_it_must_not() {
    let settings = vec!["cache.bypass_window=100ms", "cache.adaptive_bypass=false"];
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.check("RPUSH list a", ":1\r\n")?;
        for _ in 0..20 {
            misses(&mut fast)?;
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        ensure!(lab.status()?.bypass.share_percent == Some(0), "{:?}", lab.status()?.bypass);
        ensure!(!active(lab)? && lab.counted("bypassed")? == 0);
        Ok(())
    });
}
