//! Two hosts with the real binary on the kernel path, and an application that touches its lease.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heartbeat::prober::event::State;
use heartbeat_lease::Lease;

use crate::kernel_tests;
use crate::lab::{CLIENTS, Lab, SERVERS};
use crate::namespace::{BpfMount, Place};
use crate::running::{Agent, cluster, send, until};

/// Tells a process of this test program that it is the application; the lease's file.
const APPLICATION: &str = "XPS_TEST_LEASE";

/// An application, which ends with the test.
struct Application(Child);

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Application {
    fn start(lease: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["agents::the_application", "--exact"]).env(APPLICATION, lease);
        Ok(Self(command.stdout(Stdio::null()).spawn()?))
    }

    fn id(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

/// What the application does: it is no test, and passes at once where nobody has asked for it.
#[test]
fn the_application() {
    let Some(path) = std::env::var_os(APPLICATION) else { return };
    let lease = until("a lease", || Lease::open(&path).ok());
    loop {
        lease.touch();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Hosts of a cluster, in the lab's two namespaces: nodes 1 on one, 2 and 3 on the other.
struct Hosts {
    lab: Lab,
    folder: tempfile::TempDir,
    bpf: [BpfMount; 2],
    /// The place of an address among a host's: IPv4 or IPv6.
    family: usize,
}

impl Hosts {
    fn create(family: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let host = |name: &str| -> Result<BpfMount> {
            std::fs::create_dir(folder.path().join(name))?;
            BpfMount::create(folder.path().join(name).join("bpf"))
        };
        let bpf = [host("one")?, host("two")?];
        Ok(Self { lab: Lab::create()?, bpf, folder, family })
    }

    fn lease(&self) -> std::path::PathBuf {
        self.folder.path().join("two").join("application.lease")
    }

    fn text(&self, host: usize) -> String {
        let address = |addresses: [std::net::IpAddr; 2]| (addresses[self.family], 7946).into();
        let [one, two] = [address(CLIENTS), address(SERVERS)];
        let nodes = match host {
            0 => "[node]\nid = 1\n".to_owned(),
            _ => format!(
                "[[node]]\nid = 2\nlease = \"300ms\"\nlease_by = \"shared\"\nlease_file = \"{}\"\n[[node]]\nid = 3\n",
                self.lease().display()
            ),
        };
        format!(
            "{}[listen]\naddresses = [\"0.0.0.0\", \"::\"]\n[path]\nmode = \"kernel\"\npin_directory = \"{}\"\n{nodes}",
            cluster(&[(1, one), (2, two), (3, two)]),
            self.bpf[host].path().join("heartbeat").display()
        )
    }

    fn place(&self, host: usize) -> &Place {
        [self.lab.client.place(), self.lab.server.place()][host]
    }

    fn start(&self, host: usize) -> Agent {
        let folder = self.folder.path().join(["one", "two"][host]);
        Agent::start(self.place(host).command(env!("CARGO_BIN_EXE_heartbeat")), &folder, &self.text(host))
    }
}

/// An application that is stopped has failed, though its host's stack could still answer and answers for the other node.
fn a_stopped_application_has_failed(family: usize) -> Result<()> {
    let hosts = Hosts::create(family)?;
    let [one, two] = [hosts.start(0), hosts.start(1)];
    let application = Application::start(&hosts.lease())?;
    one.sees(2, State::Alive);
    one.sees(3, State::Alive);
    let status = two.status();
    ensure!(status.path == "kernel" && status.replies["kernel"] > 0, "{status:?}");
    ensure!(status.interfaces.iter().all(|interface| interface.place == "tcx"), "{status:?}");
    send(application.id(), libc::SIGSTOP);
    one.sees(2, State::Failed);
    let answered = two.status().replies["kernel"];
    until("answers for the other node", || (two.status().replies["kernel"] > answered + 5).then_some(()));
    one.sees(3, State::Alive);
    ensure!(two.status().dropped["lapsed"] > 0, "probes of the hung application's node are dropped");
    send(application.id(), libc::SIGCONT);
    one.sees(2, State::Alive);
    drop(application);
    one.sees(2, State::Failed);
    let _another = Application::start(&hosts.lease())?;
    one.sees(2, State::Alive);
    // Nobody but the stack has answered since then; before, the agent answers until its programs know their addresses.
    ensure!(two.status().replies["user"] == status.replies["user"], "{:?}", two.status());
    ensure!(two.stop(), "an orderly end");
    one.sees(3, State::Failed);
    let left = std::fs::read_dir(hosts.bpf[1].path().join("heartbeat")).map(Iterator::count);
    ensure!(left.unwrap_or(0) == 0, "something was left in the stack");
    Ok(())
}

#[test]
fn a_stopped_application_has_failed_over_ipv4() {
    if kernel_tests() {
        a_stopped_application_has_failed(0).expect("it is seen");
    }
}

#[test]
fn a_stopped_application_has_failed_over_ipv6() {
    if kernel_tests() {
        a_stopped_application_has_failed(1).expect("it is seen");
    }
}

/// A dead agent's nodes fall silent when their leases lapse, though its programs stay; and go on with the next agent.
fn an_agent_that_is_killed_is_followed_by_the_next() -> Result<()> {
    let hosts = Hosts::create(0)?;
    let [one, two] = [hosts.start(0), hosts.start(1)];
    let _application = Application::start(&hosts.lease())?;
    one.sees(2, State::Alive);
    one.sees(3, State::Alive);
    drop(two);
    one.sees(2, State::Failed);
    one.sees(3, State::Failed);
    let before = one.members().iter().find(|member| member.node == 3).context("node 3")?.incarnation;
    let two = hosts.start(1);
    one.sees(2, State::Alive);
    one.sees(3, State::Alive);
    let after = one.members().iter().find(|member| member.node == 3).context("node 3")?.incarnation;
    ensure!(after > before, "{after} after {before}");
    // The counts of the first one's life are in the tables, too.
    ensure!(two.status().dropped["replayed"] == 0, "{:?}", two.status());
    Ok(())
}

#[test]
fn the_next_agent_goes_on() {
    if kernel_tests() {
        an_agent_that_is_killed_is_followed_by_the_next().expect("it goes on");
    }
}

/// A link that is down fails everybody behind it, and is forgotten when it is up.
fn a_link_comes_back() -> Result<()> {
    let hosts = Hosts::create(0)?;
    let [one, two] = [hosts.start(0), hosts.start(1)];
    one.sees(3, State::Alive);
    two.sees(1, State::Alive);
    hosts.lab.server.ip(&["link", "set", crate::lab::DEVICE, "down"])?;
    one.sees(3, State::Failed);
    two.sees(1, State::Failed);
    hosts.lab.server.ip(&["link", "set", crate::lab::DEVICE, "up"])?;
    one.sees(3, State::Alive);
    two.sees(1, State::Alive);
    Ok(())
}

#[test]
fn who_was_cut_off_is_found_again() {
    if kernel_tests() {
        a_link_comes_back().expect("it is found");
    }
}
