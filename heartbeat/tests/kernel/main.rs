//! The kernel's programs: packet by packet, and with real sockets in network namespaces.
//!
//! They need root, and run with `XPS_KERNEL_TESTS=1`; without it they say that they are skipped, and pass.

mod agent;
mod agents;
mod arrivals;
mod bfd;
mod bfd_agents;
mod bfd_bird;
mod bfd_frr;
mod install;
mod lab;
mod stack;
mod takeover;
mod veth;

#[path = "../support/agent.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod running;
// Namespaces are the same for all sidecars.
#[path = "../../../kv-cache/tests/support/namespace.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod namespace;
#[path = "../../../kv-cache/tests/support/process.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod process;

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
