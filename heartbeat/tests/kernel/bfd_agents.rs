//! Two agents hold sessions with each other: over link-local addresses, with keys that are changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use heartbeat::bfd::view::SessionState;

use crate::bfd::{Ours, lab, settings, until};
use crate::kernel_tests;
use crate::lab::DEVICE;

const ADDRESSES: [&str; 2] = ["fe80::79:1", "fe80::79:2"];

/// As PROTOCOL.md says: both have the new key, then both send with it, then the old one goes.
const KEYS: [&str; 4] =
    ["1 the old one\n", "1 the old one\n2 hex:00ff\n", "2 hex:00ff\n1 the old one\n", "2 hex:00ff\n"];

fn change_keys() -> Result<()> {
    let lab = lab()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("keys");
    let ends = [&lab.server, &lab.client];
    for (end, address) in ends.into_iter().zip(ADDRESSES) {
        end.ip(&["address", "add", &format!("{address}/64"), "dev", DEVICE, "nodad"])?;
    }
    let configured = |place: usize, keys: &str| {
        fs::write(&file, keys)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let (here, peer) = (ADDRESSES[place], ADDRESSES[1 - place]);
        let text = format!(
            "[[bfd]]\npeer = \"{peer}\"\nlocal = \"{here}\"\ninterface = \"{DEVICE}\"\ninterval = \"10ms\"\n\
             multiplier = 100\npassive = {}\nauthentication = \"meticulous-keyed-sha1\"\nkey_file = {file:?}\n",
            place == 1
        );
        settings(&text, false)
    };
    let agents = [0, 1].map(|place| Ours::start_at(ends[place].place(), configured(place, KEYS[0])?));
    let [one, other] = agents;
    let agents = [one?, other?];
    for keys in KEYS {
        for (place, agent) in agents.iter().enumerate() {
            agent.configure(configured(place, keys)?)?;
            // Packets under the keys of this step, in both directions.
            for (place, agent) in agents.iter().enumerate() {
                let peer = ADDRESSES[1 - place].parse()?;
                let before = agent.until_up(peer)?.packets_in;
                let more = || Ok((agent.session(peer)?.packets_in > before + 10).then_some(()));
                until("heard", more)?;
            }
        }
    }
    for (place, agent) in agents.iter().enumerate() {
        let session = agent.session(ADDRESSES[1 - place].parse()?)?;
        ensure!(session.state == SessionState::Up && session.downs == 0, "{session:?}");
        ensure!(session.transmit_interval_us == 10_000 && session.detection_us == 1_000_000, "{session:?}");
        ensure!(session.dropped.is_empty(), "{session:?}");
    }
    Ok(())
}

#[test]
fn agents_change_their_keys_and_the_session_stays_up() {
    if kernel_tests() {
        change_keys().expect("a session");
    }
}
