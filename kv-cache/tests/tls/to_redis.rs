//! TLS to Redis, and Redis by name.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::authority::Authority;
use crate::client::Client;
use crate::processes::{Redis, Sidecar, file, text, until};

#[test]
fn a_redis_with_tls_is_cached_and_its_keys_tracked() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("server", &["localhost"]);
    let own = authority.issue("kv-cache", &["kv-cache"]);
    // Redis demands a client certificate, as it does by default.
    let Some(redis) = Redis::start(folder.path(), Some((&server, &authority.certificate)), &[]) else {
        return;
    };
    let settings = [
        text("redis.address", format!("localhost:{}", redis.tls.port())),
        text("redis.tls", "true"),
        file("redis.tls_ca_file", &authority.certificate),
        file("redis.tls_certificate_file", &own.certificate),
        file("redis.tls_key_file", &own.key),
        text("coherence.mode", "bounded"),
        text("path.mode", "auto"),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    assert!(sidecar.status().path_causes.iter().any(|cause| cause.starts_with("encrypted: ")));
    sidecar.becomes("bounded");
    until("tracking", || sidecar.status().coherence.tracking.starts_with("connected").then_some(()));
    let mut client = Client::plain(sidecar.plain);
    assert_eq!(client.command("SET key one").expect("a reply"), "+OK");
    sidecar.warm(&mut client, "key", "one");
    // Written past the sidecar: known by tracking, over TLS.
    let mut other = Client::plain(redis.plain);
    assert_eq!(other.command("SET key two").expect("a reply"), "+OK");
    until("the new value", || (client.command("GET key").expect("a reply") == "two").then_some(()));
    // Larger than any buffer on the way, both ways.
    let large = "x".repeat(5_000_000);
    assert_eq!(client.command(&format!("SET large {large}")).expect("a reply"), "+OK");
    assert!(client.command("GET large").expect("a reply") == large);
    sidecar.warm(&mut client, "key", "two");
    // The agent's connection lasts: TLS's own words (session tickets) do not count as its end.
    assert_eq!(sidecar.log().matches("watching Redis").count(), 1, "{}", sidecar.log());
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let good = authority.issue("server", &["localhost"]);
    let expired = authority.issue_until("expired", &["localhost"], 2001);
    let misnamed = authority.issue("misnamed", &["redis.example.com"]);
    let own = authority.issue("kv-cache", &["kv-cache"]);
    let own = [file("redis.tls_certificate_file", &own.certificate), file("redis.tls_key_file", &own.key)];
    let with = |server, trusts: &Authority, identity: bool, expected: &str| {
        let Some(redis) = Redis::start(folder.path(), Some((server, &authority.certificate)), &[]) else {
            return;
        };
        let mut settings = vec![
            text("redis.address", format!("localhost:{}", redis.tls.port())),
            text("redis.tls", "true"),
            file("redis.tls_ca_file", &trusts.certificate),
        ];
        if identity {
            settings.extend(own.clone());
        }
        let sidecar = Sidecar::start(folder.path(), &settings);
        let said = sidecar.says("unreachable");
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert!(!sidecar.log().contains("PRIVATE"));
    };
    with(&good, &other, true, "set redis.tls_ca_file to the certificate of the authority");
    with(&expired, &authority, true, "renew Redis's certificate");
    with(&misnamed, &authority, true, "set redis.tls_server_name");
    with(&good, &authority, false, "set redis.tls_certificate_file and redis.tls_key_file");
}

#[test]
fn tls_on_one_side_only_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("server", &["localhost"]);
    let Some(redis) = Redis::start(folder.path(), Some((&server, &authority.certificate)), &[]) else {
        return;
    };
    let trusts = file("redis.tls_ca_file", &authority.certificate);
    let address = text("redis.address", format!("localhost:{}", redis.plain.port()));
    let sidecar = Sidecar::start(folder.path(), &[address, text("redis.tls", "true"), trusts]);
    let said = sidecar.says("unreachable");
    assert!(said.contains("speak TLS"), "{said}");
    let sidecar = Sidecar::start(folder.path(), &[text("redis.address", redis.tls)]);
    let said = sidecar.says("unreachable");
    assert!(said.contains("set redis.tls = true"), "{said}");
}

#[test]
fn a_server_name_may_differ_from_the_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("server", &["redis.example.com"]);
    let more = ["--tls-auth-clients", "no"];
    let Some(redis) = Redis::start(folder.path(), Some((&server, &authority.certificate)), &more) else {
        return;
    };
    let settings = [
        text("redis.address", redis.tls),
        text("redis.tls", "true"),
        file("redis.tls_ca_file", &authority.certificate),
        text("redis.tls_server_name", "redis.example.com"),
        text("coherence.mode", "bounded"),
    ];
    Sidecar::start(folder.path(), &settings).becomes("bounded");
}

#[test]
fn a_renewed_client_certificate_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("server", &["localhost"]);
    // One that Redis does not trust, at first.
    let own = Authority::new(folder.path(), "other").issue("kv-cache", &["kv-cache"]);
    let Some(redis) = Redis::start(folder.path(), Some((&server, &authority.certificate)), &[]) else {
        return;
    };
    let settings = [
        text("redis.address", format!("localhost:{}", redis.tls.port())),
        text("redis.tls", "true"),
        file("redis.tls_ca_file", &authority.certificate),
        file("redis.tls_certificate_file", &own.certificate),
        file("redis.tls_key_file", &own.key),
        text("coherence.mode", "bounded"),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    sidecar.says("unreachable");
    authority.issue("kv-cache", &["kv-cache"]);
    sidecar.becomes("bounded");
}

#[test]
fn a_redis_elsewhere_leads_to_the_user_path_with_its_cause() {
    let folder = tempfile::tempdir().expect("a folder");
    for (address, cause) in
        [("192.0.2.1:6379", "server_elsewhere: "), ("nosuch.invalid:6379", "server_unresolved: ")]
    {
        let settings = [text("redis.address", address), text("path.mode", "auto")];
        let sidecar = Sidecar::start(folder.path(), &settings);
        let causes = sidecar.status().path_causes;
        assert!(causes[0].starts_with(cause), "{causes:?}");
        assert_eq!(sidecar.status().path, "user");
    }
    // Whoever demands the kernel path is told the same.
    let output = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        .args(["run", "--set", "redis.address=192.0.2.1:6379", "--set", "path.mode=kernel"])
        .args(["--set", "listen.addresses=127.0.0.1"])
        .args(["--set", &format!("listen.admin={}", crate::processes::free_address())])
        .args(["--set", &format!("listen.accelerated_port={}", crate::processes::free_address().port())])
        .output()
        .expect("kv-cache runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("192.0.2.1 is not in this network namespace"), "{said}");
}

#[test]
fn a_redis_that_dies_ends_its_clients_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("server", &["localhost"]);
    let more = ["--tls-auth-clients", "no"];
    let Some(redis) = Redis::start(folder.path(), Some((&server, &authority.certificate)), &more) else {
        return;
    };
    let settings = [
        text("redis.address", format!("localhost:{}", redis.tls.port())),
        text("redis.tls", "true"),
        file("redis.tls_ca_file", &authority.certificate),
        text("coherence.mode", "bounded"),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    sidecar.becomes("bounded");
    let mut client = Client::plain(sidecar.plain);
    assert_eq!(client.command("SET key value").expect("a reply"), "+OK");
    drop(redis);
    assert!(client.rest().is_ok_and(|rest| rest.is_empty()) || client.command("PING").is_err());
    sidecar.becomes("off");
    sleep(Duration::from_millis(100));
    let mut late = Client::plain(sidecar.plain);
    assert!(late.command("GET key").is_err(), "nobody is there to answer");
}
