//! The reflector's agent: attaches the program to all interfaces of its network namespace, and detaches it by ending.
//!
//! `xps-reflector 6390 64` answers GETs on port 6390, where a Redis must listen for the handshakes, with 64 bytes.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, Pod};
use xps_reflector::{DEVICES, PROGRAM, SETTINGS, Settings};
use xps_runtime::interface;
use xps_runtime::plan::{Wishes, device};

/// The kernel program, as built with this agent.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// [`Settings`] as a map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value(Settings);

// SAFETY: bytes and integers without padding between.
unsafe impl Pod for Value {}

fn main() -> Result<()> {
    let usage = "usage: xps-reflector PORT VALUE_BYTES";
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [port, bytes] = arguments.as_slice() else { anyhow::bail!(usage) };
    let (port, bytes): (u16, usize) = (port.parse().context(usage)?, bytes.parse().context(usage)?);
    let reply = format!("${bytes}\r\n{}\r\n", "x".repeat(bytes));
    let settings = Settings::new(port, reply.as_bytes())
        .with_context(|| format!("a value of {bytes} bytes does not fit one segment; ask for fewer"))?;

    let mut ebpf = Ebpf::load(OBJECT).context("the kernel refuses the reflector (it needs root)")?;
    let map = ebpf.map_mut(SETTINGS).context("no settings in the object")?;
    Array::<_, Value>::try_from(map)?.set(0, Value(settings), 0)?;
    let interfaces = interface::list().context("the interfaces cannot be listed")?;
    let wishes = Wishes::default();
    let devices: Vec<_> =
        interfaces.iter().filter_map(|one| device(one, &interfaces, &wishes).ok()).collect();
    ensure!(!devices.is_empty(), "there is no interface to attach to in this network namespace");
    let mut ways =
        HashMap::<_, u32, u32>::try_from(ebpf.map_mut(DEVICES).context("no devices in the object")?)?;
    for device in &devices {
        ways.insert(device.ifindex, device.redirect as u32, 0)?;
    }
    let program: &mut SchedClassifier =
        ebpf.program_mut(PROGRAM).context("no program in the object")?.try_into()?;
    program.load().context("the verifier refuses the reflector")?;
    for device in &devices {
        program
            .attach(&device.name, TcAttachType::Ingress)
            .with_context(|| format!("cannot attach to {}", device.name))?;
    }
    println!("reflecting GETs to port {port} with {bytes} bytes; ends by a signal");
    loop {
        std::thread::park();
    }
}
