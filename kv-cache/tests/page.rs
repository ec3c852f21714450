//! The page of the real binary in a browser: on the user path, on loopback, without privilege, without a server.

#[path = "../../xps-runtime/tests/support/page.rs"]
mod page;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use page::{Browser, Expected};

/// A sidecar that ends with the test.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start([server, accelerated, admin]: [u16; 3]) -> Sidecar {
    let child = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        .args(["run", "--set", &format!("redis.address=127.0.0.1:{server}")])
        .args(["--set", &format!("listen.accelerated_port={accelerated}")])
        .args(["--set", &format!("listen.admin=127.0.0.1:{admin}")])
        .args(["--set", "listen.addresses=127.0.0.1", "--set", "path.mode=user"])
        .spawn();
    let sidecar = Sidecar(child.expect("kv-cache starts"));
    // The browser would take a page that is not there yet for none.
    while TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).is_err() {
        sleep(Duration::from_millis(20));
    }
    sidecar
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
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
