//! What operators do while clients are at work.

use anyhow::{Context, ensure};

use crate::support::{ACCELERATED, Lab, Options, PLAIN, exposition, request, until};

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

#[test]
fn a_reload_changes_what_is_served_at_once_or_nothing() {
    Lab::run(Options { file: "[cache]\nttl_max = \"1h\"\n", ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("tmp:key", "value")?;
        plain.set("key", "value")?;
        lab.warm(&mut fast, "tmp:key", "value")?;
        lab.write_file("[cache]\nkey_prefixes_excluded = [\"tmp:\"]\nttl_mux = \"1s\"\n")?;
        let refused = lab.act("reload").err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(refused.contains("did you mean \"ttl_max\""), "{refused}");
        lab.expect_hits(5, || (0..5).try_for_each(|_| fast.holds("tmp:key", "value")))?;
        ensure!(!lab.status()?.configuration.last_reload_successful);

        lab.write_file("[cache]\nkey_prefixes_excluded = [\"tmp:\"]\nentries_max = 77\n")?;
        let said = lab.act("reload")?;
        ensure!(said.contains("changed: cache.ttl_max, cache.key_prefixes_excluded"), "{said}");
        ensure!(said.contains("only after a restart: cache.entries_max"), "{said}");
        lab.expect_hits(0, || (0..50).try_for_each(|_| fast.holds("tmp:key", "value")))?;
        lab.warm(&mut fast, "key", "value")?;
        lab.expect_hits(0, || (0..50).try_for_each(|_| fast.holds("tmp:key", "value")))?;

        // Coherence is judged anew: Redis evicts, which only bounded coherence allows.
        plain.check("CONFIG SET maxmemory 1gb maxmemory-policy allkeys-lru", "+OK\r\n")?;
        until("no hits", || Ok((lab.status()?.coherence.state == "off").then_some(())))?;
        lab.write_file("[coherence]\nmode = \"bounded\"\n")?;
        lab.act("reload")?;
        until("bounded", || Ok((lab.status()?.coherence.state == "bounded").then_some(())))?;
        lab.warm(&mut fast, "tmp:key", "value")
    });
}

#[test]
fn metrics_and_status_tell_the_same() {
    Lab::run(Options { redis: vec!["--timeout", "300"], ..Options::default() }, |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        (0..50).try_for_each(|_| fast.holds("key", "value"))?;
        (0..5).try_for_each(|_| fast.check("GET none", "$-1\r\n"))?;
        lab.act("flush")?;
        let (status, text) = (lab.status()?, lab.metrics()?);
        let samples = exposition::parse(&text);
        let sample = |name: &str| samples.get(name).copied().with_context(|| format!("no {name} in\n{text}"));
        ensure!(
            sample("kv_cache_hits_total")? == status.hits_total as f64 && status.hits_total > 50,
            "{status}"
        );
        ensure!(
            sample("kv_cache_misses_total")? == status.misses_total as f64 && status.misses_total > 0,
            "{status}"
        );
        ensure!(sample("kv_cache_passes_total{reason=\"miss\"}")? == status.misses_total as f64, "{text}");
        ensure!(sample("kv_cache_fills_total{result=\"admitted\"}")? >= 1.0, "{text}");
        ensure!(sample("kv_cache_invalidations_total{source=\"flush\"}")? >= 1.0, "{text}");
        ensure!(sample("kv_cache_redis_idle_timeout_seconds")? == 300.0, "{text}");
        ensure!(sample("kv_cache_coherence{state=\"strict\"}")? == 1.0, "{text}");
        ensure!(sample("xps_path{path=\"kernel\",reason=\"planned\"}")? == 1.0, "{text}");
        ensure!(sample("xps_flows")? >= 2.0, "{text}");
        ensure!(!text.contains("key\"") && !text.contains("10.78."), "a key or a client in\n{text}");
        Ok(())
    });
}

#[test]
fn other_credentials_hold_from_the_next_connection_on() {
    Lab::run(Options::default(), |lab| {
        let mut admin = lab.client(PLAIN)?;
        admin.set("key", "value")?;
        admin.check("ACL SETUSER sidecar on >one ~* &* +@all", "+OK\r\n")?;
        let password = lab.folder().join("password");
        std::fs::write(&password, "one\n")?;
        lab.write_file(&format!("[redis]\nusername = \"sidecar\"\npassword_file = {:?}\n", password))?;
        let said = lab.act("reload")?;
        ensure!(
            said.contains("changed: redis.username, the password of Redis") && !said.contains("one"),
            "{said}"
        );
        // The former user is of no more use, and its connections are closed.
        admin.check("CONFIG SET requirepass open", "+OK\r\n")?;
        ensure!(admin.command("CLIENT KILL USER default SKIPME yes")?.starts_with(b":"));
        let mut fast = lab.client(ACCELERATED)?;
        fast.check("AUTH open", "+OK\r\n")?;
        lab.warm(&mut fast, "key", "value")?;
        // The end of a test asks Redis without a password.
        admin.send(&request(&["CONFIG", "SET", "requirepass", ""]))?;
        admin.expect(b"+OK\r\n")
    });
}
