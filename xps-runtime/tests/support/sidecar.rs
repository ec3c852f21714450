//! The real binary of a service of TCP, on the user path and on loopback, without privilege.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use xps_runtime::admin::address::Address;

/// A sidecar that ends with the test.
pub(crate) struct Sidecar(Child);

impl Sidecar {
    /// Runs `program` with these further arguments, and waits until its admin interface is there.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn start(program: &str, accelerated: u16, admin: &Address, more: &[&str]) -> Self {
        let child = Command::new(program)
            .arg("run")
            .args(more)
            .args(["--set", &format!("listen.accelerated_port={accelerated}")])
            .args(["--set", &format!("listen.admin={admin}")])
            .args(["--set", "listen.addresses=127.0.0.1", "--set", "path.mode=user"])
            .spawn();
        let sidecar = Self(child.expect("the sidecar starts"));
        let start = Instant::now();
        while !is_there(admin) {
            assert!(start.elapsed() < Duration::from_secs(30), "{program} does not listen at {admin}");
            sleep(Duration::from_millis(20));
        }
        sidecar
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_there(admin: &Address) -> bool {
    match admin {
        Address::Tcp(address) => TcpStream::connect(address).is_ok(),
        Address::Unix(path) => UnixStream::connect(path).is_ok(),
    }
}

/// A port of loopback that nobody has.
///
/// # Panics
/// If there is none.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
