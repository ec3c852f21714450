//! The bare reflectors of datagrams, loaded and attached.

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use xps_echo::{DEVICES, PORT, TCX, XDP};
use xps_runtime::interface;
use xps_runtime::plan::{Wishes, device};

/// The kernel programs, as built with this one.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// Both programs, loaded, for a port.
pub(crate) struct Bare(Ebpf);

impl Bare {
    /// Loads them.
    pub(crate) fn load(port: u16) -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("the kernel refuses the reflector (it needs root)")?;
        let map = ebpf.map_mut(PORT).context("no port in the object")?;
        Array::<_, u32>::try_from(map)?.set(0, u32::from(port), 0)?;
        let mut bare = Self(ebpf);
        bare.xdp()?.load().context("the verifier refuses the reflector at XDP")?;
        bare.tcx()?.load().context("the verifier refuses the reflector at tcx")?;
        Ok(bare)
    }

    /// The program at XDP.
    pub(crate) fn xdp(&mut self) -> Result<&mut Xdp> {
        Ok(self.0.program_mut(XDP).context("no program for XDP in the object")?.try_into()?)
    }

    /// The program at tcx.
    pub(crate) fn tcx(&mut self) -> Result<&mut SchedClassifier> {
        Ok(self.0.program_mut(TCX).context("no program for tcx in the object")?.try_into()?)
    }
}

/// Attaches to all interfaces, and stays so.
pub(crate) fn attach(port: u16) -> Result<()> {
    let mut bare = Bare::load(port)?;
    let interfaces = interface::list().context("the interfaces cannot be listed")?;
    let wishes = Wishes::default();
    let devices: Vec<_> =
        interfaces.iter().filter_map(|one| device(one, &interfaces, &wishes).ok()).collect();
    ensure!(!devices.is_empty(), "there is no interface to attach to in this network namespace");
    let mut ways =
        HashMap::<_, u32, u32>::try_from(bare.0.map_mut(DEVICES).context("no devices in the object")?)?;
    for device in &devices {
        ways.insert(device.ifindex, device.redirect as u32, 0)?;
    }
    for device in &devices {
        bare.tcx()?
            .attach(&device.name, TcAttachType::Ingress)
            .with_context(|| format!("cannot attach to {}", device.name))?;
    }
    println!("sending back datagrams to port {port}; ends by a signal");
    loop {
        std::thread::park();
    }
}
