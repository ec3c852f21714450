//! TLS from clients.

use std::thread;

use rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::authority::Issued;
use crate::client::{Client, Manner};
use crate::processes::{CONFIGURATION, Redis, Sidecar, file, text, until};

#[test]
fn clients_with_tls_get_hits_and_everything_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let own = authority.issue("front", &["localhost"]);
    let Some(redis) = Redis::start(folder.path(), None, &[]) else { return };
    let settings = [
        text("redis.address", redis.plain),
        file("tls.certificate_file", &own.certificate),
        file("tls.key_file", &own.key),
        text("coherence.mode", "bounded"),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    sidecar.becomes("bounded");
    for version in [&TLS12, &TLS13] {
        let manner = Manner { versions: &[version], ..Manner::trusting(&authority.certificate) };
        let mut client = Client::tls(sidecar.tls, manner);
        assert_eq!(client.command("SET key value").expect("a reply"), "+OK");
        sidecar.warm(&mut client, "key", "value");
        // A write by TLS is seen at once by whoever comes without, and the other way round.
        let mut plain = Client::plain(sidecar.plain);
        sidecar.warm(&mut plain, "key", "value");
        for round in 0..50 {
            let (one, other) =
                if round % 2 == 0 { (&mut client, &mut plain) } else { (&mut plain, &mut client) };
            assert_eq!(one.command(&format!("SET key {round}")).expect("a reply"), "+OK");
            assert_eq!(other.command("GET key").expect("a reply"), round.to_string());
        }
        // A pipeline with a reply larger than any buffer on the way, in order.
        let large = "x".repeat(3_000_000);
        assert_eq!(client.command(&format!("SET large {large}")).expect("a reply"), "+OK");
        client
            .send(&b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".repeat(4))
            .expect("sent");
        for _ in 0..4 {
            assert!(client.reply().expect("a reply") == large);
            assert_eq!(client.reply().expect("a reply"), "49");
        }
        for result in ["hit", "pass"] {
            let count = format!("kv_cache_user_path_seconds_count{{result=\"{result}\"}}");
            assert!(sidecar.metric(&count) >= 2.0, "{}", sidecar.metrics());
        }
        assert_eq!(client.command("QUIT").expect("a reply"), "+OK");
        assert!(client.rest().expect("an orderly end").is_empty());
    }
}

#[test]
fn in_strict_mode_clients_with_tls_are_relayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let own = authority.issue("front", &["localhost"]);
    let Some(redis) = Redis::start(folder.path(), None, &[]) else { return };
    let settings = [
        text("redis.address", redis.plain),
        file("tls.certificate_file", &own.certificate),
        file("tls.key_file", &own.key),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    let address = sidecar.tls;
    let certificate = authority.certificate.clone();
    let clients: Vec<_> = (0..8)
        .map(|at| {
            let certificate = certificate.clone();
            thread::spawn(move || {
                let mut client = Client::tls(address, Manner::trusting(&certificate));
                let value = "y".repeat(100_000 + at);
                for _ in 0..10 {
                    assert_eq!(client.command(&format!("SET key:{at} {value}")).expect("a reply"), "+OK");
                    assert!(client.command(&format!("GET key:{at}")).expect("a reply") == value);
                }
                // What Redis says before it closes arrives.
                client.send(b"*1\r\n$999999999999\r\n").expect("sent");
                assert!(client.reply().expect("its last words").starts_with("-ERR Protocol error"));
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client's success");
    }
    until("their end", || (sidecar.status().flows.relayed == 0).then_some(()));
    assert_eq!(sidecar.status().hits_total, 0);
}

#[test]
fn clients_need_a_certificate_if_there_is_an_authority_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let own = authority.issue("front", &["localhost"]);
    let (trusted, unknown) = (authority.issue("trusted", &["a"]), other.issue("unknown", &["b"]));
    let Some(redis) = Redis::start(folder.path(), None, &[]) else { return };
    let settings = [
        text("redis.address", redis.plain),
        file("tls.certificate_file", &own.certificate),
        file("tls.key_file", &own.key),
        file("tls.client_ca_file", &authority.certificate),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    let manner = Manner::trusting(&authority.certificate);
    let mut client = Client::tls(sidecar.tls, Manner { identity: Some(&trusted), ..manner });
    assert_eq!(client.command("PING").expect("a reply"), "+PONG");
    let connections = || {
        let mut plain = Client::plain(redis.plain);
        let info = plain.command("INFO stats").expect("a reply");
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    until("the watch", || (!sidecar.status().coherence.causes[0].starts_with("starting")).then_some(()));
    let before = connections();
    for identity in [None, Some(&unknown)] {
        let mut client = Client::tls(sidecar.tls, Manner { identity, ..manner });
        let error = client.command("PING").expect_err("refused");
        assert!(error.to_string().contains("alert"), "{error}");
    }
    // Not TLS at all.
    let mut client = Client::plain(sidecar.tls);
    client.send(b"PING\r\n").expect("sent");
    assert!(client.reply().is_err());
    until("the count", || (sidecar.metric("xps_relay_handshake_failures_total") == 3.0).then_some(()));
    assert_eq!(connections(), before + 1, "Redis sees only who was accepted, and this test");
    assert!(sidecar.log().contains("a client's handshake failed"), "{}", sidecar.log());
}

#[test]
fn a_renewed_certificate_is_shown_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let own = authority.issue("front", &["localhost"]);
    let Some(redis) = Redis::start(folder.path(), None, &[]) else { return };
    let settings = [
        text("redis.address", redis.plain),
        file("tls.certificate_file", &own.certificate),
        file("tls.key_file", &own.key),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    let reaches = |authority: &Authority| {
        Client::tls(sidecar.tls, Manner::trusting(&authority.certificate)).command("PING").is_ok()
    };
    let mut older = Client::tls(sidecar.tls, Manner::trusting(&authority.certificate));
    assert_eq!(older.command("PING").expect("a reply"), "+PONG");
    // Half of a change: the key is another's.
    let key = std::fs::read(&own.key).expect("the key");
    std::fs::write(&own.key, "no key").expect("written");
    until("a warning", || sidecar.log().contains("tls.key_file").then_some(()));
    assert!(reaches(&authority), "the old one goes on");
    std::fs::write(&own.key, key).expect("written");
    other.issue("front", &["localhost"]);
    until("the new certificate", || reaches(&other).then_some(()));
    assert!(!reaches(&authority));
    assert_eq!(older.command("PING").expect("a reply"), "+PONG");
}

#[test]
fn a_reload_takes_other_files_and_keeps_the_old_ones_on_a_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let (first, second) = (authority.issue("first", &["localhost"]), other.issue("second", &["localhost"]));
    let Some(redis) = Redis::start(folder.path(), None, &[]) else { return };
    let configure = |certificate: &Issued, key: &Issued, more: &str| {
        let (certificate, key) = (certificate.certificate.display(), key.key.display());
        let text = format!("[tls]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n{more}");
        std::fs::write(folder.path().join(CONFIGURATION), text).expect("written");
    };
    configure(&first, &first, "");
    let sidecar = Sidecar::start(folder.path(), &[text("redis.address", redis.plain)]);
    let reaches = |manner| Client::tls(sidecar.tls, manner).command("PING").is_ok();
    let (to_first, to_second) =
        (Manner::trusting(&authority.certificate), Manner::trusting(&other.certificate));
    assert!(reaches(to_first));
    configure(&second, &first, "");
    let (done, said) = sidecar.reload();
    assert!(!done && said.contains("tls.certificate_file") && said.contains("does not belong"), "{said}");
    assert!(reaches(to_first) && !reaches(to_second));
    configure(&second, &second, &format!("client_ca_file = \"{}\"\n", authority.certificate.display()));
    let (done, said) = sidecar.reload();
    assert!(done && said.contains("changed: TLS from clients"), "{said}");
    let own = authority.issue("own", &["a"]);
    assert!(reaches(Manner { identity: Some(&own), ..to_second }));
    assert!(!reaches(to_second) && !reaches(Manner { identity: Some(&own), ..to_first }));
}
