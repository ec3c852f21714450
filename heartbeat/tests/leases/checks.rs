//! Applications that the agent asks, by TCP, HTTP and commands.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use heartbeat_lease::monotonic_ns;

use crate::support::{Host, wait_for};

/// A server that does this with each connection, one after the other, until the test ends.
pub(crate) fn server(mut serve: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || listener.incoming().flatten().for_each(&mut serve));
    address
}

/// Waits for a request, and answers it; who asked may be gone.
fn answer(mut stream: &TcpStream, answer: &str) {
    let mut request = [0; 4096];
    if stream.read(&mut request).is_ok_and(|length| length != 0) {
        let _ = stream.write_all(answer.as_bytes());
    }
}

fn http(address: SocketAddr) -> String {
    format!("lease_by = \"http\"\nlease = \"600ms\"\nlease_url = \"http://{address}/health?deep=1\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_alive_while_something_listens() {
    // Nobody accepts: the kernel does, and so it would for a process that is stopped.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let host =
        Host::start(&[(7, &format!("lease_by = \"tcp\"\nlease = \"600ms\"\nlease_address = \"{address}\""))]);
    host.wait_alive(7);
    drop(listener);
    host.wait_failure(7, &format!("cannot connect to {address}: "));
    host.wait_lapsed(7);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_alive_by_its_status() {
    let say = Arc::new(Mutex::new(("200 OK", String::new())));
    let (saying, heard) = (Arc::clone(&say), Arc::new(Mutex::new(String::new())));
    let hearing = Arc::clone(&heard);
    let address = server(move |mut stream| {
        let mut request = [0; 4096];
        let Ok(length) = stream.read(&mut request) else { return };
        *hearing.lock().expect("heard") = String::from_utf8_lossy(&request[..length]).into_owned();
        let status = saying.lock().expect("say").0;
        // The body never comes, and is not waited for.
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 100\r\n\r\n");
    });
    let host = Host::start(&[(7, &http(address))]);
    for (status, alive) in
        [("200 OK", true), ("503 Unavailable", false), ("302 Found", true), ("404 Not Found", false)]
    {
        say.lock().expect("say").0 = status;
        if alive {
            host.wait_alive(7);
        } else {
            host.wait_failure(7, &format!("answered with status {}", &status[..3]));
            host.wait_lapsed(7);
        }
    }
    let request = heard.lock().expect("heard").to_ascii_lowercase();
    assert!(request.starts_with("get /health?deep=1 http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: {address}\r\n")), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_or_says_something_else_is_not_alive() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closing = server(drop);
    let other = server(|stream| answer(&stream, "-ERR what?\r\n"));
    let endless = server(|mut stream| {
        answer(&stream, "HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: yes\r\n").is_ok() {}
    });
    let addresses = [silent.local_addr().expect("its address"), closing, other, endless].map(http);
    let nodes: Vec<_> = (1..).zip(addresses.iter().map(String::as_str)).collect();
    let host = Host::start(&nodes);
    host.wait_failure(1, "no answer within 200ms");
    for number in 2..=3 {
        host.wait(number, "fails", |view| view.failures > 2);
    }
    host.wait(4, "fails", |view| view.failures > 0);
    assert!(host.leases.views().iter().all(|view| !view.alive && view.renewals == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_counts_from_when_it_was_asked_for() {
    const LEASE_NS: u64 = 3_600_000_000_000;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asking = Arc::clone(&asked);
    let address = server(move |stream| {
        asking.lock().expect("asked").push(monotonic_ns());
        // Late, but in time.
        thread::sleep(Duration::from_millis(50));
        answer(&stream, "HTTP/1.1 204 No Content\r\n\r\n");
    });
    let keys = format!(
        "lease_by = \"http\"\nlease = \"1h\"\nlease_interval = \"10ms\"\nlease_url = \"http://{address}/\""
    );
    let host = Host::start(&[(7, &keys)]);
    let view = host.wait(7, "is renewed", |view| view.renewals >= 5);
    assert_eq!(view.failures, 0, "{view:?}");
    let (told, asked) = (host.told(7), asked.lock().expect("asked").clone());
    // One question, one answer, one renewal. Each began before the server saw its connection.
    for (until_ns, at_ns) in told.iter().zip(asked) {
        assert!(until_ns - LEASE_NS <= at_ns, "{} counts, asked at {at_ns}", until_ns - LEASE_NS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_alive_if_it_ends_with_0() {
    let command = |script: &str| {
        format!(
            "lease_by = \"command\"\nlease = \"30s\"\nlease_interval = \"5ms\"\nlease_command = [\"sh\", \"-c\", '{script}']"
        )
    };
    // Nothing of the agent's environment but PATH; its input is empty.
    let bare = command(
        r#"[ "$HEARTBEAT_NODE" = 7 ] && [ -z "$CARGO_MANIFEST_DIR" ] && [ -n "$PATH" ] && ! read line"#,
    );
    let host = Host::start(&[
        (7, &bare),
        (8, &command("exit 3")),
        (9, "lease_by = \"command\"\nlease_command = [\"/nosuch/program\"]"),
    ]);
    host.wait_alive(7);
    host.wait_failure(8, "the command ended with exit status: 3");
    host.wait_failure(9, "cannot run /nosuch/program: No such file");
    assert_eq!((host.view(8).alive, host.view(9).alive), (false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_never_overlap() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    let script = format!("mkdir {0} || exit 9; sleep 0.02; rmdir {0}", inside.display());
    let keys = format!(
        "lease_by = \"command\"\nlease = \"1h\"\nlease_interval = \"1ms\"\nlease_timeout = \"20m\"\nlease_command = [\"sh\", \"-c\", \"{script}\"]"
    );
    let host = Host::start(&[(7, &keys)]);
    let view = host.wait(7, "was asked ten times", |view| view.renewals >= 10);
    assert_eq!(view.failures, 0, "{view:?}");
}

/// Whether a process is there and no zombie.
fn runs(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|text| text.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("processes");
    let script = format!("sleep 1000 & echo $! $$ >> {}; wait", list.display());
    let keys =
        format!("lease_by = \"command\"\nlease = \"1500ms\"\nlease_command = [\"sh\", \"-c\", \"{script}\"]");
    let host = Host::start(&[(7, &keys)]);
    host.wait_failure(7, "no answer within 500ms");
    // Also the one that is waited for when the leases end.
    drop(host);
    wait_for("all of them are gone", || {
        let text = fs::read_to_string(&list).map_err(|error| error.to_string())?;
        let left: Vec<_> = text.split_whitespace().filter(|process| runs(process)).collect();
        if !text.is_empty() && left.is_empty() { Ok(()) } else { Err(format!("{left:?} of {text:?}")) }
    });
}
