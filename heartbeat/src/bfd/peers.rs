//! All sessions: whose a packet is, sockets that are missing, what was configured anew.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZeroU32;

use heartbeat_bfd::session::Session;
use heartbeat_fastpath::bfd::Unverified;
use nix::net::if_::if_nametoindex;
use tokio::sync::broadcast;
use xps_runtime::random;

use super::echo::EchoSocket;
use super::peer::Peer;
use super::receiver::{Arrival, Receiver};
use super::sender::Sender;
use super::settings::{SessionKey, SessionSettings};
use super::view::{SessionChange, SessionView, dropped};

/// All sessions and the sockets on which their packets arrive.
pub(super) struct Peers {
    pub(super) all: Vec<Peer>,
    pub(super) receivers: Vec<Receiver>,
    /// Places by this side's discriminator.
    places: HashMap<u32, usize>,
    /// Packets that are no session's, by reason.
    unclaimed: BTreeMap<&'static str, u64>,
    held_down: Vec<SessionKey>,
    changes: broadcast::Sender<SessionChange>,
}

impl Peers {
    pub(super) fn new(changes: broadcast::Sender<SessionChange>) -> Self {
        Self {
            all: Vec::new(),
            receivers: Vec::new(),
            places: HashMap::new(),
            unclaimed: BTreeMap::new(),
            held_down: Vec::new(),
            changes,
        }
    }

    /// These are the sessions from now on. One that was there goes on; one that is no longer wanted says so, so that the
    /// other side does not take it for failed. On an error those before go on.
    pub(super) fn configure(&mut self, now_ns: u64, settings: Vec<SessionSettings>) -> io::Result<()> {
        self.open_receivers(&settings)?;
        // All that may fail comes before anything changes.
        let mut begun = Vec::new();
        for settings in &settings {
            settings.config.check().map_err(io::Error::other)?;
            if !self.all.iter().any(|peer| peer.goes_on_as(settings)) {
                begun.push(self.begin(now_ns, settings.clone(), &begun)?);
            }
        }
        let mut before = std::mem::take(&mut self.all);
        before.append(&mut begun);
        for settings in settings {
            let Some(place) = before.iter().position(|peer| peer.goes_on_as(&settings)) else { continue };
            let mut peer = before.swap_remove(place);
            peer.adopt(now_ns, settings);
            peer.session.hold_down(now_ns, self.held_down.contains(&peer.settings.key));
            self.all.push(peer);
        }
        for mut peer in before {
            peer.session.hold_down(now_ns, true);
            peer.act(&self.changes);
        }
        let discriminators = self.all.iter().map(|peer| peer.session.discriminator().get());
        self.places = discriminators.zip(0..).collect();
        self.receivers.retain(|receiver| {
            let mut keys = self.all.iter().map(|peer| &peer.settings.key);
            keys.any(|key| (receiver.port, receiver.is_v4) == (key.port(), key.peer.is_ipv4()))
        });
        self.open_missing();
        Ok(())
    }

    fn begin(&self, now_ns: u64, settings: SessionSettings, begun: &[Peer]) -> io::Result<Peer> {
        // 32 bits at random, another one than all others of this host (RFC 5880 section 6.3).
        let discriminator = loop {
            let number = NonZeroU32::new(u32::from_ne_bytes(random::bytes()?));
            let taken = |number: &NonZeroU32| {
                self.all.iter().chain(begun).any(|peer| peer.session.discriminator() == *number)
            };
            if let Some(number) = number.filter(|number| !taken(number)) {
                break number;
            }
        };
        let seed = u64::from_ne_bytes(random::bytes()?);
        let session = Session::new(settings.config, settings.keys.as_ref(), discriminator, seed, now_ns);
        Ok(Peer::new(settings, session.map_err(io::Error::other)?))
    }

    fn open_receivers(&mut self, settings: &[SessionSettings]) -> io::Result<()> {
        for SessionSettings { key, .. } in settings {
            let (port, is_v4) = (key.port(), key.peer.is_ipv4());
            if !self.receivers.iter().any(|receiver| (receiver.port, receiver.is_v4) == (port, is_v4)) {
                self.receivers.push(Receiver::open(port, is_v4, key.multihop).map_err(|source| {
                    let kind = if is_v4 { "IPv4" } else { "IPv6" };
                    io::Error::new(source.kind(), format!("UDP port {port} over {kind}: {source}"))
                })?);
            }
        }
        Ok(())
    }

    /// Opens sockets that are missing, as those on interfaces that were not there. Called again and again.
    pub(super) fn open_missing(&mut self) {
        for i in 0..self.all.len() {
            let device =
                self.all[i].settings.key.interface.as_ref().map(|name| if_nametoindex(name.as_str()));
            let peer = &mut self.all[i];
            peer.device = device.and_then(Result::ok);
            if peer.settings.key.interface.is_some() && peer.device.is_none() {
                (peer.sender, peer.echo) = (None, None);
                peer.trouble = Some("the interface is not there".to_owned());
                continue;
            }
            if peer.sender.as_ref().is_none_or(|sender| sender.device != peer.device) {
                self.open_sender(i);
            }
            self.all[i].open_echo();
        }
    }

    fn open_sender(&mut self, place: usize) {
        let peer = &self.all[place];
        let taken = |port| {
            self.all.iter().any(|peer| peer.sender.as_ref().is_some_and(|sender| sender.port() == port))
        };
        let opened = Sender::open(&peer.settings.key, peer.device, taken);
        let peer = &mut self.all[place];
        match opened {
            Ok(sender) => {
                peer.sender = Some(sender);
                peer.trouble = None;
            }
            Err(error) => {
                let trouble = format!("no socket to send by: {error}");
                if peer.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(peer = %peer.settings.key.peer, "BFD: {trouble}; trying again");
                }
                peer.trouble = Some(trouble);
            }
        }
    }

    /// Takes all that has arrived.
    pub(super) fn take_arrived(&mut self, now_ns: u64) {
        let Self { all, receivers, places, unclaimed, .. } = self;
        for receiver in receivers {
            if let Err(error) = receiver.drain(|arrival| take(all, places, unclaimed, now_ns, &arrival)) {
                tracing::debug!(%error, port = receiver.port, "a packet cannot be taken");
            }
        }
        for peer in all {
            peer.take_echoes(now_ns);
        }
    }

    /// Does what has become due, and sends what there is to send.
    pub(super) fn tick(&mut self, now_ns: u64) {
        for peer in &mut self.all {
            if peer.session.next_deadline_ns().is_some_and(|at_ns| at_ns <= now_ns) {
                peer.session.tick(now_ns);
            }
            peer.act(&self.changes);
        }
    }

    /// When something becomes due.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.all.iter().filter_map(|peer| peer.session.next_deadline_ns()).min()
    }

    /// Sessions follow the applications of their nodes.
    pub(super) fn follow_leases(&mut self, now_ns: u64, is_alive: &dyn Fn(u32) -> bool) {
        for peer in &mut self.all {
            if let Some(node) = peer.settings.node {
                peer.session.set_path(now_ns, is_alive(node));
            }
        }
    }

    /// Whether any session does.
    pub(super) fn have_leases(&self) -> bool {
        self.all.iter().any(|peer| peer.settings.node.is_some())
    }

    /// The operator's word for all sessions with a system. How many there are.
    pub(super) fn hold_down(&mut self, now_ns: u64, of: std::net::IpAddr, held_down: bool) -> usize {
        let mut held = 0;
        for peer in self.all.iter_mut().filter(|peer| peer.settings.key.peer == of) {
            peer.session.hold_down(now_ns, held_down);
            self.held_down.retain(|key| *key != peer.settings.key);
            if held_down {
                self.held_down.push(peer.settings.key.clone());
            }
            held += 1;
        }
        held
    }

    /// The end: the other sides are told that nothing has failed.
    pub(super) fn end(&mut self, now_ns: u64) {
        for peer in &mut self.all {
            peer.session.hold_down(now_ns, true);
            peer.act(&self.changes);
        }
    }

    pub(super) fn views(&self, now_ns: u64) -> Vec<SessionView> {
        self.all.iter().map(|peer| peer.view(now_ns)).collect()
    }

    pub(super) fn unclaimed(&self) -> BTreeMap<String, u64> {
        self.unclaimed.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }
}

impl Peer {
    /// The socket for echo packets, if they are wanted and there is something to send them by.
    fn open_echo(&mut self) {
        let wanted = self.settings.config.echo_interval_us.and(self.device).zip(self.sender.as_ref());
        let Some((device, sender)) = wanted else {
            self.echo = None;
            return;
        };
        match &mut self.echo {
            Some(echo) if echo.fits(device, sender.local) => echo.look_up(),
            _ => match EchoSocket::open(device, sender.local, self.settings.key.peer) {
                Ok(echo) => self.echo = Some(echo),
                Err(error) => self.trouble = Some(format!("no socket for echo packets (NET_RAW?): {error}")),
            },
        }
    }
}

/// Whose a packet is: by the number that it names, or by its sender (RFC 5880 section 6.3).
fn take(
    all: &mut [Peer],
    places: &HashMap<u32, usize>,
    unclaimed: &mut BTreeMap<&'static str, u64>,
    now_ns: u64,
    arrival: &Arrival<'_>,
) {
    let mut count = |reason| *unclaimed.entry(reason).or_default() += 1;
    let packet = match Unverified::read(arrival.payload) {
        Ok(packet) => packet,
        Err(refusal) => match all.iter_mut().find(|peer| peer.claims(arrival)) {
            Some(peer) => return peer.drop(refusal.label()),
            None => return count(refusal.label()),
        },
    };
    let place = match packet.your_discriminator() {
        0 => all.iter().position(|peer| peer.claims(arrival)),
        yours => places.get(&yours).copied(),
    };
    match place.and_then(|place| all.get_mut(place)) {
        Some(peer) => peer.take(now_ns, arrival, &packet),
        None => count(dropped::UNKNOWN),
    }
}
