//! Packets: when they go out (section 6.8.7), what they say, and their authentication (section 6.7.4).

use heartbeat_fastpath::bfd::authentication::{self, AUTHENTICATED_BYTES, Key, Type};
use heartbeat_fastpath::bfd::{CONTROL_BYTES, Control, State};

use crate::config::Keys;
use crate::session::{Output, Session, US};

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: [u8; AUTHENTICATED_BYTES],
    is_authenticated: bool,
}

impl Packet {
    fn plain(control: &Control) -> Self {
        let mut bytes = [0; AUTHENTICATED_BYTES];
        bytes[..CONTROL_BYTES].copy_from_slice(&control.encode());
        Self { bytes, is_authenticated: false }
    }

    /// Its bytes, the payload of a datagram.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        if self.is_authenticated { &self.bytes } else { &self.bytes[..CONTROL_BYTES] }
    }
}

/// When packets go out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transmission {
    /// When the last one did that was no answer, or when the session began.
    last_ns: u64,
    /// After which part of the interval the next one does, in thousandths.
    share: u64,
    /// There is something new to say.
    pub(crate) announce: bool,
}

/// What is known of the keys, and of both sides' sequence numbers.
#[derive(Debug)]
pub(crate) struct Authentication {
    kind: Type,
    key: Key,
    pub(crate) heard: authentication::Session,
    /// The next packet's (`bfd.XmitAuthSeq`).
    sequence: u32,
    /// What the last packet said.
    said: Option<Control>,
    /// When the other side's sequence number no longer counts (`bfd.AuthSeqKnown`).
    forget_ns: Option<u64>,
}

impl Authentication {
    pub(crate) fn new(keys: &Keys, sequence: u32) -> Self {
        let mut heard = authentication::Session::new(keys.kind, keys.key);
        heard.set_keys(keys.key, keys.other);
        Self { kind: keys.kind, key: keys.key, heard, sequence, said: None, forget_ns: None }
    }

    pub(crate) fn set_keys(&mut self, keys: &Keys) -> bool {
        if keys.kind != self.kind {
            return false;
        }
        self.key = keys.key;
        self.heard.set_keys(keys.key, keys.other)
    }

    /// A packet was taken, and the next one comes within `detection_ns`.
    pub(crate) fn keep(&mut self, now_ns: u64, detection_ns: u64) {
        self.forget_ns = Some(now_ns + 2 * detection_ns);
    }

    pub(crate) fn forget_ns(&self) -> Option<u64> {
        self.forget_ns
    }

    pub(crate) fn expire(&mut self, now_ns: u64) {
        if self.forget_ns.is_some_and(|at_ns| now_ns >= at_ns) {
            self.forget_ns = None;
            self.heard.forget_sequence();
        }
    }

    fn encode(&mut self, control: &Control) -> Packet {
        let said = Some(Control { poll: false, is_final: false, ..*control });
        if self.kind == Type::Meticulous || self.said != said {
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.said = said;
        let bytes = control.encode_authenticated(self.kind, &self.key, self.sequence);
        Packet { bytes, is_authenticated: true }
    }
}

impl Session {
    /// Whether packets may be sent that are no answers (section 6.8.7).
    pub(crate) fn may_send(&self) -> bool {
        let must_wait = self.config.passive && self.remote.discriminator == 0;
        let is_silenced = self.is_asked_for_silence() && !self.parameters.is_asking();
        !must_wait && self.remote.required_min_rx_us != 0 && !is_silenced
    }

    /// Whether the other side is in demand mode (section 6.6): it wants no periodic packets.
    pub(crate) fn is_asked_for_silence(&self) -> bool {
        self.remote.demand && self.state == State::Up && self.remote.state == State::Up
    }

    /// How often packets are sent, in microseconds, before they are spread.
    pub(crate) fn transmit_interval_us(&self) -> u64 {
        u64::from(self.parameters.used.tx_us.max(self.remote.required_min_rx_us))
    }

    /// When the next one is due.
    pub(crate) fn transmit_ns(&self) -> u64 {
        let Transmission { last_ns, share, .. } = self.transmission;
        last_ns + self.transmit_interval_us() * US / 1000 * share
    }

    /// A part of an interval at random, in thousandths: no two systems stay in step, and of one packet more is not missed
    /// than one.
    pub(crate) fn jitter(&mut self) -> u64 {
        let most = if self.config.detect_multiplier.get() == 1 { 900 } else { 1000 };
        750 + self.random.below(most - 750 + 1)
    }

    /// The time to the next packet begins now.
    pub(crate) fn spread(&mut self, now_ns: u64) {
        self.transmission.last_ns = now_ns;
        self.transmission.share = self.jitter();
    }

    pub(crate) fn send_periodic(&mut self) {
        self.send(false);
        self.parameters.sent();
        self.spread(self.now_ns);
    }

    /// Answers a poll, whatever else holds; the time to the next packet goes on.
    pub(crate) fn send_final(&mut self) {
        self.send(true);
    }

    fn send(&mut self, is_final: bool) {
        let control = Control {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: !is_final && self.parameters.is_asking(),
            is_final,
            control_plane_independent: false,
            demand: false,
            detect_multiplier: self.config.detect_multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx_us: self.parameters.told.tx_us,
            required_min_rx_us: self.parameters.told.rx_us,
            required_min_echo_rx_us: self.config.required_min_echo_rx_us,
        };
        self.transmission.announce = false;
        let packet = match &mut self.authentication {
            Some(authentication) => authentication.encode(&control),
            None => Packet::plain(&control),
        };
        self.outputs.push_back(Output::Send(packet));
    }
}
