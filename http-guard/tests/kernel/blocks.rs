//! Who is blocked gets no connection, and loses those that it has: at XDP where the interface has a program there, at tcx
//! otherwise.

use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use http_guard::telling::status::Interface;
use xps_core::verdict::Reason;

use crate::lab::{ACCELERATED, Lab, SERVER_V4, SERVER_V6};
use crate::until;

/// A block whose end is waited for.
const SHORT: &str = "10s";
/// One whose end no test waits for.
const LONG: &str = "1h";

/// How long an end may take.
const SOON: Duration = Duration::from_secs(10);

/// Whoever is refused three times is blocked for `time`.
fn configuration(xdp: &str, time: &str) -> String {
    format!(
        r#"
        [path]
        xdp = "{xdp}"

        [[rule]]
        name = "limited"
        path = "/limited"
        action = "limit"
        rate = "1/min"
        block_after = "2/min"
        block_time = "{time}"
        "#
    )
}

/// Lets the client be blocked at its IPv4 address.
fn block(lab: &Lab) -> Result<()> {
    let mut fast = lab.client()?;
    ensure!(fast.get("/limited")?.status == 404, "Nginx has no such page");
    for _ in 0..2 {
        ensure!(fast.get("/limited")?.status == 429, "refused");
    }
    ensure!(fast.get("/limited").is_err(), "blocked: the connection ends");
    Ok(())
}

/// Asks once more on a connection of its own, which takes as long as the block.
fn ask_again<'scope, 'lab>(
    scope: &'scope Scope<'scope, 'lab>,
    lab: &'lab Lab,
) -> ScopedJoinHandle<'scope, Result<u16>> {
    scope.spawn(|| Ok(lab.client()?.get("/index.html")?.status))
}

fn closed(lab: &Lab, reason: Reason) -> Result<u64> {
    Ok(lab.status()?.closes[reason.label()])
}

fn interface(lab: &Lab, name: &str) -> Result<Option<Interface>> {
    Ok(lab.status()?.interfaces.into_iter().find(|interface| interface.name == name))
}

/// Where who is blocked is stopped on the way from the client, and why not at XDP.
fn blocks_at(lab: &Lab) -> Result<(String, String)> {
    let veth = interface(lab, "veth0")?.context("veth0 in the status")?;
    Ok((veth.blocks, veth.blocks_cause))
}

/// Checks that a block stops the client by `reason` and not by `other`, for its time, and nobody else.
fn stopped_by(lab: &Lab, reason: Reason, other: Reason) -> Result<()> {
    let mut older = lab.client()?;
    ensure!(older.get("/index.html")?.status == 200, "nobody is blocked yet");
    let (before, of_other) = (closed(lab, reason)?, closed(lab, other)?);
    block(lab)?;
    older.send("GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n")?;
    older.ended(SOON).context("the connection that there was before")?;
    std::thread::scope(|scope| {
        let again = ask_again(scope, lab);
        until("a refused SYN", || Ok((closed(lab, reason)? > before).then_some(())))?;
        ensure!(lab.connect(SERVER_V6, ACCELERATED)?.get("/index.html")?.status == 200, "another client");
        ensure!(lab.connect(SERVER_V4, 80)?.get("/index.html")?.status == 200, "another port");
        let status = again.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        ensure!(status == 200, "once the block is over");
        Ok(())
    })?;
    ensure!(closed(lab, other)? == of_other, "{}", lab.status()?);
    Ok(())
}

#[test]
fn at_xdp_a_blocked_client_gets_no_further_than_the_driver() {
    Lab::run(&configuration("on", SHORT), |lab| {
        ensure!(blocks_at(lab)? == ("xdp".into(), String::new()), "{}", lab.status()?);
        let loopback = interface(lab, "lo")?.context("loopback in the status")?;
        ensure!(loopback.blocks == "tcx" && loopback.blocks_cause.contains("driver"), "{loopback:?}");
        stopped_by(lab, Reason::BlockedOnArrival, Reason::NotAdmitted)?;
        let metrics = lab.metrics()?;
        ensure!(metrics.contains("http_guard_closes_total{result=\"blocked_xdp\"}"), "{metrics}");
        Ok(())
    });
}

#[test]
fn without_xdp_the_ingress_program_stops_a_blocked_client() {
    Lab::run(&configuration("off", SHORT), |lab| {
        let (blocks, cause) = blocks_at(lab)?;
        ensure!(blocks == "tcx" && cause.contains("configuration"), "{blocks}: {cause}");
        stopped_by(lab, Reason::NotAdmitted, Reason::BlockedOnArrival)
    });
}

#[test]
fn what_a_veth_would_cost_at_xdp_is_not_paid_unasked() {
    Lab::run(&configuration("auto", SHORT), |lab| {
        let (blocks, cause) = blocks_at(lab)?;
        ensure!(blocks == "tcx" && cause.contains("at XDP a veth would cost"), "{blocks}: {cause}");
        Ok(())
    });
}

#[test]
fn who_is_blocked_is_let_in_where_everything_passes() {
    for xdp in ["on", "off"] {
        Lab::run(&configuration(xdp, LONG), |lab| {
            block(lab)?;
            lab.act("disable")?;
            ensure!(lab.client()?.get("/index.html")?.status == 200, "the operator lets everything pass");
            lab.act("enable")?;
            lab.kill_sidecar()?;
            // The SYN comes again, once the lease has lapsed.
            ensure!(lab.client()?.get("/index.html")?.status == 200, "nobody vouches for the block");
            Ok(())
        });
    }
}

#[test]
fn the_link_at_xdp_outlives_a_killed_sidecar_and_follows_interfaces() {
    Lab::run(&configuration("on", SHORT), |lab| {
        lab.kill_sidecar()?;
        ensure!(attach_another(lab).is_err(), "the link is still there");
        lab.start_sidecar()?;
        ensure!(blocks_at(lab)? == ("xdp".into(), String::new()), "{}", lab.status()?);
        let ip = ["link", "add", "veth7", "type", "veth", "peer", "name", "veth8"];
        lab.server_place().run_program("ip", &ip)?;
        for name in ["veth7", "veth8"] {
            until("the new interface", || {
                Ok(interface(lab, name)?.filter(|veth| veth.path == "kernel" && veth.blocks == "xdp"))
            })?;
        }
        lab.server_place().run_program("ip", &["link", "delete", "veth7"])?;
        until("its end", || Ok(interface(lab, "veth8")?.is_none().then_some(())))?;
        stopped_by(lab, Reason::BlockedOnArrival, Reason::NotAdmitted)?;
        // A new configuration is heeded by who takes over, too.
        lab.kill_sidecar()?;
        lab.write_file(&configuration("off", SHORT))?;
        lab.start_sidecar()?;
        ensure!(blocks_at(lab)?.0 == "tcx", "{}", lab.status()?);
        attach_another(lab).context("the link of the one that was killed is gone").map(drop)
    });
}

#[test]
fn another_program_at_xdp_stays_where_it_is() {
    Lab::run(&configuration("on", SHORT), |lab| {
        lab.stop_sidecar()?;
        // What nothing is left of.
        let other = attach_another(lab)?;
        lab.start_sidecar()?;
        let (blocks, cause) = blocks_at(lab)?;
        ensure!(blocks == "tcx" && cause.contains("another XDP program"), "{blocks}: {cause}");
        stopped_by(lab, Reason::NotAdmitted, Reason::BlockedOnArrival)?;
        drop(other);
        Ok(())
    });
}

/// Attaches a program of somebody else's to the server's end: one that knows of no block, and lets everything pass. It is
/// there as long as what this gives.
fn attach_another(lab: &Lab) -> Result<Ebpf> {
    let object = std::fs::read(env!("XPS_OBJECT"))?;
    let mut loader = EbpfLoader::new();
    for table in [xps_core::abi::map::FLOWS, http_fastpath::abi::map::LIMITS] {
        loader.map_max_entries(table, 16);
    }
    let mut ebpf = loader.load(&object)?;
    let name = http_fastpath::abi::program::BLOCK;
    let program: &mut Xdp = ebpf.program_mut(name).context("no program")?.try_into()?;
    program.load()?;
    lab.server_place().run(|| Ok(program.attach("veth0", XdpMode::Driver).map(drop)?))?;
    Ok(ebpf)
}
