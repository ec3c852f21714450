//! The kernel path as the agent's tasks share it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use kv_fastpath::abi::map;
use kv_fastpath::handler::State as HandlerState;
use xps_core::abi::Bypass;
use xps_runtime::control::{Control, State};
use xps_runtime::devices::Hooks;
use xps_runtime::ended::{self, client_address, flow_key};
use xps_runtime::flow_table::FlowTable;
use xps_runtime::grace;
use xps_runtime::install::{InstallError, Installed};
use xps_runtime::locals::Locals;
use xps_runtime::own::Own;
use xps_runtime::plan::Skipped;
use xps_runtime::sockets::{self, Socket, SocketState};

use crate::coherence::{Cause, Stranger};
use crate::config::Current;
use crate::entries::store::{Buckets, Entries, SettingsMap, store_commands, store_users};
use crate::server::commands::Commands;
use crate::server::pulse::Pulse;
use crate::server::users::Users;
use crate::shared::{Place, Shared, lock};

/// Handles to an installation.
pub struct Kernel {
    /// The cache in the programs' maps.
    pub shared: Arc<Shared>,
    /// The installation itself: hooks for new interfaces, maps.
    pub hooks: Hooks,
    /// What the programs are told of this host's addresses.
    pub locals: Arc<Locals>,
    /// Whether the server is alive.
    pub pulse: Arc<Pulse>,
    /// Switches and lease.
    pub control: Control,
    /// What the programs count for the agent.
    pub state: State,
    /// The flow table.
    pub flows: Mutex<FlowTable<HandlerState>>,
    /// How the agent itself reaches Redis where its own port is accelerated.
    pub own: Option<Own>,
    around: Mutex<Around>,
}

/// What came by a way around the programs.
#[derive(Debug, Default)]
struct Around {
    /// How much of it there was at the last look ([`xps_core::abi::State::unseen`]).
    seen: u64,
    /// Whose it was, and what showed it; at most [`AROUND_MAX`].
    clients: HashMap<SocketAddr, Bypass>,
}

/// How many clients that come by another way are remembered by name. All are counted.
const AROUND_MAX: usize = 1024;

/// An address as people write it.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Kernel {
    /// Handles to `installed`. The table starts empty; nothing is answered yet.
    ///
    /// # Errors
    /// If the object's maps are not what this agent expects.
    pub fn of(
        installed: Installed,
        config: Arc<Current>,
        skipped: Vec<Skipped>,
    ) -> Result<Arc<Self>, InstallError> {
        let entries = Entries::of(&installed)?;
        let entries_max = installed.shape(map::INDEX)?.entries as usize;
        // SAFETY: the object is built from the same source as this program, so the states are the same type; it consists
        // of integers and arrays of them only.
        let flows = unsafe { installed.flow_table::<HandlerState>()? };
        let own = if config.read().listen.in_place() {
            // SAFETY: likewise.
            Some(unsafe { Own::of::<HandlerState>(&installed)? })
        } else {
            None
        };
        let buckets = Buckets::of(&installed)?;
        let settings = SettingsMap::of(&installed, config.read().miss_sample)?;
        let control = installed.control();
        let secret = control.read().secret;
        let shared = Shared::new(config, secret, buckets, settings, entries, entries_max);
        if grace::can_wait() {
            // Before any program may write to an entry: from now on its bytes are used again only after a wait.
            lock(&shared.cache).table.programs_ended(0);
            shared.refreshes.store(true, Ordering::Release);
        }
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            locals: installed.locals(),
            pulse: Arc::default(),
            control,
            state: installed.state(),
            flows: Mutex::new(flows),
            own,
            around: Mutex::default(),
            hooks: Hooks::of(installed, skipped),
        }))
    }
}

impl Place for Kernel {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn foreign(&self) -> u64 {
        let state = self.state.read();
        let mut around = lock(&self.around);
        // The last one's connection stays in the state for ever: when it is gone another may have its address.
        if around.seen != state.unseen {
            around.seen = state.unseen;
            if let Some(by) = Bypass::of(state.unseen_by)
                && around.clients.len() < AROUND_MAX
            {
                around.clients.insert(client_address(&state.unseen_key), by);
            }
        }
        state.foreign
    }

    fn strangers(&self, port: u16) -> Result<Vec<Stranger>, String> {
        // In the other states the server has closed the connection, or has not accepted it yet: its first payload counts.
        let readable = || -> Result<Vec<Socket>, String> {
            let mut sockets = sockets::of_port(port).map_err(|error| error.to_string())?;
            sockets
                .retain(|socket| matches!(socket.state, SocketState::Established | SocketState::CloseWait));
            Ok(sockets)
        };
        // The sockets first: a connection that is opened in between is in the flow table and not in the list.
        let mut unknown = readable()?;
        let flows: HashSet<_> =
            lock(&self.flows).keys().map_err(|error| error.to_string())?.into_iter().collect();
        let around = {
            let mut around = lock(&self.around);
            let peers: HashSet<_> = unknown.iter().map(|socket| unmapped(socket.remote)).collect();
            around.clients.retain(|peer, _| peers.contains(peer));
            around.clients.clone()
        };
        // One with a flow may have bytes that came around it.
        unknown.retain(|socket| {
            !flows.contains(&flow_key(socket.local, socket.remote))
                || around.contains_key(&unmapped(socket.remote))
        });
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        // One that ended in between is in the list and not in the table any more.
        let still: HashSet<_> =
            readable()?.iter().map(|socket| flow_key(socket.local, socket.remote)).collect();
        unknown.retain(|socket| still.contains(&flow_key(socket.local, socket.remote)));
        let stranger = |socket: Socket| Stranger {
            peer: socket.remote,
            by: around.get(&unmapped(socket.remote)).copied(),
        };
        Ok(unknown.into_iter().map(stranger).collect())
    }

    fn reset_strangers(&self) -> usize {
        let config = self.shared.config.read();
        let ports = [config.listen.accelerated_port, config.redis.address.port()];
        ended::reset(&lock(&self.flows), &ports, |flow| flow.handler.connection.is_stranger())
    }

    fn causes(&self) -> Vec<Cause> {
        let skipped = lock(&self.hooks.skipped);
        let blind = skipped.iter().filter(|skipped| skipped.blind);
        let interfaces =
            blind.map(|skipped| Cause::Interface(skipped.name.clone(), skipped.cause.to_string()));
        let addresses = self.locals.unseen();
        interfaces.chain(addresses.iter().map(|one| Cause::Address(one.to_string()))).collect()
    }

    fn store_commands(&self, commands: &Commands) -> Result<(), InstallError> {
        lock(&self.hooks.installed).as_ref().map_or(Ok(()), |installed| store_commands(installed, commands))
    }

    fn store_users(&self, users: &Users) -> Result<(), InstallError> {
        let numbers = users.numbers(self.shared.secret);
        lock(&self.hooks.installed).as_ref().map_or(Ok(()), |installed| store_users(installed, &numbers))
    }
}
