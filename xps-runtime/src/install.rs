//! The plan made real: maps, programs and links, all of them or none.
//!
//! Maps and links are pinned below `<pin directory>/net-<n>`, where `n` is the number of the network namespace, so that
//! sidecars in several namespaces may share a BPF file system. They stay when the agent is killed; the programs go on
//! translating, and the next agent takes over: it keeps the maps, loads its own programs, and puts them into the pinned
//! links one by one, each at once for all packets. An orderly stop removes everything ([`Installed::detach`]).
//!
//! An installation starts with nothing accepted and nothing answered; the service switches both on when its tables are
//! ready ([`Control`]).

pub(crate) mod arrival;
mod error;
pub(crate) mod links;
pub(crate) mod load;
mod maps;
mod stages;

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use xps_core::abi::{self, map, program};
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;

use crate::call::Call;
use crate::control::{Control, State};
use crate::devices::Follows;
use crate::flow_table::FlowTable;
use crate::hook::{Hook, Place};
use crate::locals::Locals;
use crate::mapping::Mapping;
use crate::pins::{Layout, Pins, Runs, Shape};
use crate::plan::{DevicePlan, Plan};
use crate::table;
use crate::xdp::Without;

pub use error::InstallError;
use links::{drop_others, hook_all, link, link_namespace};
use load::{Loaded, load_called, load_maps, load_program};
pub use maps::Maps;

/// What a service brings.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// The object file with the programs and maps that [`xps_core::abi`] names.
    pub object: &'a [u8],
    /// Where to pin; on a BPF file system, no dots in its names. Created if missing.
    pub pin_directory: PathBuf,
    /// Maps whose number of entries the configuration decides.
    pub map_entries: Vec<(&'a str, u32)>,
    /// Maps that each agent starts anew instead of taking them over; `EVENTS` and `SCRATCH` always are.
    pub fresh_maps: Vec<&'a str>,
    /// Which packets the service looks at, at most 15. Index 0 of the table, "not ours", is put before them.
    pub predicates: Vec<Predicate>,
    /// Addresses of this host at which connections to the accelerated port are taken; empty for all.
    pub addresses: Vec<IpAddr>,
    /// Flows at which new connections are left to the user path.
    pub flows_max: u32,
    /// Longest reply, in bytes.
    pub reply_bytes_max: u32,
    /// The program that looks at packets on their arrival, at XDP, if there is one. What it does must be done by the others
    /// as well: it is only where it can be.
    pub xdp: Option<&'static str>,
}

impl Service<'_> {
    /// What of its maps is taken over: not records that nobody read, and not working memory.
    fn layout(&self) -> Layout<'_> {
        Layout {
            fresh: [map::EVENTS, map::SCRATCH, map::STAGES, map::OWN]
                .into_iter()
                .chain(self.fresh_maps.iter().copied())
                .collect(),
            version: (map::CONTROL, offset_of!(abi::Control, version)),
            version_known: abi::VERSION,
            connections: Some(map::STATE),
        }
    }
}

/// The hooks of one interface.
#[derive(Debug)]
struct Device {
    name: String,
    ingress: Hook,
    egress: Hook,
    arrival: Result<Hook, Without>,
}

/// An installation. Dropping it leaves everything in place for the next agent; see [`Installed::detach`].
#[derive(Debug)]
pub struct Installed {
    pins: Pins,
    maps: Maps,
    /// The program that is attached at ingress, and those that go on from it.
    ingress: Vec<Loaded>,
    egress: Loaded,
    listen: Loaded,
    /// At the namespace, once that is attached.
    listens: Option<Hook>,
    /// Programs for the agent to run.
    called: BTreeMap<String, OwnedFd>,
    arrival: Result<Loaded, Without>,
    devices: BTreeMap<u32, Device>,
    locals: Arc<Locals>,
    control: Control,
    state: State,
    taken_over: bool,
}

impl Installed {
    /// Installs, or takes over what an agent that was killed has left. All interfaces of the plan or none: on failure
    /// everything that was made is removed; links that were taken over stay, since connections live by them.
    ///
    /// # Errors
    /// What failed and what to do about it.
    pub fn install(plan: &Plan, service: &Service<'_>) -> Result<Self, InstallError> {
        Self::install_with(plan, service, |_| Ok(()))
    }

    /// Likewise; `prepare` fills maps of the service before its programs see a packet.
    ///
    /// # Errors
    /// What failed and what to do about it, also in `prepare`.
    pub fn install_with(
        plan: &Plan,
        service: &Service<'_>,
        prepare: impl FnOnce(&Self) -> Result<(), InstallError>,
    ) -> Result<Self, InstallError> {
        let pins = Pins::open(&service.pin_directory)?;
        let shapes = Shape::of_object(service.object)?;
        let taken_over = pins.settle(&shapes, &service.layout())?;
        let mut installed = Self::load(pins, &shapes, service, taken_over)?;
        match prepare(&installed).and_then(|()| installed.start(plan, service)) {
            Ok(()) => Ok(installed),
            Err(error) => {
                if !taken_over {
                    // Whatever this says, the cause is the first error.
                    let _ = installed.detach();
                }
                Err(error)
            }
        }
    }

    fn load(
        pins: Pins,
        shapes: &[Shape],
        service: &Service<'_>,
        taken_over: bool,
    ) -> Result<Self, InstallError> {
        let parts = (|| {
            let layout = service.layout();
            let mut ebpf = load_maps(&pins, shapes, &layout, service.object, &service.map_entries)?;
            let ingress = stages::load(&mut ebpf)?;
            let egress = load_program(&mut ebpf, program::EGRESS)?;
            let listen = load_program(&mut ebpf, program::LISTEN)?;
            let loaded: Vec<_> = ingress.iter().chain([&egress]).collect();
            let called = load_called(&mut ebpf, &loaded)?;
            let arrival = arrival::load(&mut ebpf, service.xdp);
            let maps = Maps::of(&ebpf)?;
            let control = Control::new(maps.mapping(map::CONTROL)?);
            let state = State::new(maps.mapping(map::STATE)?);
            let locals = Arc::new(Locals::of(maps.open(map::LOCALS)?, service.addresses.clone())?);
            Ok((ingress, egress, listen, called, arrival, locals, control, state, maps))
        })();
        match parts {
            Ok((ingress, egress, listen, called, arrival, locals, control, state, maps)) => Ok(Self {
                pins,
                maps,
                ingress,
                egress,
                listen,
                listens: None,
                called,
                arrival,
                devices: BTreeMap::new(),
                locals,
                control,
                state,
                taken_over,
            }),
            Err(error) => {
                if !taken_over {
                    pins.clear();
                }
                Err(error)
            }
        }
    }

    /// Fills the tables and attaches.
    fn start(&mut self, plan: &Plan, service: &Service<'_>) -> Result<(), InstallError> {
        let before = if self.taken_over { self.control.read() } else { abi::Control::default() };
        let flows_max = self.shape(map::FLOWS)?.entries.min(service.flows_max);
        if flows_max < service.flows_max {
            tracing::warn!(flows_max, "the flow table that was taken over is smaller than configured");
        }
        self.control.write(&abi::Control {
            version: abi::VERSION,
            accept: 0,
            answer: 0,
            flows_max,
            lease_deadline_ns: 0,
            // Marks and flows in the maps were placed with the secret: it stays as long as they do.
            secret: if self.taken_over { before.secret } else { [random()?, random()?] },
            internal_mark: if self.taken_over { before.internal_mark } else { random()? as u32 | 1 },
            reply_bytes_max: service.reply_bytes_max,
        });
        table::fill_predicates(&self.map(map::PORTS)?, self.map(map::PREDICATES)?, &service.predicates)?;
        self.locals.fill()?;
        // First: without it a connection that the ingress program gives to the server would be the user path's.
        let attach = |source| InstallError::Attach { device: "the network namespace".into(), source };
        self.listens = Some(link_namespace(&self.listen.fd, self.pins.directory()).map_err(attach)?);
        let pinned = stages::pin(&self.pins, &self.maps)?;
        hook_all(self, plan)?;
        drop_others(self.pins.directory(), &self.maps, plan)?;
        stages::drop_others(&self.pins, &pinned);
        Ok(())
    }

    /// Indexes and names of the hooked interfaces.
    pub fn devices(&self) -> impl Iterator<Item = (u32, &str)> {
        self.devices.iter().map(|(&ifindex, device)| (ifindex, device.name.as_str()))
    }

    /// What the programs are told of this host's addresses.
    #[must_use]
    pub fn locals(&self) -> Arc<Locals> {
        Arc::clone(&self.locals)
    }

    /// Names of the hooked interfaces, each with the reason why its packets are not looked at on their arrival, if they are
    /// not.
    pub fn arrivals(&self) -> impl Iterator<Item = (&str, Option<&Without>)> {
        self.devices.values().map(|device| (device.name.as_str(), device.arrival.as_ref().err()))
    }

    /// Whether maps and links of an earlier agent were taken over.
    #[must_use]
    pub const fn taken_over(&self) -> bool {
        self.taken_over
    }

    /// The directory with the pins, for status and messages.
    #[must_use]
    pub fn pin_directory(&self) -> &Path {
        self.pins.directory()
    }

    /// A new handle to a map, owned by the caller; typed maps of `aya` are made from it by `try_into`.
    ///
    /// # Errors
    /// If there is no such map.
    pub fn map(&self, name: &str) -> Result<Map, InstallError> {
        self.maps.open(name)
    }

    /// An array map as memory.
    ///
    /// # Errors
    /// If there is no such map, or it was not created as mappable.
    pub fn mapping(&self, name: &str) -> Result<Mapping, InstallError> {
        self.maps.mapping(name)
    }

    /// Type and sizes of a map, as the kernel has it.
    ///
    /// # Errors
    /// If there is no such map.
    pub fn shape(&self, name: &str) -> Result<Shape, InstallError> {
        self.maps.shape(name)
    }

    /// A handle to a program that the agent runs itself: one of the object's beside those that are attached.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn call(&self, name: &str) -> Result<Call, InstallError> {
        let fd = self.called.get(name).ok_or_else(|| InstallError::Object(format!("no program {name}")))?;
        let fd = fd.try_clone();
        fd.map(Call::new).map_err(|source| InstallError::System { what: "cannot open a program", source })
    }

    /// Handle to the switches and the lease.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Vouches for the tables for `duration` from now on (S12).
    pub fn renew_lease(&self, duration: Duration) {
        self.control.renew_lease(duration, u64::MAX);
    }

    /// Whether new connections are taken.
    pub fn set_accept(&self, accept: bool) {
        self.control.set_accept(accept);
    }

    /// Whether handlers answer.
    pub fn set_answer(&self, answer: bool) {
        self.control.set_answer(answer);
    }

    /// Handle to what the programs count in `STATE`.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.clone()
    }

    /// Handle to the counters by reason; reading them needs no lock on this object.
    ///
    /// # Errors
    /// If the map is not an array of words.
    pub fn stats(&self) -> Result<Stats, InstallError> {
        let map = PerCpuArray::try_from(self.map(map::STATS)?)
            .map_err(|source| InstallError::Map { name: map::STATS.into(), source })?;
        Ok(Stats { map })
    }

    /// The flow table, for a handler whose state is `S`.
    ///
    /// # Safety
    /// `S` must be the handler's state type in the object, and every bit pattern of its size a valid `S`.
    ///
    /// # Errors
    /// If the map's sizes are not those of `Flow<S>`.
    pub unsafe fn flow_table<S: Copy + 'static>(&self) -> Result<FlowTable<S>, InstallError> {
        let map = self.map(map::FLOWS)?;
        // SAFETY: the caller vouches for `S`.
        let table = unsafe { FlowTable::of(map, self.state.clone()) };
        table.map_err(|source| InstallError::Map { name: map::FLOWS.into(), source })
    }

    /// Instructions that the verifier went through, by program. 0 where the kernel does not say.
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(&'static str, u32)> {
        let programs = self.attached().chain(&self.ingress[1..]);
        programs.map(|program| (program.name, program.verified)).collect()
    }

    /// How often and for how long the programs ran, where the kernel counts that (`kernel.bpf_stats_enabled`); else zeros. The
    /// time of programs that go on from another one by a tail call is the first one's.
    #[must_use]
    pub fn runs(&self) -> Vec<(&'static str, Runs)> {
        self.attached().map(|program| (program.name, program.runs())).collect()
    }

    fn attached(&self) -> impl Iterator<Item = &Loaded> {
        [&self.ingress[0], &self.egress, &self.listen].into_iter().chain(&self.arrival)
    }

    /// Memory that each map takes now, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> BTreeMap<String, u64> {
        self.maps.memory_bytes()
    }

    /// Takes everything out of the stack: the end of an orderly stop, when no flow has an offset left. Ingress first, so
    /// no reply is made whose end nobody sees.
    ///
    /// # Errors
    /// The first failure; the rest is removed nevertheless.
    pub fn detach(mut self) -> Result<(), InstallError> {
        self.set_accept(false);
        self.set_answer(false);
        self.control.end_lease();
        let mut result = Ok(());
        let mut egress = Vec::new();
        for (_, device) in std::mem::take(&mut self.devices) {
            let Device { name, ingress, egress: hook, arrival } = device;
            egress.push((name.clone(), hook));
            let arrival = arrival.map_or(Ok(()), Hook::remove);
            if let Err(source) = arrival.and(ingress.remove()) {
                result = result.and(Err(InstallError::Attach { device: name, source }));
            }
        }
        if let Some(hook) = self.listens.take() {
            egress.push(("the network namespace".into(), hook));
        }
        for (device, hook) in egress {
            if let Err(source) = hook.remove() {
                result = result.and(Err(InstallError::Attach { device, source }));
            }
        }
        self.pins.clear();
        result
    }
}

impl Follows for Installed {
    fn hook(&mut self, device: &DevicePlan) -> Result<bool, InstallError> {
        table::set_device(self.map(map::DEVICES)?, device)?;
        if self.devices.contains_key(&device.ifindex) {
            return Ok(false);
        }
        let attach = |source| InstallError::Attach { device: device.name.clone(), source };
        let pins = self.pins.directory();
        // Egress first: between the two, replies of the server are seen before requests, which is harmless.
        let (egress, new_egress) =
            link(&self.egress.fd, device.ifindex, Place::Egress, pins).map_err(attach)?;
        let (ingress, new_ingress) = match link(&self.ingress[0].fd, device.ifindex, Place::Ingress, pins) {
            Ok(hook) => hook,
            Err(error) => {
                if new_egress {
                    let _ = egress.remove();
                }
                return Err(attach(error));
            }
        };
        let arrival = arrival::hook(&self.arrival, device, pins);
        self.devices.insert(device.ifindex, Device { name: device.name.clone(), ingress, egress, arrival });
        Ok(new_egress || new_ingress)
    }

    fn unhook(&mut self, ifindex: u32) -> Result<bool, InstallError> {
        let Some(device) = self.devices.remove(&ifindex) else { return Ok(false) };
        let attach = |source| InstallError::Attach { device: device.name, source };
        let arrival = device.arrival.map_or(Ok(()), Hook::remove);
        let ingress = device.ingress.remove();
        let egress = device.egress.remove();
        table::remove_device(self.map(map::DEVICES)?, ifindex)?;
        arrival.and(ingress).and(egress).map_err(attach)?;
        Ok(true)
    }
}

/// Handle to the counters by reason.
pub struct Stats {
    map: PerCpuArray<MapData, u64>,
}

impl Stats {
    /// The counters, summed over the CPUs, in the order of [`Reason::ALL`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<[u64; Reason::COUNT], MapError> {
        let mut sums = [0; Reason::COUNT];
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum = self.map.get(&(index as u32), 0)?.iter().sum();
        }
        Ok(sums)
    }
}

fn random() -> Result<u64, InstallError> {
    let word = crate::random::bytes().map(u64::from_ne_bytes);
    word.map_err(|source| InstallError::System { what: "no random numbers", source })
}
