//! Where Redis asks for a password: what hides a login, and what only looks like that (C11).

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, bulk, is_lost, until};

/// Runs a test with a Redis whose default user needs the password `open`; without it at the end, for the look that is taken
/// then.
fn with_a_password(options: Options, test: impl Fn(&mut Lab, &mut Client) -> Result<()>) {
    let environment = vec![("KV_CACHE_REDIS_PASSWORD", "secret")];
    let redis = vec!["--user", "sidecar", "on", ">secret", "~*", "&*", "+@all"];
    let settings = [options.settings, vec!["redis.username=sidecar"]].concat();
    Lab::run(Options { environment, redis, settings, ..options }, |lab| {
        let mut admin = lab.client(PLAIN)?;
        admin.check("CONFIG SET requirepass open", "+OK\r\n")?;
        let mut known = logged_in(lab, ACCELERATED)?;
        // The user path sees what comes through it; of the rest it hears with its next look.
        until("a stranger that is refused", || {
            let mut stranger = lab.client(ACCELERATED)?;
            stranger.stream().set_read_timeout(Some(Duration::from_millis(100)))?;
            stranger.send(b"\0")?;
            Ok(stranger.reply().is_err_and(|error| is_over(&error)).then_some(()))
        })?;
        test(lab, &mut known)?;
        admin.check("CONFIG SET requirepass ", "+OK\r\n")
    });
}

fn logged_in(lab: &Lab, port: u16) -> Result<Client> {
    let mut client = lab.client(port)?;
    client.check("AUTH open", "+OK\r\n")?;
    Ok(client)
}

/// Whether the connection has ended, by whatever way.
fn is_over(error: &Error) -> bool {
    is_lost(error) || format!("{error:?}").contains("the end")
}

/// Segments of a client, each sent some time after the former, with a write that Redis carries out behind a login which no
/// parser but its own would find.
fn hidden(key: &str, value: &str) -> Vec<Vec<Vec<u8>>> {
    let write = format!("SET {key} {value}\r\n");
    let login = format!("AUTH open\r\n{write}");
    let split = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect();
    vec![
        // In one segment, and one after the other.
        split(&[[b"*1\r\n$4\r\nPI\0G\r\n", login.as_bytes()].concat().as_slice()]),
        split(&[b"*1\r\n$4\r\nPI\0G\r\n", b"AUTH open\r\n", write.as_bytes()]),
        split(&[[b"*1\r\n$4\r\nPINGxy", login.as_bytes()].concat().as_slice()]),
        split(&[b"*1\r\n$4\r\nPING", b"xy", login.as_bytes()]),
        split(&[format!("\"\\x41UTH\" open\r\n{write}").as_bytes()]),
        split(&[b"'AUTH' ", b"open\r\n", write.as_bytes()]),
        // The login is known, but not yet that it was granted.
        split(&[format!("AUTH open\r\n\"SET\" {key} {value}\r\n").as_bytes()]),
        split(
            &[format!("AUTH open\r\n*3\r\n$3\r\nSET\r\n${}\r\n{key}xy$3\r\nnew\r\n", key.len()).as_bytes()],
        ),
        // Nothing of it is ever carried out.
        split(&[b"\0", login.as_bytes()]),
        split(&[b"\x16\x03\x01\x02\0\x01\0\n", login.as_bytes()]),
    ]
}

/// What is not understood before a login is known goes nowhere, so nobody can read what it would have replaced.
fn a_hidden_login_writes_nothing(options: Options, ports: &[u16]) {
    with_a_password(options, |lab, known| {
        let mut direct = logged_in(lab, PLAIN)?;
        for &port in ports {
            for (i, segments) in hidden("key", "new").into_iter().enumerate() {
                let what = || format!("{i}: {} to {port}", segments.concat().escape_ascii());
                known.set("key", "old")?;
                lab.warm(known, "key", "old")?;
                let mut stranger = lab.client(port)?;
                // One of the later segments may meet a connection that has ended.
                let _ = segments.iter().try_for_each(|segment| {
                    sleep(Duration::from_millis(20));
                    stranger.send(segment)
                });
                for _ in 0..20 {
                    let truth = direct.get("key")?.context("nothing")?;
                    known.holds("key", &truth).with_context(what)?;
                    ensure!(truth == b"old", "{}: it was written", what());
                }
                // Whatever Redis has said before, in the end the client is told of the end.
                let end = loop {
                    match stranger.reply() {
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                ensure!(is_over(&end), "{}: {end:?}", what());
                lab.warm(known, "key", "old").with_context(what)?;
                lab.expect_hits(20, || (0..20).try_for_each(|_| known.holds("key", "old")))
                    .with_context(what)?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_hidden_login_writes_nothing_in_the_stack() {
    a_hidden_login_writes_nothing(Options::default(), &[ACCELERATED, PLAIN]);
}

#[test]
fn a_hidden_login_writes_nothing_on_the_user_path() {
    a_hidden_login_writes_nothing(Options::user(), &[ACCELERATED]);
}

/// A person at a terminal, whose login is known: what is not understood passes, and is taken for a write.
fn an_odd_client_that_has_logged_in_is_served(options: Options) {
    with_a_password(options, |lab, known| {
        for login in
            ["AUTH open\r\n", "AUTH \"open\"\r\n", "AUTH default 'open'\r\n", "HELLO 3 AUTH default open\r\n"]
        {
            known.set("key", "old")?;
            lab.warm(known, "key", "old")?;
            let mut odd = lab.client(ACCELERATED)?;
            odd.send(b"GET \"key\"\r\n")?;
            ensure!(odd.reply()?.starts_with(b"-NOAUTH"));
            odd.send(login.as_bytes())?;
            let reply = odd.reply()?;
            ensure!(reply == b"+OK\r\n" || reply.starts_with(b"%"), "{login}: {}", reply.escape_ascii());
            lab.warm(known, "key", "old")?;
            odd.send(b"\"SET\" \"key\" \"a new value\"\r\n")?;
            odd.expect(b"+OK\r\n").context(login)?;
            lab.expect_hits(0, || (0..20).try_for_each(|_| known.holds("key", "a new value")))
                .context(login)?;
            drop(odd);
            lab.warm(known, "key", "a new value")?;
        }
        Ok(())
    });
}

#[test]
fn an_odd_client_that_has_logged_in_is_served_in_the_stack() {
    an_odd_client_that_has_logged_in_is_served(Options::default());
}

#[test]
fn an_odd_client_that_has_logged_in_is_served_on_the_user_path() {
    an_odd_client_that_has_logged_in_is_served(Options::user());
}

/// While nobody says that clients must log in, all are assumed to write. The next sidecar ends those that have not.
#[test]
fn who_was_not_understood_while_there_was_no_sidecar_is_gone_with_the_next() {
    let options = Options { settings: vec!["lease.duration=500ms"], ..Options::default() };
    with_a_password(options, |lab, known| {
        known.set("key", "value")?;
        lab.warm(known, "key", "value")?;
        let mut early = [ACCELERATED, PLAIN].map(|port| lab.client(port));
        lab.kill_sidecar()?;
        sleep(Duration::from_millis(900));
        let mut late = [ACCELERATED, PLAIN].map(|port| lab.client(port));
        for stranger in early.iter_mut().chain(&mut late) {
            stranger.as_mut().map_err(|error| anyhow::anyhow!("{error:?}"))?.send(b"\0\0\0\0")?;
        }
        known.holds("key", "value")?;
        lab.start_sidecar()?;
        lab.warm(known, "key", "value").context("beside the strangers")?;
        lab.expect_hits(20, || (0..20).try_for_each(|_| known.holds("key", "value")))?;
        for stranger in early.into_iter().chain(late) {
            let end = stranger?.reply().err().context("a reply")?;
            ensure!(is_over(&end), "{end:?}");
        }
        Ok(())
    });
}

/// Redis has no room for a client, or reads no further: it says so though nobody has asked, and closes.
#[test]
fn what_a_server_says_before_it_closes_takes_no_hits_from_others() {
    with_a_password(Options::default(), |lab, known| {
        known.set("key", "value")?;
        let clients = String::from_utf8(known.command("CLIENT LIST")?)?.matches(" addr=").count();
        for (bytes, maxclients, says) in
            [(&b"*11\r\n"[..], 10_000, "unauthenticated"), (b"", clients, "max number of clients")]
        {
            known.check(&format!("CONFIG SET maxclients {maxclients}"), "+OK\r\n")?;
            lab.warm(known, "key", "value")?;
            for port in [ACCELERATED, PLAIN] {
                let mut strangers = Vec::new();
                lab.expect_hits(40, || {
                    for _ in 0..4 {
                        let mut stranger = lab.client(port)?;
                        let _ = stranger.send(bytes);
                        let said = stranger.reply()?;
                        ensure!(String::from_utf8_lossy(&said).contains(says), "{}", said.escape_ascii());
                        strangers.push(stranger);
                        (0..10).try_for_each(|_| known.holds("key", "value"))?;
                    }
                    Ok(())
                })
                .with_context(|| format!("{says} at {port}"))?;
            }
        }
        known.check("CONFIG SET maxclients 10000", "+OK\r\n")?;
        until("hits", || {
            lab.warm(known, "key", "value")?;
            ensure!(known.command("GET key")? == bulk("value"));
            Ok(Some(()))
        })
    });
}
