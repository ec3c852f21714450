//! The agent's own installation: where its programs are and why, what outlives it, and what it leaves.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use aya::programs::xdp::XdpMode;
use heartbeat::abi::{ADDRESSES_MAX, CLUSTERS_MAX, map};
use heartbeat::path::addresses::{follow, here};
use heartbeat::path::kernel::{Interface, Kernel};
use heartbeat::path::{Answers, Settings, take};
use heartbeat_fastpath::host::arrivals::{CLUSTER, PORT, encoded, keys, nodes, peer, probe};
use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{NodeKey, Outcome, PeerKey};
use heartbeat_fastpath::wire::ClusterId;
use tempfile::TempDir;
use tokio::sync::watch;
use xps_runtime::addresses::{self, Addresses};
use xps_runtime::devices::Devices;
use xps_runtime::hook::{Hook, Place as At};
use xps_runtime::lock::lock;
use xps_runtime::plan::{Mode, Wishes};
use xps_runtime::start::Taken;
use xps_runtime::xdp::Wish;

use crate::kernel_tests;
use crate::lab::{DEVICE, Lab, PATIENCE, SERVERS, probed, socket};
use crate::namespace::{BpfMount, Place};
use crate::stack::Stack;

const ANY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// A BPF file system to pin in.
struct Pins {
    mount: BpfMount,
    _folder: TempDir,
}

impl Pins {
    fn create() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { mount: BpfMount::create(folder.path().join("bpf"))?, _folder: folder })
    }

    /// What the configuration of an agent says.
    fn settings(&self, name: &str, xdp: Wish) -> Settings {
        let wishes = Wishes { mode: Mode::Kernel, xdp, ..Wishes::default() };
        Settings { wishes, pin_directory: self.mount.path().join(name), port: PORT }
    }

    /// Everything that is pinned for an agent.
    fn left(&self, name: &str) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.mount.path().join(name))?;
        Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
    }
}

/// An agent's start at `place`. Nothing is in its tables.
fn start(place: &Place, settings: &Settings) -> Result<Arc<Kernel>> {
    place.run(|| take(settings)?.kernel.context("the kernel path"))
}

/// Tells an agent what the probes of the packets' table want.
fn fill(place: &Place, kernel: &Kernel) -> Result<()> {
    kernel.set_keys(keys())?;
    for (id, node) in nodes() {
        kernel.set_node(CLUSTER, id, node)?;
        kernel.add_peer(CLUSTER, id, peer())?;
    }
    let of_host = place.run(|| Ok(addresses::list()?))?;
    Ok(kernel.maps.set_addresses(&here(&ANY, &of_host))?)
}

/// A probe to which nobody listens: the sender is told so.
fn refused(socket: &UdpSocket, sequence: u64) -> Result<()> {
    socket.send(&encoded(&probe(sequence)))?;
    let error = socket.recv(&mut [0; 128]).err().context("something came back")?;
    ensure!(error.kind() == std::io::ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

fn counted(kernel: &Kernel, outcome: Outcome) -> u64 {
    kernel.counts()[outcome.index()]
}

/// Waits until that is true.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn interface(kernel: &Kernel, name: &str) -> Option<Interface> {
    kernel.interfaces().into_iter().find(|interface| interface.name == name)
}

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

/// What is dropped here is left behind as if the process had been killed: nothing of it is removed.
fn killed(kernel: Arc<Kernel>) {
    drop(kernel);
}

#[test]
fn what_has_been_seen_outlives_the_agent() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::create()?, Pins::create()?);
            let server = lab.server.place();
            let settings = pins.settings("server", Wish::Auto);
            let kernel = start(server, &settings)?;
            fill(server, &kernel)?;
            kernel.open();
            let socket = socket(lab.client.place(), SERVERS[0])?;
            probed(&socket, 1)?;
            killed(kernel);
            probed(&socket, 2).context("while there is no agent")?;

            let kernel = start(server, &settings)?;
            probed(&socket, 3).context("before the next agent has said anything")?;
            let known: HashSet<_> = kernel.maps.peers()?.into_iter().collect();
            ensure!(known == nodes().map(|(id, _)| PeerKey::new(CLUSTER, id, peer())).into());
            fill(server, &kernel)?;
            kernel.open();
            let replayed = Outcome::Dropped(Refusal::Replayed);
            for sequence in 1..=3 {
                socket.send(&encoded(&probe(sequence)))?;
                until("a repeated probe is refused", || Ok(counted(&kernel, replayed) == sequence))?;
            }
            // Had one of those been answered, its reply would be the first that comes.
            probed(&socket, 4)?;
            ensure!(counted(&kernel, Outcome::Answered) == 4, "counters go on");
            kernel.detach()?;
            ensure!(pins.left("server")?.is_empty(), "still pinned: {:?}", pins.left("server")?);
            Ok(())
        };
        test().expect("a takeover");
    }
}

/// The links that are pinned for an interface.
fn linked(kernel: &Kernel, index: u32) -> Result<Vec<At>> {
    let installed = lock(&kernel.hooks.installed);
    let pins = installed.as_ref().context("installed")?.pin_directory();
    let mut places = Vec::new();
    for place in [At::Arrival, At::ArrivalGeneric, At::Ingress] {
        if Hook::pinned(index, place, pins)?
            .is_some_and(|hook| hook.facts().is_ok_and(|f| f.ifindex == index))
        {
            places.push(place);
        }
    }
    Ok(places)
}

#[test]
fn the_next_agent_may_be_elsewhere() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::create()?, Pins::create()?);
            let server = lab.server.place();
            let interfaces = server.run(|| Ok(xps_runtime::interface::list()?))?;
            let veth = interfaces.iter().find(|interface| interface.name == DEVICE).context("the link")?;
            for (wish, place) in [
                (Wish::On, At::Arrival),
                (Wish::Generic, At::ArrivalGeneric),
                (Wish::On, At::Arrival),
                (Wish::Auto, At::Ingress),
                (Wish::Generic, At::ArrivalGeneric),
                (Wish::Off, At::Ingress),
            ] {
                let kernel = start(server, &pins.settings("server", wish))?;
                let found = linked(&kernel, veth.index)?;
                ensure!(found == [place], "{wish:?}: {found:?}");
                killed(kernel);
            }
            start(server, &pins.settings("server", Wish::Off))?.detach()?;
            Ok(())
        };
        test().expect("one link each");
    }
}

#[test]
fn nodes_that_are_no_longer_here_are_forgotten() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::unlinked()?, Pins::create()?);
            let server = lab.server.place();
            let settings = pins.settings("server", Wish::Auto);
            let kernel = start(server, &settings)?;
            fill(server, &kernel)?;
            killed(kernel);
            let kernel = start(server, &settings)?;
            let [(stays, _), (goes, _), ..] = nodes();
            kernel.maps.retain_nodes(&HashSet::from([NodeKey::new(CLUSTER, stays)]))?;
            ensure!(kernel.maps.nodes()? == [NodeKey::new(CLUSTER, stays)]);
            ensure!(kernel.maps.peers()? == [PeerKey::new(CLUSTER, stays, peer())]);
            ensure!(kernel.maps.set_lease(CLUSTER, stays, 1)?, "it is there");
            ensure!(
                !kernel.maps.set_lease(CLUSTER, goes, 1)?,
                "it is gone, and a lease does not bring it back"
            );
            kernel.remove_node(CLUSTER, goes)?;
            kernel.remove_peer(CLUSTER, goes, peer())?;
            Ok(kernel.detach()?)
        };
        test().expect("the rest is gone");
    }
}

#[test]
fn tables_of_another_version_are_replaced() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::unlinked()?, Pins::create()?);
            let server = lab.server.place();
            let settings = pins.settings("server", Wish::Auto);
            let kernel = start(server, &settings)?;
            fill(server, &kernel)?;
            let pinned =
                lock(&kernel.hooks.installed).as_ref().map(|it| it.pin_directory().join(map::SETTINGS));
            killed(kernel);
            let data = MapData::from_pin(pinned.context("installed")?)?;
            Array::<_, u64>::try_from(Map::Array(data))?.set(0, u64::from(u32::MAX), 0)?;
            let kernel = start(server, &settings)?;
            ensure!(kernel.maps.nodes()?.is_empty() && kernel.maps.peers()?.is_empty(), "nothing is kept");
            Ok(kernel.detach()?)
        };
        test().expect("new tables");
    }
}

#[test]
fn two_agents_do_not_share_their_pins() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::unlinked()?, Pins::create()?);
            let server = lab.server.place();
            let mut settings = pins.settings("server", Wish::Auto);
            let first = start(server, &settings)?;
            settings.wishes.mode = Mode::Auto;
            let Taken { plan, kernel, .. } = server.run(|| Ok(take(&settings)?))?;
            ensure!(kernel.is_none(), "the second one is on the user path");
            let causes: Vec<_> = plan.causes.iter().map(ToString::to_string).collect();
            ensure!(causes.iter().any(|cause| cause.contains("another agent uses")), "{causes:?}");
            Ok(first.detach()?)
        };
        test().expect("one of them");
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
