//! FRR's bfdd. The one of Debian 12 (8.4) has no authentication.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::tc::TcAttachType;
use heartbeat::bfd::reflect::echo_peers;
use serde_json::Value;
use tempfile::TempDir;

use crate::bfd::{Daemon, Ours, ends, holds, installed, lab, settings, until};
use crate::kernel_tests;
use crate::lab::{CLIENTS, DEVICE, Lab, SERVERS};
use crate::process::Process;
use crate::stack::Stack;

const BFDD: &str = "/usr/lib/frr/bfdd";
const ZEBRA: &str = "/usr/lib/frr/zebra";
/// As whom Debian's package runs its daemons.
const USER: &str = "frr";
const LIMIT: Duration = Duration::from_secs(60);

/// bfdd, and zebra, which tells it of interfaces.
struct Frr {
    bfdd: Process,
    _zebra: Process,
    folder: TempDir,
}

impl Frr {
    fn start(lab: &Lab, peers: &str) -> Result<Self> {
        installed(BFDD, "frr")?;
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        fs::write(path.join("frr.conf"), format!("bfd\n{peers}exit\n"))?;
        let owned = Command::new("chown").args(["-R", USER]).arg(path).status()?;
        ensure!(owned.success(), "no user {USER}");
        let start = |program: &str, name: &str, more: &[&str]| {
            let mut command = lab.client.place().command(program);
            command.args(["-P", "0", "--vty_socket"]).arg(path);
            command.arg("-z").arg(path.join("zserv.api")).arg("-i").arg(path.join(format!("{name}.pid")));
            command.args(more);
            Process::start(&mut command, path, name)
        };
        let mut zebra = start(ZEBRA, "zebra", &["-f", "/dev/null"])?;
        zebra.until(LIMIT, || path.join("zserv.api").exists().then_some(()))?;
        let (config, socket) = (path.join("frr.conf"), path.join("bfdd.sock"));
        let text = |path: &std::path::Path| path.display().to_string();
        let mut bfdd = start(BFDD, "bfdd", &["-f", &text(&config), "--bfdctl", &text(&socket)])?;
        bfdd.until(LIMIT, || path.join("bfdd.vty").exists().then_some(()))?;
        Ok(Self { bfdd, _zebra: zebra, folder })
    }

    fn peer(&self, what: &str, peer: IpAddr) -> Result<Value> {
        let output = Command::new("vtysh")
            .arg("--vty_socket")
            .arg(self.folder.path())
            .args(["-c", &format!("show bfd peers {what}json")])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let all: Vec<Value> = serde_json::from_str(&said).with_context(|| format!("vtysh: {said}"))?;
        let peer = Value::String(peer.to_string());
        all.into_iter().find(|found| found["peer"] == peer).context("bfdd has no such session")
    }
}

impl Daemon for Frr {
    fn is_up(&self, peer: IpAddr) -> Result<bool> {
        Ok(self.peer("", peer)?["status"] == "up")
    }

    /// How often it went down.
    fn life(&self, peer: IpAddr) -> Result<u64> {
        self.peer("counters ", peer)?["session-down"].as_u64().context("FRR does not count what went down")
    }

    fn process(&mut self) -> &mut Process {
        &mut self.bfdd
    }
}

fn session(place: usize, more: &str) -> String {
    let (peer, local) = (SERVERS[place], CLIENTS[place]);
    format!(
        " peer {peer} local-address {local} interface {DEVICE}\n  receive-interval 100\n  transmit-interval 100\n  \
         detect-multiplier 10\n{more} exit\n"
    )
}

fn ours(place: usize, more: &str) -> String {
    let (peer, local) = (CLIENTS[place], SERVERS[place]);
    format!(
        "[[bfd]]\npeer = \"{peer}\"\nlocal = \"{local}\"\ninterface = \"{DEVICE}\"\ninterval = \"100ms\"\nmultiplier = 10\n\
         {more}"
    )
}

fn over_one_hop() -> Result<()> {
    let lab = lab()?;
    let mut frr = Frr::start(&lab, &(session(0, "") + &session(1, "")))?;
    let text = ours(0, "node = 1\n") + &ours(1, "");
    let ours = Ours::start(&lab, settings(&text, false)?)?;
    holds(&lab, &ours, &mut frr, "FRR")?;
    ends(ours, &mut frr)
}

#[test]
fn frr_holds_sessions_over_one_hop() {
    if kernel_tests() {
        over_one_hop().expect("sessions");
    }
}

fn over_several() -> Result<()> {
    let lab = lab()?;
    let (here, there) = (SERVERS[0], CLIENTS[0]);
    let peer = format!(" peer {here} multihop local-address {there}\n  minimum-ttl 250\n exit\n");
    let frr = Frr::start(&lab, &peer)?;
    let text = format!("[[bfd]]\npeer = \"{there}\"\nlocal = \"{here}\"\nmultihop = true\n");
    let ours = Ours::start(&lab, settings(&text, false)?)?;
    ours.until_up(there)?;
    until("up there", || Ok(frr.is_up(here)?.then_some(())))?;
    ensure!(ours.session(there)?.multihop, "over one hop");
    Ok(())
}

#[test]
fn frr_holds_a_session_over_several_hops() {
    if kernel_tests() {
        over_several().expect("a session");
    }
}

/// Echo packets of both sides, at once: FRR's are sent back by the program at tcx, the agent's by the forwarding of FRR's host.
fn echoes() -> Result<()> {
    let lab = lab()?;
    lab.client.place().run(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
    let echo = "  echo-mode\n  echo transmit-interval 100\n  echo receive-interval 100\n";
    let frr = Frr::start(&lab, &(session(0, echo) + &session(1, echo)))?;
    let receive = "echo_receive_interval = \"50ms\"\n";
    let text = ours(0, &format!("{receive}echo_interval = \"100ms\"\n")) + &ours(1, receive);
    let settings = settings(&text, true)?;
    let mut stack = Stack::load()?;
    let peers = lab.server.place().run(|| {
        stack.tcx()?.attach(DEVICE, TcAttachType::Ingress)?;
        Ok(echo_peers(&settings))
    })?;
    ensure!(peers.len() == 2, "two that may be sent their packets: {peers:?}");
    stack.reflect(&peers)?;
    let ours = Ours::start(&lab, settings)?;
    for (here, peer) in SERVERS.into_iter().zip(CLIENTS) {
        ours.until_up(peer)?;
        let echoed = || -> Result<Option<u64>> {
            let counted = frr.peer("counters ", here)?["echo-packet-input"].as_u64();
            Ok(counted.filter(|packets| *packets > 20))
        };
        until("as many of FRR's echo packets back", echoed)
            .with_context(|| format!("{:?} {:?}", frr.peer("counters ", here), stack.echo_counts()))?;
    }
    let back = || Ok(Some(ours.session(CLIENTS[0])?).filter(|session| session.echoes_in > 20));
    let session =
        until("as many of its own back", back).with_context(|| format!("{:?}", ours.session(CLIENTS[0])))?;
    println!("FRR: an echo packet takes {:?} us", session.echo_round_trip_us);
    ensure!(session.echo_interval_us == Some(100_000), "{session:?}");
    ensure!(session.receive_interval_us == 1_000_000, "control packets are as fast as before: {session:?}");
    for (here, peer) in SERVERS.into_iter().zip(CLIENTS) {
        ensure!(ours.session(peer)?.downs == 0, "{:?}", ours.session(peer)?);
        ensure!(frr.life(here)? == 0, "FRR saw it down");
    }
    // Without the program nothing comes back, which FRR notices.
    stack.stop_reflecting()?;
    until("down there", || Ok((frr.life(SERVERS[0])? != 0).then_some(())))?;
    Ok(())
}

#[test]
fn frr_and_the_agent_send_each_other_echo_packets() {
    if kernel_tests() {
        echoes().expect("echo packets");
    }
}
