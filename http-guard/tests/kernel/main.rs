//! Both paths with a real Nginx, in network namespaces: what passes, what is refused, and what Nginx hears of it.
//!
//! They need root and Nginx, and run with `XPS_KERNEL_TESTS=1`; without it they say that they are skipped, and pass.

mod arrivals;
mod blocks;
mod both;
mod client;
mod heads;
mod hostile;
mod in_place;
mod lab;
mod ledger;
mod life;
mod local;
mod network;
mod probes;
mod refusals;
mod site;
mod streams;
mod timeouts;
mod tools;

// Namespaces and programs are the same for all sidecars.
#[path = "../../../xps-runtime/tests/support/laboratory/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with other test programs; each uses a part")]
mod laboratory;
#[path = "../../../kv-cache/tests/support/namespace.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod namespace;
#[path = "../../../kv-cache/tests/support/process.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod process;
#[path = "../../../kv-cache/tests/support/random.rs"]
mod random;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether kernel tests run. Without `XPS_KERNEL_TESTS=1` says why not.
///
/// # Panics
/// If they must run and cannot.
fn kernel_tests() -> bool {
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
fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if start.elapsed() > PATIENCE {
            bail!("{what} took longer than {PATIENCE:?}");
        }
        sleep(Duration::from_millis(20));
    }
}
