//! The agent's own installation: where its programs are and why, what it follows, and what it leaves.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aya::programs::xdp::XdpMode;
use heartbeat::abi::{ADDRESSES_MAX, CLUSTERS_MAX, map};
use heartbeat::path::addresses::follow;
use heartbeat::path::kernel::{Interface, Kernel};
use heartbeat::path::{Answers, Settings, take};
use heartbeat_fastpath::host::arrivals::{encoded, probe};
use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::respond::Outcome;
use heartbeat_fastpath::wire::ClusterId;
use tokio::sync::watch;
use xps_runtime::addresses::Addresses;
use xps_runtime::devices::Devices;
use xps_runtime::start::Taken;
use xps_runtime::xdp::Wish;

use crate::agent::{ANY, Pins, counted, fill, interface, refused, start, until};
use crate::kernel_tests;
use crate::lab::{DEVICE, Lab, SERVERS, probed, socket};
use crate::namespace::Place;
use crate::stack::Stack;

/// Nothing is answered before the agent says so, then everything at `device`, and after its orderly stop nothing again.
fn answers_from(lab: &Lab, place: &Place, pins: &Pins, xdp: Wish, device: &str) -> Result<Interface> {
    let server = lab.server.place();
    let kernel = start(server, &pins.settings("server", xdp))?;
    let found = interface(&kernel, device).context("the interface")?;
    fill(server, &kernel)?;
    let mut sequence = 0;
    for address in SERVERS {
        let socket = socket(place, address)?;
        sequence += 1;
        refused(&socket, sequence)?;
        kernel.open();
        let before = counted(&kernel, Outcome::Answered);
        for _ in 0..3 {
            sequence += 1;
            probed(&socket, sequence).with_context(|| format!("of {address}"))?;
        }
        ensure!(counted(&kernel, Outcome::Answered) == before + 3, "answered in the stack, once each");
        kernel.close();
    }
    ensure!(kernel.memory_bytes().get(map::PEERS).is_some_and(|bytes| *bytes > 0), "memory is told");
    ensure!(kernel.verified_instructions().len() == 2 && kernel.runs().len() == 2, "two programs");
    kernel.open();
    kernel.detach()?;
    ensure!(pins.left("server")?.is_empty(), "still pinned: {:?}", pins.left("server")?);
    refused(&socket(place, SERVERS[0])?, sequence + 1)?;
    Ok(found)
}

#[test]
fn between_virtual_devices_it_is_at_tcx() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::create()?, Pins::create()?);
            let found = answers_from(&lab, lab.client.place(), &pins, Wish::Auto, DEVICE)?;
            ensure!(found.place == "tcx" && found.cause.contains("veth"), "{found:?}");
            Ok(())
        };
        test().expect("replies");
    }
}

#[test]
fn on_loopback_it_is_at_tcx() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::create()?, Pins::create()?);
            let found = answers_from(&lab, lab.server.place(), &pins, Wish::On, "lo")?;
            ensure!(found.place == "tcx" && found.cause.contains("no native XDP"), "{found:?}");
            Ok(())
        };
        test().expect("replies");
    }
}

/// Hardware sends a checksum. A virtual device does not compute it, and a program at XDP is not told that it is missing.
fn with_checksums() -> Result<Lab> {
    let lab = Lab::create()?;
    lab.client.place().run_program("ethtool", &["-K", DEVICE, "tx", "off"])?;
    Ok(lab)
}

#[test]
fn the_generic_mode_is_used_where_it_is_asked_for() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (with_checksums()?, Pins::create()?);
            let found = answers_from(&lab, lab.client.place(), &pins, Wish::Generic, DEVICE)?;
            ensure!(found.place == "xdp_generic" && found.cause.contains("configuration"), "{found:?}");
            Ok(())
        };
        test().expect("replies");
    }
}

#[test]
fn the_native_mode_is_used_where_it_is_asked_for() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (with_checksums()?, Pins::create()?);
            // A virtual device takes what a program sends back only if its own has one, too. This one answers nothing.
            let passing = start(lab.client.place(), &pins.settings("client", Wish::On))?;
            let found = answers_from(&lab, lab.client.place(), &pins, Wish::On, DEVICE)?;
            ensure!(found.place == "xdp" && found.cause.is_empty(), "{found:?}");
            ensure!(passing.counts().iter().all(|count| *count == 0), "the passing program has counted");
            Ok(passing.detach()?)
        };
        test().expect("replies");
    }
}

#[test]
fn where_another_program_is_at_xdp_it_is_at_tcx() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::create()?, Pins::create()?);
            let mut other = Stack::load()?;
            other.set_port(0)?;
            lab.server.place().run(|| Ok(other.xdp()?.attach(DEVICE, XdpMode::Driver).map(drop)?))?;
            let found = answers_from(&lab, lab.client.place(), &pins, Wish::On, DEVICE)?;
            ensure!(found.place == "tcx" && found.cause.contains("another XDP program"), "{found:?}");
            Ok(())
        };
        test().expect("replies");
    }
}

#[test]
fn full_tables_say_what_to_do() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::unlinked()?, Pins::create()?);
            let kernel = start(lab.server.place(), &pins.settings("server", Wish::Auto))?;
            let key = Key::new(KeyId::new(1).context("a number")?, [7; 16]);
            for cluster in 0..CLUSTERS_MAX as u64 {
                kernel.set_keys(Keys::new(ClusterId(cluster), key))?;
            }
            // Those that are there may change.
            kernel.set_keys(Keys::new(ClusterId(0), key))?;
            let one_more = kernel.set_keys(Keys::new(ClusterId(CLUSTERS_MAX as u64), key));
            let error = one_more.err().context("there was room")?.to_string();
            ensure!(error.contains("KEYS is full") && error.contains("256 clusters; run"), "{error}");
            kernel.maps.remove_keys(ClusterId(0))?;
            kernel.set_keys(Keys::new(ClusterId(CLUSTERS_MAX as u64), key))?;

            let many: Vec<_> = (0..=ADDRESSES_MAX as u32).map(|n| IpAddr::V4(n.into())).collect();
            let error = kernel.maps.set_addresses(&many).err().context("there was room")?.to_string();
            ensure!(error.contains("ADDRESSES is full"), "{error}");
            kernel.maps.set_addresses(&many[1..])?;
            Ok(kernel.detach()?)
        };
        test().expect("errors");
    }
}

/// The agent's tasks that follow interfaces and addresses, on threads in the namespace, while `test` runs.
fn following<T>(
    place: &Place,
    settings: &Settings,
    test: impl FnOnce(&Kernel) -> Result<T> + Send,
) -> Result<T>
where
    T: Send,
{
    place.run(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let Taken { kernel, interfaces, .. } = take(settings)?;
        let kernel = kernel.context("the kernel path")?;
        let (stop, stopped) = watch::channel(false);
        let tasks = {
            let _runtime = runtime.enter();
            let (devices, addresses) = (Devices::watch(interfaces)?, Addresses::watch()?);
            let (of_devices, of_addresses) = (Arc::clone(&kernel), Arc::clone(&kernel));
            let (wishes, stopped_too) = (settings.wishes.clone(), stopped.clone());
            [
                runtime.spawn(async move {
                    of_devices.hooks.follow(&wishes, devices, stopped, || {}).await;
                }),
                runtime.spawn(async move { follow(&of_addresses.maps, &ANY, addresses, stopped_too).await }),
            ]
        };
        let result = test(&kernel);
        stop.send(true)?;
        for task in tasks {
            runtime.block_on(task)?;
        }
        kernel.detach()?;
        result
    })
}

#[test]
fn interfaces_and_addresses_that_come_later_are_answered_at() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::unlinked()?, Pins::create()?);
            let settings = pins.settings("server", Wish::Auto);
            following(lab.server.place(), &settings, |kernel| {
                fill(lab.server.place(), kernel)?;
                kernel.open();
                ensure!(interface(kernel, DEVICE).is_none(), "there is no link yet");
                lab.link()?;
                until("the link is hooked", || {
                    Ok(interface(kernel, DEVICE).is_some_and(|found| found.place == "tcx"))
                })?;
                for (sequence, address) in (1..).zip(SERVERS) {
                    answered_soon(&lab, address, sequence * 1_000)?;
                }
                lab.server.ip(&["address", "add", "10.79.7.7/32", "dev", DEVICE])?;
                lab.client.ip(&["route", "add", "10.79.7.7/32", "dev", DEVICE])?;
                answered_soon(&lab, "10.79.7.7".parse()?, 10_000)?;
                lab.server.ip(&["link", "delete", DEVICE])?;
                until("the link is forgotten", || Ok(interface(kernel, DEVICE).is_none()))
            })
        };
        test().expect("replies");
    }
}

/// Probes an address until it is answered at: what the agent hears of it may come later than this.
fn answered_soon(lab: &Lab, address: IpAddr, first: u64) -> Result<()> {
    let socket = socket(lab.client.place(), address)?;
    let mut sequence = first;
    until("an address is answered at", || {
        sequence += 1;
        let sent = socket.send(&encoded(&probe(sequence)));
        Ok(sent.and_then(|_| socket.recv(&mut [0; 128])).is_ok())
    })
}
