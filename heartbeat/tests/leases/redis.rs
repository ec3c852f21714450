//! Redis, real and pretended.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::checks::server;
use crate::support::{Host, Process};

/// Debian's Redis on a unix socket; `None` if there is none on this machine.
fn redis(folder: &Path, more: &[&str]) -> Option<Process> {
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--dir"])
        .arg(folder)
        .arg("--unixsocket")
        .arg(folder.join("redis.sock"))
        .args(more)
        .stdout(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(Process(child)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("SKIPPED: redis-server is not installed; `cargo xtask setup` installs it");
            None
        }
        Err(error) => panic!("redis-server: {error}"),
    }
}

fn keys(by: &str, address: &str) -> String {
    format!("lease_by = \"{by}\"\nlease = \"900ms\"\nlease_address = \"{address}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_stopped_lapses_though_it_still_listens() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(redis) = redis(folder.path(), &[]) else { return };
    let address = format!("unix:{}", folder.path().join("redis.sock").display());
    let host = Host::start(&[(7, &keys("redis", &address)), (8, &keys("tcp", &address))]);
    host.wait_alive(7);
    host.wait_alive(8);
    redis.signal(libc::SIGSTOP);
    host.wait_lapsed(7);
    host.wait_failure(7, "no answer within 300ms");
    // The kernel still takes connections for it.
    let renewals = host.view(8).renewals;
    host.wait(8, "is connected to", |view| view.renewals > renewals + 2);
    redis.signal(libc::SIGCONT);
    host.wait_alive(7);
    drop(redis);
    host.wait_failure(7, "cannot connect to unix:");
    host.wait_lapsed(8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_a_password_wants_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_redis) =
        redis(folder.path(), &["--requirepass", "hunter2", "--user", "probe", "on", ">pa\u{df}", "+ping"])
    else {
        return;
    };
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        format!("lease_password_file = \"{}\"\n", path.display())
    };
    let open = keys("redis", &format!("unix:{}", folder.path().join("redis.sock").display()));
    let right = open.clone() + &secret("right", "hunter2\n");
    let wrong = open.clone() + &secret("wrong", "hunter3\n");
    let user = open.clone() + &secret("user", "pa\u{df}") + "lease_username = \"probe\"\n";
    let host = Host::start(&[(1, &open), (2, &right), (3, &wrong), (4, &user)]);
    host.wait_alive(2);
    host.wait_alive(4);
    host.wait_failure(1, "Redis says: NOAUTH");
    host.wait_failure(3, "Redis says: WRONGPASS");
    assert_eq!((host.view(1).alive, host.view(3).alive), (false, false));
    let all = format!("{:?}", host.leases);
    assert!(!all.contains("hunter") && all.contains("(secret)"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pong_is_alive() {
    let say = Arc::new(Mutex::new(""));
    let saying = Arc::clone(&say);
    let address = server(move |mut stream| {
        let mut request = [0; 64];
        let Ok(length) = stream.read(&mut request) else { return };
        assert_eq!(&request[..length], b"*1\r\n$4\r\nPING\r\n");
        let _ = stream.write_all(saying.lock().expect("say").as_bytes());
    });
    let long = "-".to_owned() + &"x".repeat(10_000);
    let host = Host::start(&[(7, &keys("redis", &address.to_string()))]);
    for (text, failure) in [
        ("+PONG\r\n", None),
        ("-LOADING Redis is loading the dataset in memory\r\n", Some("Redis says: LOADING Redis is loading")),
        ("+PONG\r\n", None),
        ("-BUSY Redis is busy running a script.\r\n", Some("Redis says: BUSY Redis is busy")),
        ("$4\r\nPONG\r\n", Some("did not answer +PONG")),
        ("+PO", Some("closed the connection without")),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", Some("did not answer +PONG")),
        ("", Some("closed the connection without")),
        (&*long.leak(), Some("did not answer +PONG")),
    ] {
        *say.lock().expect("say") = text;
        match failure {
            None => host.wait_alive(7),
            Some(failure) => {
                host.wait_failure(7, failure);
                host.wait_lapsed(7);
            }
        }
    }
}
