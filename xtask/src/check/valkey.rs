//! Kernel tests with Valkey in Redis's place: those of what servers may do differently.

use super::step::{Outcome, run_counted};
use super::{KERNEL_TESTS, cargo};
use crate::{valkey, workspace};

/// Names the server's program to the tests.
const SERVER: &str = "XPS_REDIS_SERVER";

/// The kernel tests that are run: what begins so.
const TESTS: [&str; 7] =
    ["bounded::", "cluster::a_slot_that", "hits::", "replicas::what", "sessions::", "users::", "writes::"];

/// Runs them; only root can, and CI must.
pub(super) fn run() -> Outcome {
    let name = format!("kernel tests with Valkey {}", valkey::VERSION);
    if !workspace::is_root() {
        if workspace::is_ci() {
            return Outcome::failure(&name, "CI must run as root: kernel tests are mandatory there");
        }
        return Outcome::left_out(&name, "left out: they need root");
    }
    let server = match valkey::server() {
        Ok(server) => server,
        Err(error) => return Outcome::failure(&name, &format!("{error:#}")),
    };
    let mut command = cargo("test");
    command.args(["--package", "kv-cache", "--test", "kernel"]);
    command.arg("--").args(TESTS).env(KERNEL_TESTS, "1").env(SERVER, server);
    run_counted(&name, &mut command)
}
