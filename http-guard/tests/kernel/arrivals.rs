//! The table of packets for the program at XDP against the kernel, by `BPF_PROG_TEST_RUN`: the same verdicts as on the host
//! (`xps-runtime/core/tests/arrivals.rs`).

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use http_fastpath::abi::{self as http, Settings};
use http_fastpath::head;
use http_fastpath::judge;
use http_fastpath::limit::Rate;
use xps_core::abi::{self, Control, Local, map};
use xps_core::host::arrivals::{Arrived, BLOCKED_V4, BLOCKED_V6, arrivals};
use xps_core::host::segment::{ACCELERATED_PORT, PLAIN_PORT, SERVERS, client};
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;

use crate::kernel_tests;

/// `XDP_DROP` and `XDP_PASS`.
const DROPPED: u32 = 1;
const PASSED: u32 = 2;

/// A test run takes an Ethernet header at least.
const LEAST: usize = 14;

/// Runs that are timed.
const RUNS: u32 = 1_000_000;

/// A value of a map as the kernel has it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY: only used with the types of the maps' ABI, which are plain data of a fixed layout.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

struct Kernel(Ebpf);

impl Kernel {
    /// The program, with the tables as the packets' table wants them.
    fn load() -> Result<Self> {
        let object = std::fs::read(env!("XPS_OBJECT"))?;
        let mut loader = EbpfLoader::new();
        for table in [map::FLOWS, http::map::LIMITS] {
            loader.map_max_entries(table, 16);
        }
        let mut kernel = Self(loader.load(&object)?);
        let program: &mut Xdp =
            kernel.0.program_mut(http::program::BLOCK).context("no program")?.try_into()?;
        program.load()?;
        let mut ports = [0; 65536];
        ports[usize::from(ACCELERATED_PORT)] = 1;
        ports[usize::from(PLAIN_PORT)] = 1;
        kernel.array::<[u8; 65536]>(map::PORTS)?.set(0, Plain(ports), 0)?;
        let predicate =
            Predicate { accelerated_port: ACCELERATED_PORT, plain_port: PLAIN_PORT, ..Predicate::default() };
        kernel.array(map::PREDICATES)?.set(1, Plain(predicate), 0)?;
        kernel.locals()?.insert(SERVERS[0], Plain(Local::default()), 0)?;
        kernel.locals()?.insert(SERVERS[1], Plain(Local::default()), 0)?;
        kernel.set_lease(u64::MAX)?;
        kernel.set_blocking(1)?;
        let blocks = kernel.0.map_mut(http::map::BLOCKS).context("no blocks")?;
        let mut blocks: HashMap<_, [u64; 2], u64> = HashMap::try_from(blocks)?;
        for client in [BLOCKED_V4, BLOCKED_V6] {
            blocks.insert(judge::prefix(&client, 64), u64::MAX, 0)?;
        }
        Ok(kernel)
    }

    fn array<T: Copy + 'static>(&mut self, name: &str) -> Result<Array<&mut MapData, Plain<T>>> {
        Ok(Array::try_from(self.0.map_mut(name).context("no such map")?)?)
    }

    fn locals(&mut self) -> Result<HashMap<&mut MapData, [u8; 16], Plain<Local>>> {
        Ok(HashMap::try_from(self.0.map_mut(map::LOCALS).context("no addresses")?)?)
    }

    fn set_lease(&mut self, lease_deadline_ns: u64) -> Result<()> {
        let control =
            Control { version: abi::VERSION, accept: 1, answer: 1, lease_deadline_ns, ..Control::default() };
        Ok(self.array(map::CONTROL)?.set(0, Plain(control), 0)?)
    }

    fn set_blocking(&mut self, blocking: u32) -> Result<()> {
        let settings = Settings {
            head: head::Settings::DEFAULT,
            secret: [1, 2],
            tables: 0,
            limits_mask: 0,
            date: 0,
            refused_sample: 0,
            clients: 0,
            ipv6_prefix: 64,
            blocking,
            connections_max: 0,
            connections: Rate::default(),
            dates: [[0; 32]; 2],
        };
        Ok(self.array(http::map::SETTINGS)?.set(0, Plain(settings), 0)?)
    }

    fn dropped(&mut self) -> Result<u64> {
        let stats: PerCpuArray<_, u64> = PerCpuArray::try_from(self.0.map_mut(map::STATS).context("stats")?)?;
        Ok(stats.get(&(Reason::BlockedOnArrival as u32), 0)?.iter().sum())
    }

    fn run(&self, bytes: &[u8], repeat: u32) -> Result<TestRunResult> {
        let program: &Xdp = self.0.program(http::program::BLOCK).context("no program")?.try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(bytes);
        options.repeat = repeat;
        Ok(program.test_run(options)?)
    }

    /// Checks what becomes of a packet, and that it is counted if it goes no further.
    fn check(&mut self, name: &str, bytes: &[u8], dropped: bool) -> Result<()> {
        let before = self.dropped()?;
        let code = self.run(bytes, 1)?.return_value;
        let expected = if dropped { DROPPED } else { PASSED };
        ensure!(code == expected, "{name}: {code} instead of {expected} for {bytes:02x?}");
        let counted = self.dropped()? - before;
        ensure!(counted == u64::from(dropped), "{name}: counted {counted} times");
        Ok(())
    }

    fn time(&self, what: &str, bytes: &[u8]) -> Result<()> {
        println!("{what}: {} ns", self.run(bytes, RUNS)?.duration.as_nanos());
        Ok(())
    }
}

fn test() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let mut run = 0;
    for Arrived { name, bytes, dropped } in arrivals() {
        if bytes.len() >= LEAST {
            kernel.check(&name, &bytes, dropped)?;
            run += 1;
        }
    }
    ensure!(run > 200, "only {run} packets were run");
    let syn = client(1, 0, b"").opening().frame().bytes;
    let request = client(1, 1, b"GET / HTTP/1.1\r\n\r\n").frame().bytes;
    kernel.time("a SYN of a blocked client is dropped", &syn)?;
    kernel.time("a request passes while somebody is blocked", &request)?;
    kernel.set_lease(1)?;
    kernel.check("the lease has lapsed", &syn, false)?;
    kernel.set_lease(u64::MAX)?;
    kernel.set_blocking(0)?;
    kernel.check("nobody is blocked", &syn, false)?;
    kernel.set_blocking(1)?;
    kernel.locals()?.remove(&SERVERS[0])?;
    kernel.check("another host's address", &syn, false)?;
    kernel.set_blocking(0)?;
    kernel.time("a request passes while nobody is blocked", &request)
}

#[test]
fn the_program_at_xdp_does_what_the_host_does() {
    if kernel_tests() {
        test().expect("the same on both");
    }
}
