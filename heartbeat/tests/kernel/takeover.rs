//! What outlives an agent that is killed, and what the next one makes of it.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use heartbeat::abi::{self, map};
use heartbeat::path::kernel::Kernel;
use heartbeat::path::{Answers, take};
use heartbeat_fastpath::host::arrivals::{CLUSTER, encoded, nodes, peer, probe};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{NodeKey, Outcome, PeerKey};
use xps_runtime::hook::{Hook, Place as At};
use xps_runtime::lock::lock;
use xps_runtime::plan::Mode;
use xps_runtime::start::Taken;
use xps_runtime::xdp::Wish;

use crate::agent::{Pins, counted, fill, refused, start, until};
use crate::kernel_tests;
use crate::lab::{DEVICE, Lab, SERVERS, probed, socket};

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
            let other = [u32::MAX; size_of::<abi::Settings>() / size_of::<u32>()];
            Array::<_, [u32; _]>::try_from(Map::Array(data))?.set(0, other, 0)?;
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
fn on_the_user_path_nothing_is_left_in_the_stack() {
    if kernel_tests() {
        let test = || {
            let (lab, pins) = (Lab::create()?, Pins::create()?);
            let server = lab.server.place();
            let mut settings = pins.settings("server", Wish::Auto);
            let kernel = start(server, &settings)?;
            fill(server, &kernel)?;
            kernel.open();
            let socket = socket(lab.client.place(), SERVERS[0])?;
            probed(&socket, 1)?;
            killed(kernel);
            settings.wishes.mode = Mode::User;
            let Taken { kernel, .. } = server.run(|| Ok(take(&settings)?))?;
            ensure!(kernel.is_none(), "the user path");
            ensure!(pins.left("server")?.is_empty(), "still pinned: {:?}", pins.left("server")?);
            refused(&socket, 2)
        };
        test().expect("an empty stack");
    }
}
