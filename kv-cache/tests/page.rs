//! The page of the real binary in a browser: on the user path, on loopback, without privilege, without a server.

#[path = "../../xps-runtime/tests/support/page.rs"]
mod page;
#[path = "../../xps-runtime/tests/support/sidecar.rs"]
mod sidecar;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use page::{Browser, Expected};
use sidecar::{Sidecar, free_port};

fn start([server, accelerated, admin]: [u16; 3]) -> Sidecar {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin)).into();
    let server = format!("redis.address=127.0.0.1:{server}");
    Sidecar::start(env!("CARGO_BIN_EXE_kv-cache"), accelerated, &admin, &["--set", &server])
}

#[test]
fn the_page_is_live_fits_a_phone_and_notices_an_end() {
    let ports @ [_, accelerated, admin] = [free_port(), free_port(), free_port()];
    let sidecar = start(ports);
    let expected = Expected {
        name: "kv-cache",
        path: "user",
        texts: &["configured: the configuration asks for the user path", "No hits: unreachable:"],
        rises: "relayed in all",
    };
    let Some(mut browser) = Browser::look(admin, &expected) else { return };
    let done = Arc::new(AtomicBool::new(false));
    let client = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                // That nobody is behind it is not what this is about.
                let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, accelerated));
                sleep(Duration::from_millis(50));
            }
        }
    });
    browser.says("live");
    drop(sidecar);
    browser.goes_on();
    browser.says("gone");
    let _again = start(ports);
    browser.goes_on();
    browser.says("back");
    browser.ends();
    done.store(true, Ordering::Relaxed);
    client.join().expect("the client");
}
