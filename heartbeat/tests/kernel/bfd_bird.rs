//! BIRD 2, with authentication.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::bfd::{Daemon, Ours, ends, holds, installed, lab, settings, until};
use crate::kernel_tests;
use crate::lab::{CLIENTS, DEVICE, Lab, SERVERS};
use crate::process::Process;

const BIRD: &str = "/usr/sbin/bird";
const SECRET: &str = "not to be guessed";
const LIMIT: Duration = Duration::from_secs(60);

struct Bird {
    bird: Process,
    folder: TempDir,
}

impl Bird {
    /// `how` stands in the braces of an interface, or of sessions over several hops.
    fn start(lab: &Lab, how: &str, neighbours: &str) -> Result<Self> {
        installed(BIRD, "bird2")?;
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let common = format!("interval 100 ms; multiplier 10; {how}");
        let config = format!(
            "router id 10.79.0.2;\nprotocol device {{}}\nprotocol bfd {{\n interface \"{DEVICE}\" {{ {common} }};\n \
             multihop {{ {common} }};\n{neighbours}}}\n"
        );
        fs::write(path.join("bird.conf"), config)?;
        let mut command = lab.client.place().command(BIRD);
        command.arg("-f").arg("-c").arg(path.join("bird.conf")).arg("-s").arg(path.join("bird.ctl"));
        command.arg("-P").arg(path.join("bird.pid"));
        let mut bird = Process::start(&mut command, path, "bird")?;
        bird.until(LIMIT, || path.join("bird.ctl").exists().then_some(()))?;
        Ok(Self { bird, folder })
    }

    /// The line about a session: address, interface, state, since when, interval, time-out.
    fn session(&self, peer: IpAddr) -> Result<Vec<String>> {
        let output = Command::new("birdc")
            .arg("-s")
            .arg(self.folder.path().join("bird.ctl"))
            .args(["show", "bfd", "sessions"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let lines = said.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let peer = peer.to_string();
        let found = lines.into_iter().find(|line| line.first() == Some(&peer) && line.len() >= 6);
        found.with_context(|| format!("BIRD has no such session: {said}"))
    }
}

impl Daemon for Bird {
    fn is_up(&self, peer: IpAddr) -> Result<bool> {
        Ok(self.session(peer)?[2] == "Up")
    }

    /// The time of day since when the session has its state, in milliseconds.
    fn life(&self, peer: IpAddr) -> Result<u64> {
        let line = self.session(peer)?;
        let time = line[3].split([':', '.']).map(str::parse).collect::<Result<Vec<u64>, _>>();
        match time.as_deref() {
            Ok([hours, minutes, seconds, ms]) => Ok(((hours * 60 + minutes) * 60 + seconds) * 1000 + ms),
            _ => bail!("BIRD says {:?} where a time should be", line[3]),
        }
    }

    /// BIRD keeps it by a clock that is not the wall's and converts it at each look: it moves by a millisecond.
    fn life_tolerance(&self) -> u64 {
        50
    }

    fn process(&mut self) -> &mut Process {
        &mut self.bird
    }
}

fn neighbours() -> String {
    SERVERS.iter().map(|peer| format!(" neighbor {peer} dev \"{DEVICE}\";\n")).collect()
}

/// The key file, and what names it.
fn keys(kind: &str, text: &str) -> Result<(TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("keys");
    fs::write(&file, text)?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    let named = format!("authentication = \"{kind}\"\nkey_file = \"{}\"\n", file.display());
    Ok((folder, named))
}

fn ours(more: &str) -> String {
    let one = |(here, peer): (IpAddr, IpAddr)| {
        format!(
            "[[bfd]]\npeer = \"{peer}\"\nlocal = \"{here}\"\ninterface = \"{DEVICE}\"\ninterval = \"100ms\"\n\
             multiplier = 10\nnode = 1\n{more}"
        )
    };
    SERVERS.into_iter().zip(CLIENTS).map(one).collect()
}

/// With authentication of this kind, as both name it.
fn authenticated(theirs: &str, kind: &str) -> Result<()> {
    let lab = lab()?;
    let how = format!("authentication {theirs}; password \"{SECRET}\" {{ id 7; }};");
    let mut bird = Bird::start(&lab, &how, &neighbours())?;
    let (_folder, named) = keys(kind, &format!("7 {SECRET}\n8 another\n"))?;
    let ours = Ours::start(&lab, settings(&ours(&named), false)?)?;
    holds(&lab, &ours, &mut bird, &format!("BIRD, {theirs}"))?;
    ends(ours, &mut bird)
}

#[test]
fn bird_holds_sessions_with_meticulous_keyed_sha1() {
    if kernel_tests() {
        authenticated("meticulous keyed sha1", "meticulous-keyed-sha1").expect("sessions");
    }
}

#[test]
fn bird_holds_sessions_with_keyed_sha1() {
    if kernel_tests() {
        authenticated("keyed sha1", "keyed-sha1").expect("sessions");
    }
}

#[test]
fn bird_holds_sessions_without_authentication() {
    if kernel_tests() {
        let run = || -> Result<()> {
            let lab = lab()?;
            let mut bird = Bird::start(&lab, "", &neighbours())?;
            let ours = Ours::start(&lab, settings(&ours(""), false)?)?;
            holds(&lab, &ours, &mut bird, "BIRD")?;
            ends(ours, &mut bird)
        };
        run().expect("sessions");
    }
}

/// Over several hops, for which BIRD takes the system's hop limit of 64; and with another secret nothing comes about.
fn over_several() -> Result<()> {
    let lab = lab()?;
    let (here, there) = (SERVERS[1], CLIENTS[1]);
    let how = format!("authentication meticulous keyed sha1; password \"{SECRET}\" {{ id 7; }};");
    let bird = Bird::start(&lab, &how, &format!(" neighbor {here} local {there} multihop;\n"))?;
    let (_folder, right) = keys("meticulous-keyed-sha1", &format!("7 {SECRET}\n"))?;
    let (_other, wrong) = keys("meticulous-keyed-sha1", "7 guessed\n")?;
    let text = format!("[[bfd]]\npeer = \"{there}\"\nlocal = \"{here}\"\nmultihop = true\nmin_ttl = 60\n");
    let ours = Ours::start(&lab, settings(&format!("{text}{wrong}"), false)?)?;
    let refused =
        || Ok(ours.session(there)?.dropped.get("bfd_wrong_hash").filter(|count| **count > 2).copied());
    until("refused", refused)?;
    ensure!(ours.session(there)?.packets_in == 0 && !bird.is_up(here)?, "up with another secret");
    ours.configure(settings(&format!("{text}{right}"), false)?)?;
    ours.until_up(there)?;
    until("up there", || Ok(bird.is_up(here)?.then_some(())))?;
    Ok(())
}

#[test]
fn bird_holds_a_session_over_several_hops_with_the_right_secret_only() {
    if kernel_tests() {
        over_several().expect("a session");
    }
}
