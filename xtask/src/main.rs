//! What people type: `cargo xtask setup`, `demo`, `bench`, `report`, `conformance` and `test`.
//!
//! # Layout
//! - [`setup`]: installs what the other commands need, and does nothing the second time.
//! - [`lab`]: the test network: two namespaces, Redis or Nginx, the sidecar, removed whatever happens.
//! - [`demo`], [`bench`](mod@bench): plain and accelerated measured in one run, by turns. [`report`]: the
//!   results as a page.
//! - [`linearizability`], [`soak`]: long tests of kv-cache, run by [`trial`]; [`hostile`]: likewise, of clients that lie.
//! - [`compose`]: the containers of `docker-compose.yml`, run and checked.
//! - [`dashboard`]: Grafana's dashboard.
//! - [`conformance`]: Redis's own test suite through kv-cache.
//! - [`docs`]: the pages of `docs/` that are made from the code.
//! - [`check`]: everything that must hold before a change lands (`cargo xtask test`).
//! - [`download`], [`valkey`]: source packages, and a server that is built from one.
//! - [`workspace`], [`machine`], [`cleanup`]: where things are, what the machine spends, what must go at the end.

mod bench;
mod check;
mod cleanup;
mod compose;
mod conformance;
mod dashboard;
mod demo;
mod docs;
mod download;
mod hostile;
mod lab;
mod linearizability;
mod machine;
mod report;
mod setup;
mod soak;
mod trial;
mod valkey;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Development commands of XPS.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and measuring need (Debian 12, root): Debian's BPF-capable rustc, bpf-linker,
    /// redis-server, redis-benchmark, tclsh, nginx, wrk, haproxy, iproute2, nftables.
    ///
    /// Says what it installs. Starts no service. Does nothing when everything is there. Without root it lists
    /// what is missing and the commands that install it. The other commands call it themselves.
    Setup(setup::Options),
    /// Show what XPS does: Redis in a network namespace, kv-cache beside it, redis-benchmark from another
    /// namespace on the plain and the accelerated port by turns, one table at the end; then the same with Nginx,
    /// http-guard and wrk.
    ///
    /// Takes about two minutes after the build and removes all it made, also on Ctrl-C. Without root or BPF it
    /// runs on the user path and says so.
    Demo(demo::Options),
    /// Measure a service in full: every workload on both ports by turns, medians and ratios.
    #[command(subcommand)]
    Bench(Bench),
    /// Run all benches and write one page with tables and plots, and the same in Markdown (about an hour; a quarter with
    /// --quick).
    ///
    /// The page needs nothing but itself and names the path that served each figure. A bench that fails is said to be missing.
    /// With --from it is made of results that were saved before: `cargo xtask bench kv --json > kv.json`.
    Report(report::Options),
    /// Let many clients read and write on both ports while the agent is killed, packets are lost and connections are
    /// cut, and check that Redis alone could have answered so (root).
    ///
    /// Prints operations, hits among them, faults and violations; there must be none.
    Linearizability(linearizability::Options),
    /// The same load with faults for long (root): memory of the agent and its maps must stay flat, its counters must add
    /// up with what clients and Redis count, and nothing may be left over.
    ///
    /// Prints a table over time and judges it at the end.
    Soak(soak::Options),
    /// Let clients whose frames lie loose on the stack: what its handler reads must be what the server's socket delivers;
    /// nobody reads what Redis would not have said, and nothing that is denied reaches Nginx (root).
    ///
    /// Prints connections, hostile segments, connections ended and differences; there must be none. One that is found is
    /// shortened, and shown segment by segment.
    Hostile(hostile::Options),
    /// Run Redis's own test suite on Redis directly and through kv-cache, on the kernel path and on the user path, and
    /// compare: the same tests must pass and none may fail.
    ///
    /// Fetches Redis's source package, which holds the suite. Without root the kernel path is left out.
    Conformance(conformance::Options),
    /// Write the pages of docs/ that are made from the code: the configuration of each sidecar, and its metrics.
    ///
    /// The tests fail where they are not what this would write.
    Docs,
    /// Run `docker-compose.yml` and check it from outside: Redis and Nginx on the kernel path and, without capabilities, on
    /// the user path; Prometheus' targets, the dashboard's and the alerts' expressions; recovery of each container (root).
    ///
    /// Fetches Docker for this checkout and runs a daemon of its own. Official images are replaced by stand-ins.
    Compose(compose::Options),
    /// Write Grafana's dashboard anew (deploy/grafana/dashboards/xps.json), or tell whether it is up to date.
    Dashboard(dashboard::Options),
    /// Run every check: formatting, clippy, tests, kernel tests in namespaces (root), a part of Redis's own test suite,
    /// units and manifests in deploy/, fuzz targets, cargo-deny.
    ///
    /// Ends with `N passed, N failed`. With CI=true the kernel tests are mandatory.
    Test(check::Options),
}

#[derive(Subcommand)]
enum Bench {
    /// kv-cache in front of Redis (about twenty minutes).
    Kv(bench::kv::Options),
    /// http-guard in front of Nginx, against Nginx's own rules and HAProxy's (about fifteen minutes).
    Http(bench::http::Options),
    /// heartbeat's replies from the stack, against its own user path and a minimal echo (about fifteen minutes, and
    /// `--false-alarm-minutes` for each side).
    Heartbeat(bench::heartbeat::Options),
    /// Ask a server for a file at a steady rate and print how it has answered: what `http` floods servers with.
    #[command(hide = true)]
    Flood(bench::http::Flood),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = cleanup::install_signal_handler() {
        eprintln!("error: cannot listen for signals: {error}");
        return ExitCode::FAILURE;
    }
    let result = match arguments.command {
        Command::Setup(options) => setup::run(&options).map(|_| true),
        Command::Demo(options) => demo::run(&options).map(|()| true),
        Command::Bench(Bench::Kv(options)) => bench::kv::run(&options).map(|()| true),
        Command::Bench(Bench::Http(options)) => bench::http::run(&options).map(|()| true),
        Command::Bench(Bench::Heartbeat(options)) => bench::heartbeat::run(&options).map(|()| true),
        Command::Bench(Bench::Flood(flood)) => flood.run().map(|()| true),
        Command::Report(options) => report::run(&options),
        Command::Linearizability(options) => linearizability::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Hostile(options) => hostile::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Docs => docs::run().map(|()| true),
        Command::Compose(options) => compose::run(&options),
        Command::Dashboard(options) => dashboard::run(&options),
        Command::Test(options) => check::run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
