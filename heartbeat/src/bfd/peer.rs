//! One session with its sockets.

use std::collections::BTreeMap;

use heartbeat_bfd::session::{Output, Refused, Session};
use heartbeat_fastpath::bfd::{State, Unverified};
use tokio::sync::broadcast;

use super::echo::EchoSocket;
use super::receiver::Arrival;
use super::sender::Sender;
use super::settings::SessionSettings;
use super::view::{SessionChange, SessionView, dropped, reason};

/// One session.
pub(super) struct Peer {
    pub(super) settings: SessionSettings,
    pub(super) session: Session,
    pub(super) sender: Option<Sender>,
    pub(super) echo: Option<EchoSocket>,
    /// Index of the interface, if one is named and there.
    pub(super) device: Option<u32>,
    pub(super) trouble: Option<String>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    ups: u64,
    downs: u64,
    packets_out: u64,
    packets_in: u64,
    echoes_out: u64,
    echoes_in: u64,
    dropped: BTreeMap<&'static str, u64>,
}

impl Peer {
    pub(super) fn new(settings: SessionSettings, session: Session) -> Self {
        Self {
            settings,
            session,
            sender: None,
            echo: None,
            device: None,
            trouble: None,
            counts: Counts::default(),
        }
    }

    /// Whether the packet can be this session's by how it came: its sender, its way, and how far.
    pub(super) fn claims(&self, arrival: &Arrival<'_>) -> bool {
        let key = &self.settings.key;
        key.multihop == arrival.multihop && key.peer == arrival.from && self.is_here(arrival)
    }

    fn is_here(&self, arrival: &Arrival<'_>) -> bool {
        let key = &self.settings.key;
        key.local.is_none_or(|local| local == arrival.to)
            && (key.interface.is_none() || self.device == Some(arrival.device))
    }

    /// Takes a packet that names this session, or whose sender is its other side.
    pub(super) fn take(&mut self, now_ns: u64, arrival: &Arrival<'_>, packet: &Unverified<'_>) {
        let least = if arrival.multihop { self.settings.min_ttl } else { 255 };
        let reason = if arrival.hop_limit < least {
            Some(dropped::HOP_LIMIT)
        } else if !self.claims(arrival) {
            Some(dropped::ELSEWHERE)
        } else {
            match self.session.handle(now_ns, packet) {
                Ok(()) => None,
                Err(Refused::OtherSession) => Some(dropped::UNKNOWN),
                Err(Refused::Packet(refusal)) => Some(refusal.label()),
            }
        };
        match reason {
            None => self.counts.packets_in += 1,
            Some(reason) => self.drop(reason),
        }
    }

    /// Counts a packet of this session that cannot be read.
    pub(super) fn drop(&mut self, reason: &'static str) {
        *self.counts.dropped.entry(reason).or_default() += 1;
    }

    /// Takes what has come back of its echo packets.
    pub(super) fn take_echoes(&mut self, now_ns: u64) {
        let Some(echo) = &self.echo else { return };
        let (session, counts) = (&mut self.session, &mut self.counts);
        let taken = echo.drain(|payload| counts.echoes_in += u64::from(session.handle_echo(now_ns, payload)));
        if let Err(error) = taken {
            // As when the interface goes down. It is opened again when there is one.
            self.echo = None;
            self.trouble = Some(format!("echo packets cannot be taken: {error}"));
        }
    }

    /// Whether it is the same session as one that is configured so.
    pub(super) fn goes_on_as(&self, settings: &SessionSettings) -> bool {
        let kind = |settings: &SessionSettings| settings.keys.map(|keys| keys.kind);
        self.settings.key == settings.key && kind(&self.settings) == kind(settings)
    }

    /// Goes on with these settings, which were checked.
    pub(super) fn adopt(&mut self, now_ns: u64, settings: SessionSettings) {
        // Nothing in it can be wrong any more.
        let _ = self.session.reconfigure(now_ns, settings.config);
        if let Some(keys) = &settings.keys {
            self.session.set_keys(keys);
        }
        if settings.node.is_none() {
            self.session.set_path(now_ns, true);
        }
        self.settings = settings;
    }

    /// Does what the session wants done.
    pub(super) fn act(&mut self, changes: &broadcast::Sender<SessionChange>) {
        let peer = self.settings.key.peer;
        for output in self.session.outputs() {
            match output {
                Output::Send(packet) => {
                    let sent = self.sender.as_ref().map(|sender| sender.send(packet.as_bytes()));
                    match sent {
                        Some(Ok(())) => {
                            self.counts.packets_out += 1;
                            self.trouble = None;
                        }
                        // What does not leave is as good as lost; the other side will notice.
                        Some(Err(error)) => self.trouble = Some(format!("cannot send: {error}")),
                        None => {}
                    }
                }
                Output::Echo(payload) => match self.echo.as_mut().map(|echo| echo.send(&payload)) {
                    Some(Ok(())) => self.counts.echoes_out += 1,
                    Some(Err(error)) => self.trouble = Some(format!("cannot send echo packets: {error}")),
                    None => {}
                },
                Output::Changed(change) => {
                    let why = reason(change.diagnostic);
                    let told = SessionChange {
                        peer,
                        from: change.from.into(),
                        to: change.to.into(),
                        diagnostic: why.to_owned(),
                    };
                    self.counts.ups += u64::from(change.to == State::Up);
                    self.counts.downs += u64::from(change.from == State::Up);
                    // Nobody may be listening.
                    let _ = changes.send(told);
                }
            }
        }
    }

    /// The session as it is told.
    pub(super) fn view(&self, now_ns: u64) -> SessionView {
        let view = self.session.view();
        let (key, counts) = (&self.settings.key, &self.counts);
        let us = |ns: u64| ns / 1000;
        SessionView {
            peer: key.peer,
            local: self.sender.as_ref().map(|sender| sender.local),
            interface: key.interface.clone(),
            multihop: key.multihop,
            state: view.state.into(),
            diagnostic: reason(view.diagnostic).to_owned(),
            remote_state: view.remote.state.into(),
            remote_diagnostic: reason(view.remote.diagnostic).to_owned(),
            discriminator: self.session.discriminator().get(),
            remote_discriminator: view.remote.discriminator,
            transmit_interval_us: us(view.transmit_interval_ns),
            receive_interval_us: us(view.receive_interval_ns),
            detection_us: us(view.detection_ns),
            echo_interval_us: view.echo_interval_ns.map(us),
            echo_round_trip_us: view.echo_round_trip_ns.map(us),
            up_for_us: (view.state == State::Up).then(|| us(now_ns.saturating_sub(view.since_ns))),
            ups: counts.ups,
            downs: counts.downs,
            packets_out: counts.packets_out,
            packets_in: counts.packets_in,
            echoes_out: counts.echoes_out,
            echoes_in: counts.echoes_in,
            dropped: counts.dropped.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            trouble: self.trouble.clone(),
        }
    }
}
