//! Passwords and users: no hit, ever, for what Redis would refuse.

use anyhow::{Result, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, bulk, request};

const ALICE: &str = "ACL SETUSER alice on >a ~* +@all";
const BOB: &str = "ACL SETUSER bob on >b ~b:* +@all";

/// The reply to `line`, which must be answered by Redis.
fn passes(lab: &Lab, client: &mut Client, line: &str) -> Result<Vec<u8>> {
    let before = lab.hits()?;
    let reply = client.command(line)?;
    ensure!(lab.hits()? == before, "{line} was answered in the stack");
    Ok(reply)
}

fn refused(lab: &Lab, client: &mut Client) -> Result<()> {
    for _ in 0..20 {
        let reply = passes(lab, client, "GET key")?;
        ensure!(reply.starts_with(b"-NO"), "{:?}", String::from_utf8_lossy(&reply));
    }
    Ok(())
}

#[test]
fn only_users_that_may_read_every_key_get_hits() {
    Lab::run(Options::default(), |lab| {
        let mut admin = lab.client(PLAIN)?;
        admin.set("key", "value")?;
        admin.check(ALICE, "+OK\r\n")?;
        admin.check(BOB, "+OK\r\n")?;
        // As long as the default user needs no password, everybody may read.
        let mut first = lab.client(ACCELERATED)?;
        lab.warm(&mut first, "key", "value")?;
        first.check("AUTH alice a", "+OK\r\n")?;
        lab.warm(&mut first, "key", "value")?;
        let mut bob = lab.client(ACCELERATED)?;
        bob.check("AUTH bob b", "+OK\r\n")?;
        refused(lab, &mut bob)?;
        ensure!(passes(lab, &mut bob, "AUTH alice wrong")?.starts_with(b"-WRONGPASS"));
        refused(lab, &mut bob)?;
        // Both in one segment: what the AUTH leads to is not known when the GET is read.
        bob.send(b"*3\r\n$4\r\nAUTH\r\n$5\r\nalice\r\n$1\r\nx\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n")?;
        ensure!(bob.reply()?.starts_with(b"-WRONGPASS") && bob.reply()?.starts_with(b"-NOPERM"));
        ensure!(bob.command("HELLO 3 AUTH alice a SETNAME bob")?.starts_with(b"%"));
        lab.warm(&mut bob, "key", "value")?;

        // An ACL that changes holds for connections that are there already, from its reply on.
        admin.check("ACL SETUSER alice resetkeys ~a:*", "+OK\r\n")?;
        refused(lab, &mut bob)?;
        refused(lab, &mut first)?;
        admin.check("ACL SETUSER alice ~* -get", "+OK\r\n")?;
        refused(lab, &mut first)?;
        admin.check("ACL SETUSER alice +get", "+OK\r\n")?;
        lab.warm(&mut first, "key", "value")
    });
}

#[test]
fn a_password_for_everybody_takes_hits_from_whoever_has_not_given_it() {
    let environment = vec![("KV_CACHE_REDIS_PASSWORD", "secret")];
    let settings = vec!["redis.username=sidecar"];
    let redis = vec!["--user", "sidecar", "on", ">secret", "~*", "&*", "+@all"];
    Lab::run(Options { settings, environment, redis, ..Options::default() }, |lab| {
        let mut admin = lab.client(PLAIN)?;
        admin.set("key", "value")?;
        let mut early = lab.client(ACCELERATED)?;
        lab.warm(&mut early, "key", "value")?;
        admin.check("CONFIG SET requirepass open", "+OK\r\n")?;
        // Redis goes on serving connections that came before; they have no hits, which is right as well.
        for _ in 0..20 {
            ensure!(passes(lab, &mut early, "GET key")? == bulk("value"));
        }
        let mut late = lab.client(ACCELERATED)?;
        refused(lab, &mut late)?;
        ensure!(passes(lab, &mut late, "AUTH wrong")?.starts_with(b"-WRONGPASS"));
        refused(lab, &mut late)?;
        late.check("AUTH open", "+OK\r\n")?;
        lab.warm(&mut late, "key", "value")?;
        let mut named = lab.client(ACCELERATED)?;
        named.check("AUTH default open", "+OK\r\n")?;
        lab.warm(&mut named, "key", "value")?;
        // The agent's own connections are opened again, too, with its credentials.
        lab.kill_sidecar()?;
        lab.start_sidecar()?;
        lab.warm(&mut named, "key", "value")?;
        admin.send(&request(&["CONFIG", "SET", "requirepass", ""]))?;
        admin.expect(b"+OK\r\n")?;
        lab.warm(&mut early, "key", "value")?;
        lab.warm(&mut late, "key", "value")
    });
}

#[test]
fn keys_that_do_not_exist_are_hits_until_they_do() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        let mut third = lab.client(ACCELERATED)?;
        ensure!(third.command("HELLO 3")?.starts_with(b"%"));
        for round in 0..3 {
            lab.warm_missing(&mut fast, "none")?;
            third.check("GET none", "_\r\n")?;
            lab.expect_hits(2, || {
                third.check("GET none", "_\r\n")?;
                fast.check("GET none", "$-1\r\n")
            })?;
            let value = if round == 1 { String::new() } else { format!("{round}") };
            plain.set("none", &value)?;
            fast.holds("none", &value)?;
            third.holds("none", &value)?;
            lab.warm(&mut fast, "none", &value)?;
            lab.warm(&mut third, "none", &value)?;
            match round {
                0 => plain.check("DEL none", ":1\r\n")?,
                1 => plain.check("PEXPIRE none 30", ":1\r\n")?,
                _ => plain.check("FLUSHALL", "+OK\r\n")?,
            }
            std::thread::sleep(std::time::Duration::from_millis(40));
            fast.check("GET none", "$-1\r\n")?;
            third.check("GET none", "_\r\n")?;
        }
        Ok(())
    });
}
