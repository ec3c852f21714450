//! The test network: a server's namespace with the recorder in its stack, and another one whose kernel has no address: all
//! that is sent there is the test's own.

use std::fs;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{MapData, RingBuf};
use socket2::{Domain, Socket, Type};
use xps_core::flow::FlowKey;
use xps_core::handler::REPLY_MAX;
use xps_core::packet::mapped;
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;
use xps_recorder::Connection;
use xps_recorder::record::{Record, SETTINGS, Settings};
use xps_runtime::flow_table::FlowTable;
use xps_runtime::install::{Installed, Service, Stats};
use xps_runtime::mapping::Mapping;
use xps_runtime::plan::{Path as ByPath, Wishes, plan};
use xps_runtime::probe::{ProbeRequest, probe};
use xps_testkit::lie::FIREWALLED;
use xps_testkit::link::Link;
use xps_testkit::namespace::{BpfMount, Namespace, remove_leftovers};
use xps_testkit::plan::Plan;

use crate::batch::Numbers;

/// The kernel programs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// Ports of a server: its own, and the one through XPS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) accelerated: u16,
}

/// Of the server with the usual receive buffer, of the one with a small one, and of the one that is accelerated in place.
const PORTS: [Ports; 3] = [
    Ports { plain: 7000, accelerated: 7001 },
    Ports { plain: 7010, accelerated: 7011 },
    Ports { plain: 7020, accelerated: 7020 },
];

impl Ports {
    /// Of the server that a plan's client talks to.
    pub(crate) const fn of(plan: &Plan) -> Self {
        match (plan.small, plan.accelerated && plan.isn & 1 == 1) {
            (true, _) => PORTS[1],
            (false, true) => PORTS[2],
            (false, false) => PORTS[0],
        }
    }

    /// Whether the server's own port is accelerated.
    pub(crate) const fn in_place(self) -> bool {
        self.plain == self.accelerated
    }
}

/// Bytes of the small receive buffer; the kernel doubles them.
const SMALL_BUFFER: usize = 4096;

/// Link addresses of client and server.
pub(crate) const LINK: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]];

pub(crate) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 81, 0, 1);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x81, 0, 0, 0, 0, 0, 1);

/// Who asks whether all was looked at.
pub(crate) const ASKER: Ipv4Addr = Ipv4Addr::new(10, 82, 255, 254);

const FLOWS_MAX: u32 = 8192;

/// All that a run needs.
pub(crate) struct Lab {
    pub(crate) link: Link,
    pub(crate) listeners: [TcpListener; 3],
    pub(crate) ring: RingBuf<MapData>,
    pub(crate) flows: FlowTable<Connection>,
    pub(crate) numbers: Numbers,
    settings: Mapping,
    stats: Stats,
    installed: Option<Installed>,
    _server: Namespace,
    _client: Namespace,
    _bpf: BpfMount,
    _folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn create() -> Result<Self> {
        stay()?;
        remove_leftovers();
        let folder = tempfile::tempdir()?;
        let bpf = BpfMount::create(folder.path().join("bpf"))?;
        let server = Namespace::create("hostile-server")?;
        let client = Namespace::create("hostile-client")?;
        network(&server, &client)?;
        let pins = bpf.path().join("recorder");
        let listeners = server.place().run(|| {
            let small = listen(PORTS[1].plain, Some(SMALL_BUFFER))?;
            Ok([listen(PORTS[0].plain, None)?, small, listen(PORTS[2].plain, None)?])
        })?;
        let installed = server.place().run(|| install(&pins))?;
        let link = client.place().run(|| Ok(Link::open("veth0")?))?;
        let ring = RingBuf::try_from(installed.map(xps_core::abi::map::EVENTS)?)?;
        // SAFETY: the object was built from this package's library; its state consists of integers.
        let flows = unsafe { installed.flow_table::<Connection>()? };
        Ok(Self {
            link,
            listeners,
            ring,
            flows,
            numbers: Numbers::default(),
            settings: installed.mapping(SETTINGS)?,
            stats: installed.stats()?,
            installed: Some(installed),
            _server: server,
            _client: client,
            _bpf: bpf,
            _folder: folder,
        })
    }

    /// Tells the programs how to go on. To be called while no packet is on its way.
    pub(crate) fn set(&self, settings: Settings) {
        let put = |offset, value| self.settings.u32(offset).store(value, Ordering::SeqCst);
        put(offset_of!(Settings, answers), settings.answers);
        put(offset_of!(Settings, disabled_checks), settings.disabled_checks);
    }

    /// Gives the records since the last call to `each`.
    ///
    /// # Errors
    /// If some were lost.
    pub(crate) fn records(&mut self, mut each: impl FnMut(&Record)) -> Result<()> {
        while let Some(item) = self.ring.next() {
            ensure!(item.len() == size_of::<Record>(), "a record of {} bytes", item.len());
            // SAFETY: a record of integers, as the programs write it; it may lie at any address.
            each(&unsafe { item.as_ptr().cast::<Record>().read_unaligned() });
        }
        Ok(())
    }

    /// A counter of the programs.
    pub(crate) fn counted(&self, reason: Reason) -> Result<u64> {
        Ok(self.stats.read()?[reason as usize])
    }

    /// All counters that are not zero.
    pub(crate) fn counters(&self) -> Result<String> {
        let counted = self.stats.read()?;
        let shown = Reason::ALL.iter().zip(counted).filter(|(_, count)| *count != 0);
        Ok(shown.map(|(reason, count)| format!("{}={count}", reason.label())).collect::<Vec<_>>().join(" "))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.installed.take().context("installed once")?.detach()?;
        Ok(())
    }
}

/// The server's address.
pub(crate) fn server(v6: bool) -> IpAddr {
    if v6 { SERVER_V6.into() } else { SERVER_V4.into() }
}

/// Client `number`'s address: there are 65,000 of them.
pub(crate) fn client(v6: bool, number: u16) -> IpAddr {
    let [high, low] = (number % 65_000).to_be_bytes();
    if v6 {
        Ipv6Addr::new(0xfd00, 0x82, 0, 0, 0, 0, 0, 1 + number % 65_000).into()
    } else {
        Ipv4Addr::new(10, 82, high, low).into()
    }
}

/// The key of a connection's flow.
pub(crate) fn key(client: SocketAddr, server: IpAddr, server_port: u16) -> FlowKey {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    };
    let (client_address, server) = (octets(client.ip()), octets(server));
    FlowKey { client: client_address, server, client_port: client.port(), server_port, padding: 0 }
}

fn network(server: &Namespace, client: &Namespace) -> Result<()> {
    let mac = |address: [u8; 6]| address.map(|byte| format!("{byte:02x}")).join(":");
    let [own, its] = LINK.map(mac);
    server.ip(&[
        "link",
        "add",
        "veth0",
        "address",
        &its,
        "type",
        "veth",
        "peer",
        "name",
        "veth0",
        "netns",
        client.name(),
    ])?;
    client.place().run(|| write("net/ipv6/conf/veth0/disable_ipv6", "1"))?;
    client.ip(&["link", "set", "veth0", "address", &own, "arp", "off", "up"])?;
    server.place().run(|| {
        // Whoever sends what cannot be taken is told so each time.
        write("net/ipv4/tcp_invalid_ratelimit", "0")?;
        // A batch of connections is opened at once.
        write("net/core/somaxconn", "4096")?;
        write("net/ipv4/tcp_max_syn_backlog", "4096")
    })?;
    server.ip(&["address", "add", &format!("{SERVER_V4}/24"), "dev", "veth0"])?;
    server.ip(&["address", "add", &format!("{SERVER_V6}/64"), "dev", "veth0", "nodad"])?;
    server.ip(&["link", "set", "veth0", "up"])?;
    for (gateway, clients) in [("10.81.0.2", "10.82.0.0/16"), ("fd00:81::2", "fd00:82::/64")] {
        server.ip(&["neighbour", "add", gateway, "lladdr", &own, "dev", "veth0", "nud", "permanent"])?;
        server.ip(&["route", "add", clients, "via", gateway, "dev", "veth0"])?;
    }
    let dscp = FIREWALLED >> 2;
    let rules = format!(
        "table inet lab {{ chain input {{ type filter hook input priority 0; ip dscp {dscp} drop; ip6 dscp {dscp} drop; }}; }}"
    );
    server.place().run_program("nft", &[&rules])
}

fn write(name: &str, value: &str) -> Result<()> {
    fs::write(Path::new("/proc/sys").join(name), value).with_context(|| format!("cannot set {name}"))
}

fn listen(port: u16, receive_buffer: Option<usize>) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn install(pins: &Path) -> Result<Installed> {
    let facts = probe(&ProbeRequest { pin_directory: pins.to_owned(), mount_bpffs: false });
    let plan = plan(&facts, &Wishes::default())?;
    ensure!(plan.path == ByPath::Kernel, "no kernel path: {:?}", plan.causes);
    let predicate = |ports: Ports| Predicate {
        accelerated_port: ports.accelerated,
        plain_port: ports.plain,
        ..Predicate::default()
    };
    let installed = Installed::install(
        &plan,
        &Service {
            object: OBJECT,
            pin_directory: pins.to_owned(),
            map_entries: Vec::new(),
            fresh_maps: Vec::new(),
            predicates: PORTS.map(predicate).to_vec(),
            flows_max: FLOWS_MAX,
            reply_bytes_max: REPLY_MAX as u32,
            xdp: None,
            addresses: Vec::new(),
        },
    )?;
    installed.renew_lease(Duration::from_secs(7 * 24 * 3600));
    installed.set_answer(true);
    installed.set_accept(true);
    Ok(installed)
}

/// Keeps the calling thread on its processor: then what it sends is handed over in order.
fn stay() -> Result<()> {
    // SAFETY: all zero is a valid set; the calls change it and the calling thread only.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    ensure!(done == 0, "cannot stay on a processor: {}", std::io::Error::last_os_error());
    Ok(())
}
