//! The sidecar reads its configuration again, is killed, comes back, and stops in order, with clients at work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{CLIENT_V4, Lab};
use crate::until;

const LIMIT: &str = r#"
[[rule]]
name = "limited"
path = "/limited"
action = "limit"
rate = "1/min"
burst = 2
"#;

pub(crate) const PRIVATE: &str = r#"
[[rule]]
name = "private"
path_prefix = "/private/"
action = "deny"
"#;

/// How often a rule refused.
fn rejected(lab: &Lab, name: &str) -> Result<u64> {
    let status = lab.status()?;
    let rule = status.rules.iter().find(|rule| rule.name == name);
    Ok(rule.with_context(|| format!("no rule {name}: {status}"))?.rejected)
}

fn use_up(lab: &Lab) -> Result<()> {
    let mut fast = lab.client()?;
    for status in [404, 404, 429] {
        let response = fast.get("/limited")?;
        ensure!(response.status == status, "{response:?}");
    }
    Ok(())
}

#[test]
fn a_reload_keeps_buckets_counters_and_connections() {
    Lab::run(LIMIT, |lab| {
        let mut idle = lab.client()?;
        ensure!(idle.get("/private/a")?.status == 404, "no rule yet");
        use_up(lab)?;
        for round in 1..4 {
            let order = if round % 2 == 0 { [LIMIT, PRIVATE] } else { [PRIVATE, LIMIT] };
            lab.write_file(&order.concat())?;
            lab.act("reload")?;
            ensure!(idle.get("/private/a")?.status == 403, "the new rule holds");
            ensure!(lab.client()?.get("/limited")?.status == 429, "the bucket is as empty as before");
            ensure!(rejected(lab, "limited")? == 1 + round, "round {round}");
            ensure!(rejected(lab, "private")? == round, "round {round}");
        }
        lab.write_file("[[rule]]\nname = \"x\"\n")?;
        let mistakes = lab.act("reload").expect_err("mistakes").to_string();
        ensure!(mistakes.contains("rule \"x\" has no action"), "{mistakes}");
        ensure!(!lab.status()?.configuration.last_reload_successful, "the status tells it");
        ensure!(idle.get("/private/a")?.status == 403, "the old rule goes on");
        Ok(())
    });
}

#[test]
fn a_changed_file_of_addresses_is_read_again() {
    Lab::run("", |lab| {
        lab.write_beside("bad.txt", "# nobody\n")?;
        lab.write_file("[[rule]]\nname = \"bad\"\nclient_file = \"bad.txt\"\naction = \"deny\"\n")?;
        lab.act("reload")?;
        let mut fast = lab.client()?;
        ensure!(fast.get("/index.html")?.status == 200, "nobody is on the list");
        lab.write_beside("bad.txt", &format!("10.0.0.0/24\n{CLIENT_V4} # this client\n"))?;
        until("a refusal", || Ok((fast.get("/index.html")?.status == 403).then_some(())))?;
        lab.write_beside("bad.txt", "10.0.0.0/24\n")?;
        until("a response", || Ok((fast.get("/index.html")?.status == 200).then_some(())))
    });
}

#[test]
fn connections_and_buckets_survive_a_killed_sidecar_and_its_successor() {
    let file = format!("[lease]\nduration = \"500ms\"\n{LIMIT}{PRIVATE}");
    Lab::run(&file, |lab| {
        let mut idle = lab.client()?;
        ensure!(idle.get("/private/a")?.status == 403, "the rule holds");
        use_up(lab)?;
        for round in 0..2 {
            lab.kill_sidecar()?;
            ensure!(idle.get("/index.html")?.status == 200, "after kill {round}");
            std::thread::sleep(Duration::from_millis(700));
            // Nobody vouches for the tables now: everything passes.
            ensure!(lab.client()?.get("/private/a")?.status == 404, "a new connection after kill {round}");
            lab.start_sidecar().with_context(|| format!("start after kill {round}"))?;
            ensure!(idle.get("/private/a")?.status == 403, "judged again, on the old connection");
            ensure!(idle.get("/index.html")?.status == 200, "which goes on");
            ensure!(lab.client()?.get("/limited")?.status == 429, "the bucket is as empty as before");
        }
        Ok(())
    });
}

#[test]
fn an_orderly_stop_waits_for_connections_and_resets_what_is_left() {
    Lab::run(PRIVATE, |lab| {
        let mut idle = lab.client()?;
        ensure!(idle.get("/private/a")?.status == 403, "the rule holds");
        lab.stop_sidecar()?;
        ensure!(idle.get("/index.html").is_err(), "nobody translates any more");
        lab.start_sidecar()?;
        ensure!(lab.client()?.get("/private/a")?.status == 403, "the rule holds again");
        Ok(())
    });
}
