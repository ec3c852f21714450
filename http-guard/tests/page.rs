//! The page of the real binary in a browser: on the user path, on loopback, without privilege.

#[path = "../../xps-runtime/tests/support/page.rs"]
mod page;
#[path = "../../xps-runtime/tests/support/sidecar.rs"]
mod sidecar;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use page::{Browser, Expected};
use sidecar::{Sidecar, free_port};

/// Rules whose names would be markup if the page took them for it.
const RULES: &str = "[[rule]]\nname = \"<b>private</b>\"\npath_prefix = \"/private/\"\naction = \"deny\"\n\
                     [[rule]]\nname = \"a_name_without_any_place_at_which_it_could_be_broken_into_lines\"\naction = \"limit\"\nrate = \"100/s\"\n";

fn start(file: &Path, [server, accelerated, admin]: [u16; 3]) -> Sidecar {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin)).into();
    let (file, server) = (file.display().to_string(), format!("nginx.address=127.0.0.1:{server}"));
    let more = ["--config", &file, "--set", &server];
    Sidecar::start(env!("CARGO_BIN_EXE_http-guard"), accelerated, &admin, &more)
}

/// Asks for something that is refused, again and again. Whether there is an answer is the page's affair.
fn ask(accelerated: u16, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, accelerated)) {
            let sent = stream.write_all(b"GET /private/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let _ = sent.and_then(|()| stream.read_to_end(&mut Vec::new()));
        }
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_page_is_live_fits_a_phone_and_notices_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.toml");
    std::fs::write(&file, RULES).expect("a file");
    let ports @ [_, accelerated, admin] = [free_port(), free_port(), free_port()];
    let sidecar = start(&file, ports);
    let expected = Expected {
        name: "http-guard",
        path: "user",
        texts: &["configured: the configuration asks for the user path", "<b>private</b>"],
        rises: "refused_total",
    };
    let Some(mut browser) = Browser::look(admin, &expected) else { return };
    let done = Arc::new(AtomicBool::new(false));
    let client = std::thread::spawn({
        let done = Arc::clone(&done);
        move || ask(accelerated, &done)
    });
    browser.says("live");
    drop(sidecar);
    browser.goes_on();
    browser.says("gone");
    let _again = start(&file, ports);
    browser.goes_on();
    browser.says("back");
    browser.ends();
    done.store(true, Ordering::Relaxed);
    client.join().expect("the client");
}
