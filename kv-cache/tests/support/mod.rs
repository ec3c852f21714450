//! The test network: a server's and a client's network namespace with a link between, a real Redis and the built kv-cache
//! in the server's. All of it is removed when it is dropped, also on a panic; what a killed run left is removed by the
//! next.
//!
//! Kernel tests need root. With `XPS_KERNEL_TESTS=1` they run or fail; without it they say that they are skipped, and pass.

pub(crate) mod exposition;
mod lab;
#[path = "../../../xps-runtime/tests/support/laboratory/mod.rs"]
pub(crate) mod laboratory;
mod namespace;
mod peer;
mod process;
mod random;
mod resp;
mod server;
mod tags;
mod trouble;

pub(crate) use lab::{ACCELERATED, Lab, Options, PLAIN, Side, connect_from};
pub(crate) use laboratory::{CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6};
pub(crate) use namespace::{Namespace, Place};
pub(crate) use peer::{Peer, info, signal};
pub(crate) use process::resident_bytes;
pub(crate) use random::Random;
pub(crate) use resp::{Client, bulk, is_lost, request, shown};
pub(crate) use server::Server;
pub(crate) use tags::{Tagger, Tags};
pub(crate) use trouble::{hurry, lose, rules};

pub(crate) use xps_testkit::interrupt::interrupted;

use std::ffi::OsString;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The server's program: Redis, or another that `XPS_REDIS_SERVER` names.
pub(crate) fn server_program() -> OsString {
    std::env::var_os("XPS_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// Whether kernel tests run. Without `XPS_KERNEL_TESTS=1` says why not.
///
/// # Panics
/// If they must run and cannot.
pub(crate) fn kernel_tests() -> bool {
    if std::env::var_os("XPS_KERNEL_TESTS").is_none_or(|value| value != "1") {
        println!(
            "SKIPPED: kernel tests need root and change network namespaces; XPS_KERNEL_TESTS=1 runs them"
        );
        return false;
    }
    // SAFETY: geteuid has no conditions.
    assert_eq!(unsafe { libc::geteuid() }, 0, "XPS_KERNEL_TESTS=1 demands kernel tests, which need root");
    true
}

/// Waits until `attempt` gives something.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if start.elapsed() > PATIENCE {
            bail!("{what} took longer than {PATIENCE:?}");
        }
        sleep(Duration::from_millis(5));
    }
}
