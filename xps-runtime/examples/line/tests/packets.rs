//! The table of packets against the kernel's programs, by `BPF_PROG_TEST_RUN`: the same verdicts, the same bytes and the
//! same counters as on the host (`xps-runtime/core/tests/packets.rs`).
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

use std::net::TcpListener;
use std::process::Command;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, ProgramArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use xps_core::abi::{self, Control, Device, Local, Redirect, State, map, program};
use xps_core::flow::{Flow, FlowKey};
use xps_core::handshake::{MARKS, Mark};
use xps_core::host::segment::{ACCELERATED_PORT, PLAIN_PORT, SERVERS};
use xps_core::host::table::{Becomes, Case, Step, cases};
use xps_core::path::{STAGES, Socket, Stage};
use xps_core::predicate::Predicate;
use xps_core::splice::flag;
use xps_core::verdict::Reason;
use xps_line::Connection;

/// A value of a map as the kernel has it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY: only used with the types of the maps' ABI, which are plain data of a fixed layout.
unsafe impl<T: Copy + 'static> aya::Pod for Plain<T> {}

/// `TC_ACT_SHOT`, `TC_ACT_REDIRECT` and `TCX_NEXT`.
const DROPPED: u32 = 2;
const REDIRECTED: u32 = 7;
const NEXT: u32 = u32::MAX;

/// What the server's socket would say of the path, if there was one (`tcp_sock.mss_cache`).
const SOCKET_MSS: u16 = u16::MAX;

/// The programs and their server, unless kernel tests are left out.
fn kernel() -> Option<(Kernel, TcpListener)> {
    if std::env::var("XPS_KERNEL_TESTS").as_deref() != Ok("1") {
        println!("SKIPPED: needs root and BPF; XPS_KERNEL_TESTS=1 runs it");
        return None;
    }
    // A namespace of this thread's own: test packets belong to its loopback device, sockets are looked up in it.
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
    // With the link address that packets for the server have.
    let up = Command::new("ip").args(["link", "set", "lo", "up", "address", "02:00:00:00:00:02"]).status();
    assert!(up.is_ok_and(|status| status.success()), "loopback cannot be set up");
    let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, PLAIN_PORT)).unwrap();
    Some((Kernel::load(), listener))
}

#[test]
fn the_kernel_does_what_the_host_does() {
    let Some((mut kernel, _listener)) = kernel() else { return };
    let (mut run, mut left) = (0, Vec::new());
    for case in cases() {
        if needs_a_connection(&case) || needs_a_device(&case) {
            left.push(case.name);
            continue;
        }
        kernel.reset();
        kernel.run(&case);
        run += 1;
    }
    println!("{run} cases agree; {} need a real connection and run on the host only: {left:?}", left.len());
    assert!(run > 20, "only {run} cases were run");
}

/// As long as the table has all programs, they are found (the test above). Without one nothing passes unread.
#[test]
fn what_a_missing_program_would_judge_is_dropped_and_counted() {
    let Some((mut kernel, _listener)) = kernel() else { return };
    let mut met = [false; STAGES];
    for stage in Stage::ALL {
        kernel.fill();
        kernel.table().clear_index(&(stage as u32)).unwrap();
        'met: for case in cases() {
            if needs_a_connection(&case) || needs_a_device(&case) {
                continue;
            }
            kernel.reset();
            for step in &case.steps {
                let before = kernel.counters()[Reason::StageMissing as usize];
                let result = kernel.step(step);
                if kernel.counters()[Reason::StageMissing as usize] == before {
                    continue;
                }
                let expected = if stage == Stage::Error { NEXT } else { DROPPED };
                assert_eq!(result.map(|(code, _)| code), Some(expected), "{stage:?}, {}", case.name);
                met[stage as usize] = true;
                break 'met;
            }
        }
    }
    // A packet begins at ingress by the interface, not by the table.
    assert!(met[1..].iter().all(|met| *met), "{met:?}");
}

/// Whether a case is about the state of a real socket.
fn needs_a_connection(case: &Case) -> bool {
    let sockets = case.steps.iter().filter(|step| matches!(step, Step::Socket(_))).count();
    let named = |reason| {
        case.steps.iter().any(|step| {
            matches!(step, Step::Packet { counts, .. } if counts.iter().any(|(counted, _)| *counted == reason))
        })
    };
    // The usual ones: free for the handshake, live from the first acknowledgement on, free again once it was reset.
    let last = case.steps.iter().rev().find(|step| matches!(step, Step::Socket(_)));
    let usual = match sockets {
        0 => true,
        2 => matches!(case.steps[0], Step::Socket(Socket::Free)),
        3 => matches!(last, Some(Step::Socket(Socket::Free))),
        _ => false,
    };
    // What is excluded there is a SYN of a connection that is open.
    let reasons = [Reason::TupleInUse, Reason::HandshakeUnseen, Reason::NoListener, Reason::AddressExcluded];
    !usual || reasons.into_iter().any(named)
}

/// Whether a case has tags, which a device takes off.
fn needs_a_device(case: &Case) -> bool {
    case.steps.iter().any(|step| matches!(step, Step::Packet { frame, .. } if frame.tag.is_some()))
}

struct Kernel {
    ebpf: Ebpf,
    /// Whether the server's socket counts as established.
    live: bool,
}

impl Kernel {
    fn load() -> Self {
        let object = std::fs::read(env!("XPS_OBJECT")).unwrap();
        let mut ebpf = EbpfLoader::new().load(&object).unwrap();
        for name in Stage::ALL.map(Stage::program).into_iter().chain([program::EGRESS]) {
            let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        let mut kernel = Self { ebpf, live: false };
        kernel.fill();
        let mut ports = [0; 65536];
        ports[usize::from(ACCELERATED_PORT)] = 1;
        ports[usize::from(PLAIN_PORT)] = 1;
        kernel.array::<[u8; 65536]>(map::PORTS).set(0, Plain(ports), 0).unwrap();
        let predicate =
            Predicate { accelerated_port: ACCELERATED_PORT, plain_port: PLAIN_PORT, ..Predicate::default() };
        kernel.array(map::PREDICATES).set(1, Plain(predicate), 0).unwrap();
        let loopback = Device { redirect: Redirect::Egress as u32, mtu: 65536, vrf: 0 };
        let mut devices: HashMap<_, u32, Plain<Device>> =
            HashMap::try_from(kernel.ebpf.map_mut(map::DEVICES).unwrap()).unwrap();
        devices.insert(1, Plain(loopback), 0).unwrap();
        kernel
    }

    /// Fills the table of the programs at ingress.
    fn fill(&mut self) {
        for stage in Stage::ALL {
            let program: &SchedClassifier = self.ebpf.program(stage.program()).unwrap().try_into().unwrap();
            let fd = program.fd().unwrap().try_clone().unwrap();
            self.table().set(stage as u32, &fd, 0).unwrap();
        }
    }

    fn table(&mut self) -> ProgramArray<&mut MapData> {
        ProgramArray::try_from(self.map(map::STAGES)).unwrap()
    }

    fn map(&mut self, name: &str) -> &mut Map {
        self.ebpf.map_mut(name).unwrap_or_else(|| panic!("no map {name}"))
    }

    fn array<T: Copy + 'static>(&mut self, name: &str) -> Array<&mut MapData, Plain<T>> {
        Array::try_from(self.map(name)).unwrap()
    }

    fn flows(&mut self) -> HashMap<&mut MapData, Plain<FlowKey>, Plain<Flow<Connection>>> {
        HashMap::try_from(self.map(map::FLOWS)).unwrap()
    }

    /// Forgets everything.
    fn reset(&mut self) {
        self.live = false;
        let control = Control {
            version: abi::VERSION,
            accept: 1,
            answer: 1,
            flows_max: 100,
            lease_deadline_ns: u64::MAX,
            secret: [1, 2],
            internal_mark: 0x5850_5301,
            reply_bytes_max: 1448,
        };
        self.array(map::CONTROL).set(0, Plain(control), 0).unwrap();
        self.array(map::STATE).set(0, Plain(State::default()), 0).unwrap();
        for address in SERVERS {
            self.set_local(address, Some(Local { accelerated: 1, ..Local::default() }));
        }
        let mut flows = self.flows();
        let keys: Vec<_> = flows.keys().map(Result::unwrap).collect();
        for key in keys {
            flows.remove(&key).unwrap();
        }
        let mut marks = self.array::<Mark>(map::MARKS);
        for slot in 0..MARKS {
            marks.set(slot, Plain(Mark::default()), 0).unwrap();
        }
    }

    fn set_local(&mut self, address: [u8; 16], local: Option<Local>) {
        let mut locals: HashMap<_, [u8; 16], Plain<Local>> =
            HashMap::try_from(self.map(map::LOCALS)).unwrap();
        match local {
            Some(local) => locals.insert(address, Plain(local), 0).unwrap(),
            None => locals.remove(&address).unwrap(),
        }
    }

    fn change_control(&mut self, change: impl FnOnce(&mut Control)) {
        let mut controls = self.array::<Control>(map::CONTROL);
        let mut control = controls.get(&0, 0).unwrap().0;
        change(&mut control);
        controls.set(0, Plain(control), 0).unwrap();
    }

    fn counters(&mut self) -> Vec<u64> {
        let stats: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map(map::STATS)).unwrap();
        (0..Reason::COUNT as u32).map(|reason| stats.get(&reason, 0).unwrap().iter().sum()).collect()
    }

    /// The server's socket leaves the handshake: what the programs would ask of it is noted in the flow.
    fn establish(&mut self) {
        let mut flows = self.flows();
        let keys: Vec<_> = flows.keys().map(Result::unwrap).collect();
        for key in keys {
            let mut flow = flows.get(&key, 0).unwrap();
            flow.0.splice.flags |= flag::ESTABLISHED;
            flow.0.outlet.mss = SOCKET_MSS;
            flows.insert(key, flow, 0).unwrap();
        }
    }

    /// Does a step. What became of its packet, if it is one.
    fn step(&mut self, step: &Step) -> Option<(u32, Vec<u8>)> {
        match step {
            Step::Socket(socket) => self.live = *socket == Socket::Live,
            Step::Local(address, local) => self.set_local(*address, *local),
            Step::LeaseLapses => self.change_control(|control| control.lease_deadline_ns = 0),
            Step::FlowsMax(flows) => self.change_control(|control| control.flows_max = *flows),
            Step::Packet { from_server, frame, .. } => {
                if self.live {
                    self.establish();
                }
                return Some(self.packet(*from_server, &frame.bytes));
            }
        }
        None
    }

    fn run(&mut self, case: &Case) {
        for (nth, step) in case.steps.iter().enumerate() {
            let at = format!("{}, step {nth}", case.name);
            let before = self.counters();
            let result = self.step(step);
            let after = self.counters();
            let (Some((code, out)), Step::Packet { becomes, counts, .. }) = (result, step) else { continue };
            let (expected_code, expected) = match becomes {
                Becomes::Next(expected) => (NEXT, Some(expected)),
                Becomes::Dropped => (DROPPED, None),
                Becomes::Copies(expected) => (DROPPED, expected.last()),
                Becomes::Reply(expected)
                | Becomes::Acknowledgement(expected)
                | Becomes::Both { client: expected, .. } => (REDIRECTED, Some(expected)),
            };
            assert_eq!(code, expected_code, "{at}");
            if let Some(expected) = expected {
                assert!(out == expected.bytes, "{at}:\n{out:02x?}\n{:02x?} was expected", expected.bytes);
            }
            let mut counted: Vec<(Reason, u64)> = Reason::ALL
                .iter()
                .filter(|reason| after[**reason as usize] != before[**reason as usize])
                .map(|reason| (*reason, after[*reason as usize] - before[*reason as usize]))
                .collect();
            let mut expected = counts.clone();
            counted.sort();
            expected.sort();
            assert_eq!(counted, expected, "{at}");
        }
    }

    fn packet(&mut self, from_server: bool, bytes: &[u8]) -> (u32, Vec<u8>) {
        let name = if from_server { program::EGRESS } else { program::INGRESS };
        let program: &SchedClassifier = self.ebpf.program(name).unwrap().try_into().unwrap();
        let mut out = vec![0; 4096];
        let mut options = TestRunOptions::new();
        options.data_in = Some(bytes);
        options.data_out = Some(&mut out);
        options.repeat = 1;
        let result = program.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }
}
