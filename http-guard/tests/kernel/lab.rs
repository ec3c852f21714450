//! The network, Nginx and http-guard of one test. All of it is removed when it is dropped, also on a panic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_guard::telling::OWNER;
use http_guard::telling::offenders::View;
use http_guard::telling::status::Status;
use socket2::{Domain, Socket, Type};
use xps_runtime::admin::address::Address;

use crate::client::Client;
use crate::laboratory::{CLIENT, Network, Plan, SERVER};
pub(crate) use crate::laboratory::{CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6};
use crate::namespace::{BpfMount, Namespace, Place, remove_leftovers};
use crate::process::Process;
use crate::site::Site;
use crate::{PATIENCE, kernel_tests};

/// Nginx's own port.
pub(crate) const PLAIN: u16 = 80;
/// Nginx's port where it is told of clients (PROXY protocol).
pub(crate) const TOLD: u16 = 81;
/// The port through XPS.
pub(crate) const ACCELERATED: u16 = 8080;

const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9181);

/// The ports of the clients that have one of their own; the kernel gives others from 32768 on.
const OWN_PORTS: Range<u16> = 10_000..32_000;

/// What Nginx serves.
pub(crate) const PAGE: &str = "served by Nginx\n";

/// Tests of one program share two processors: one at a time.
static SERIAL: Mutex<()> = Mutex::new(());

/// Which path clients take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The stack's.
    Kernel,
    /// The stack's, on Nginx's own port. Then what connects to [`ACCELERATED`] is connected to that.
    InPlace,
    /// The proxy's. It tells Nginx of its clients, so that logs are the same.
    User,
}

impl Mode {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Kernel, Self::User];

    /// As the status tells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kernel | Self::InPlace => "kernel",
            Self::User => "user",
        }
    }
}

/// All that a test needs. Fields are dropped in order: programs, namespaces, mount, folder.
#[derive(Debug)]
pub(crate) struct Lab {
    mode: Mode,
    sidecar: Option<Process>,
    _nginx: Process,
    network: Network,
    bpf: BpfMount,
    folder: tempfile::TempDir,
    /// The next client's own port.
    port: AtomicU16,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Makes everything, with http-guard's configuration file and on the kernel path, runs `test` in it, and checks that an
    /// orderly stop leaves nothing. Does nothing if kernel tests are not wanted.
    pub(crate) fn run(file: &str, test: impl FnOnce(&mut Self) -> Result<()>) {
        Self::run_on(Mode::Kernel, Site::Files, file, test);
    }

    /// The same on any path, with Nginx serving what the test needs.
    pub(crate) fn run_on(mode: Mode, site: Site, file: &str, test: impl FnOnce(&mut Self) -> Result<()>) {
        Self::run_in(Network::direct, mode, site, file, test);
    }

    /// The same in any network.
    pub(crate) fn run_in(
        plan: Plan,
        mode: Mode,
        site: Site,
        file: &str,
        test: impl FnOnce(&mut Self) -> Result<()>,
    ) {
        if !kernel_tests() {
            return;
        }
        let mut lab = Self::create(plan, mode, site, file).expect("the test network");
        if let Err(error) = test(&mut lab) {
            let status = lab.status().map_or_else(|error| format!("{error:#}"), |status| status.to_string());
            let words = lab.sidecar.as_ref().map(Process::words).unwrap_or_default();
            panic!("{error:?}\n\nstatus:\n{status}\nhttp-guard's words:\n{words}\n{}", lab._nginx.words());
        }
        lab.finish().expect("an end without remains");
    }

    fn create(plan: Plan, mode: Mode, site: Site, file: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let turn = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir()?;
        let bpf = BpfMount::create(folder.path().join("bpf"))?;
        let network = plan(number)?;
        let nginx = site.start(&folder, network.place(SERVER))?;
        let port = AtomicU16::new(OWN_PORTS.start);
        let mut lab = Self { mode, sidecar: None, _nginx: nginx, network, bpf, folder, port, _turn: turn };
        lab.write_file(file)?;
        lab.start_sidecar()?;
        Ok(lab)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("http-guard.toml")
    }

    /// Changes http-guard's configuration file.
    pub(crate) fn write_file(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.file(), text)?)
    }

    /// Writes another file beside it.
    pub(crate) fn write_beside(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join(name), text)?)
    }

    /// Starts http-guard and waits until it serves on the path that is asked for.
    pub(crate) fn start_sidecar(&mut self) -> Result<()> {
        let pins = format!("path.pin_directory={}", self.pins().display());
        let mut command = self.server_place().command(env!("CARGO_BIN_EXE_http-guard"));
        command.arg("run").arg("--config").arg(self.file());
        let mode = self.mode.name();
        for setting in [&format!("path.mode={mode}"), "lease.drain_timeout=5s", &pins] {
            command.args(["--set", setting]);
        }
        if self.mode == Mode::InPlace {
            command.args(["--set", "listen.mode=in-place"]);
        }
        if self.mode == Mode::User {
            let nginx = format!("nginx.address={}:{TOLD}", Ipv4Addr::LOCALHOST);
            command.args(["--set", &nginx, "--set", "proxy.to_server=proxy_protocol_v2"]);
        }
        let mut sidecar = Process::start(&mut command, self.folder.path(), "http-guard")?;
        let place = self.server_place();
        sidecar.until(PATIENCE, || place.run(ask).ok().filter(|status| status.path == mode))?;
        self.sidecar = Some(sidecar);
        Ok(())
    }

    /// Kills http-guard (SIGKILL).
    pub(crate) fn kill_sidecar(&mut self) -> Result<()> {
        self.sidecar.take().context("no http-guard runs")?.kill()
    }

    /// Asks http-guard to stop (SIGTERM), waits for that, and checks that it took everything out of the stack.
    pub(crate) fn stop_sidecar(&mut self) -> Result<()> {
        let mut sidecar = self.sidecar.take().context("no http-guard runs")?;
        sidecar.terminate();
        let status = sidecar.wait(Duration::from_secs(9))?;
        ensure!(status.success(), "http-guard ended with {status}:\n{}", sidecar.words());
        let pins: Vec<_> = std::fs::read_dir(self.pins()).into_iter().flatten().flatten().collect();
        ensure!(pins.is_empty(), "still pinned: {pins:?}");
        Ok(())
    }

    fn pins(&self) -> PathBuf {
        self.bpf.path().join("http-guard")
    }

    /// Stops everything in order and checks that nothing is left.
    fn finish(mut self) -> Result<()> {
        if self.sidecar.is_some() {
            self.stop_sidecar().context("the stop at the test's end")?;
        }
        // Nginx goes on without it.
        let response = self.connect(SERVER_V4, PLAIN)?.get("/index.html")?;
        ensure!(response.body == PAGE, "{response:?}");
        let names = self.network.names();
        drop(self);
        for name in names {
            ensure!(Namespace::is_gone(&name), "the namespace {name} is still there");
        }
        Ok(())
    }

    /// The accelerated port.
    pub(crate) fn accelerated_port(&self) -> u16 {
        if self.mode == Mode::InPlace { PLAIN } else { ACCELERATED }
    }

    /// A connection from the client's namespace.
    pub(crate) fn connect(&self, server: IpAddr, port: u16) -> Result<Client> {
        let port = if port == ACCELERATED { self.accelerated_port() } else { port };
        Client::connect(self.client_place(), SocketAddr::new(server, port))
    }

    /// A connection through XPS, which must be there soon.
    pub(crate) fn connect_within(&self, server: IpAddr, limit: Duration) -> Result<Client> {
        let to = SocketAddr::new(server, self.accelerated_port());
        Client::over(self.client_place().run(|| Ok(TcpStream::connect_timeout(&to, limit)?))?)
    }

    /// A connection from the client's namespace through XPS, by IPv4.
    pub(crate) fn client(&self) -> Result<Client> {
        self.connect(SERVER_V4, ACCELERATED)
    }

    /// A connection from the client's namespace through XPS that the stack leaves to the proxy.
    pub(crate) fn connect_to_proxy(&self, server: IpAddr) -> Result<Client> {
        Client::multipath(self.client_place(), SocketAddr::new(server, self.accelerated_port()))
    }

    /// A connection through XPS from a port that no other connection of this test has: by it Nginx's logs know the client.
    /// Ports that the kernel gives come again as soon as a connection is reset.
    pub(crate) fn client_with_own_port(&self) -> Result<(TcpStream, u16)> {
        let port = self.port.fetch_add(1, Ordering::Relaxed);
        ensure!(OWN_PORTS.contains(&port), "a test has {} such connections at most", OWN_PORTS.len());
        let (own, to) =
            (SocketAddr::new(CLIENT_V4, port), SocketAddr::new(SERVER_V4, self.accelerated_port()));
        let socket = self.client_place().run(|| Ok(Socket::new(Domain::IPV4, Type::STREAM, None)?))?;
        socket.bind(&own.into()).with_context(|| format!("binding {own}"))?;
        socket.connect_timeout(&to.into(), PATIENCE).with_context(|| format!("connecting to {to}"))?;
        Ok((socket.into(), port))
    }

    /// Where clients are.
    pub(crate) fn client_place(&self) -> &Place {
        self.network.place(CLIENT)
    }

    /// Where Nginx and http-guard are.
    pub(crate) fn server_place(&self) -> &Place {
        self.network.place(SERVER)
    }

    /// The hosts and links.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// A log of Nginx.
    pub(crate) fn log(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join(name))?)
    }

    /// What http-guard says of itself.
    pub(crate) fn status(&self) -> Result<Status> {
        self.server_place().run(ask)
    }

    /// Who was refused most.
    pub(crate) fn top(&self) -> Result<View> {
        let address = Address::from(ADMIN);
        self.server_place().run(|| Ok(OWNER.get_as(&address, "/top", |text| serde_json::from_str(text))?))
    }

    /// Asks http-guard to do something, as `http-guard reload` and the like do.
    pub(crate) fn act(&self, action: &str) -> Result<String> {
        self.server_place().run(|| Ok(OWNER.act(&ADMIN.into(), action)?))
    }

    /// What http-guard tells Prometheus.
    pub(crate) fn metrics(&self) -> Result<String> {
        self.server_place().run(|| Ok(OWNER.get(&ADMIN.into(), "/metrics")?))
    }

    /// Nginx's access log: the client's address and the request line of each.
    pub(crate) fn access_log(&self) -> Result<String> {
        self.log("access.log")
    }
}

fn ask() -> Result<Status> {
    Ok(OWNER.get_as(&ADMIN.into(), "/status", |text| serde_json::from_str(text))?)
}
