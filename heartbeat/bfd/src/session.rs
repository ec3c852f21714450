//! A session: its state, what goes in and what comes out.

use alloc::collections::VecDeque;
use core::num::NonZeroU32;

use heartbeat_fastpath::bfd::{Diagnostic, Refusal, State};

use crate::config::{Config, ConfigError, Keys};
use crate::echo::{ECHO_BYTES, Echo};
#[cfg(feature = "mistakes")]
use crate::mistake::Mistake;
use crate::poll::Parameters;
use crate::random::Random;
use crate::send::{Authentication, Packet, Transmission};

pub(crate) const US: u64 = 1_000;

/// What a session wants done, or makes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this control packet.
    Send(Packet),
    /// Send this as an echo packet.
    Echo([u8; ECHO_BYTES]),
    /// The session has another state.
    Changed(Change),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub diagnostic: Diagnostic,
}

/// Why a packet was not taken. Then nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It names another session than this one (section 6.8.6).
    OtherSession,
    /// Its authentication is not the session's.
    Packet(Refusal),
}

/// What is known of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its number of the session (`bfd.RemoteDiscr`); 0: unknown.
    pub discriminator: u32,
    /// Its state, as far as it is known (`bfd.RemoteSessionState`).
    pub state: State,
    /// Why it last changed its state.
    pub diagnostic: Diagnostic,
    /// It wishes not to be sent periodic packets (`bfd.RemoteDemandMode`).
    pub demand: bool,
    /// Its multiplier; 0: unknown.
    pub detect_multiplier: u8,
    /// The least interval at which it would like to send, in microseconds.
    pub desired_min_tx_us: u32,
    /// The least interval at which it can receive, in microseconds (`bfd.RemoteMinRxInterval`).
    pub required_min_rx_us: u32,
    /// The least interval at which it sends echo packets back, in microseconds; 0: it does not.
    pub required_min_echo_rx_us: u32,
}

impl Remote {
    /// Nothing is known (section 6.8.1).
    pub(crate) const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        demand: false,
        detect_multiplier: 0,
        desired_min_tx_us: 0,
        required_min_rx_us: 1,
        required_min_echo_rx_us: 0,
    };
}

/// A session as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its state.
    pub state: State,
    /// Why it last changed its state.
    pub diagnostic: Diagnostic,
    /// Since when it has this state.
    pub since_ns: u64,
    /// The other side.
    pub remote: Remote,
    /// How often control packets are sent, before they are spread by chance.
    pub transmit_interval_ns: u64,
    /// How often the other side sends them, likewise.
    pub receive_interval_ns: u64,
    /// For how long nothing may be heard; 0: nothing is expected.
    pub detection_ns: u64,
    /// How often echo packets are sent, if they are.
    pub echo_interval_ns: Option<u64>,
    /// How long they take, once one has come back.
    pub echo_round_trip_ns: Option<u64>,
    /// Whether the other side is being asked whether it knows of changed intervals.
    pub polling: bool,
}

/// Watches the path to another system.
///
/// Times are those of a clock that does not go back. After each call the outputs are to be drained, and [`Self::tick`] is to
/// be called when [`Self::next_deadline_ns`] has come, but not before what has arrived was handed over: whoever was late
/// himself must not take the other side for failed.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    pub(crate) discriminator: NonZeroU32,
    pub(crate) random: Random,
    pub(crate) now_ns: u64,
    pub(crate) state: State,
    pub(crate) diagnostic: Diagnostic,
    since_ns: u64,
    /// The operator holds the session down.
    held_down: bool,
    /// What lies behind this system has failed.
    pub(crate) path_down: bool,
    pub(crate) remote: Remote,
    /// When a packet was last taken; `None` when that is longer ago than the detection time.
    pub(crate) heard_ns: Option<u64>,
    pub(crate) parameters: Parameters,
    pub(crate) transmission: Transmission,
    pub(crate) echo: Echo,
    pub(crate) authentication: Option<Authentication>,
    pub(crate) outputs: VecDeque<Output>,
    #[cfg(feature = "mistakes")]
    pub(crate) mistake: Option<Mistake>,
}

impl Session {
    /// A session that has heard nothing. The discriminator must be no other session's of this system, and one that nobody
    /// can guess (section 6.3); the seed decides all that is random.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(
        config: Config,
        keys: Option<&Keys>,
        discriminator: NonZeroU32,
        seed: u64,
        now_ns: u64,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed);
        let authentication = keys.map(|keys| Authentication::new(keys, random.below(1 << 32) as u32));
        let mut session = Self {
            config,
            discriminator,
            now_ns,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            since_ns: now_ns,
            held_down: false,
            path_down: false,
            remote: Remote::UNKNOWN,
            heard_ns: None,
            parameters: Parameters::new(config.desired_min_tx_us, config.required_min_rx_us),
            transmission: Transmission::default(),
            echo: Echo::default(),
            authentication,
            random,
            outputs: VecDeque::new(),
            #[cfg(feature = "mistakes")]
            mistake: None,
        };
        session.spread(now_ns);
        Ok(session)
    }

    /// What is to be done since this was last asked, in order.
    pub fn outputs(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.outputs.drain(..)
    }

    /// The session's number (`bfd.LocalDiscr`).
    #[must_use]
    pub fn discriminator(&self) -> NonZeroU32 {
        self.discriminator
    }

    /// The operator holds the session down, or no longer does (section 6.8.16). The other side then knows that nothing has
    /// failed.
    pub fn hold_down(&mut self, now_ns: u64, held_down: bool) {
        self.arrive(now_ns);
        if self.held_down == held_down {
            return;
        }
        self.held_down = held_down;
        if held_down {
            self.change(State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN);
        } else if self.path_down {
            self.change(State::Down, Diagnostic::CONCATENATED_PATH_DOWN);
        } else {
            self.change(State::Down, Diagnostic::NONE);
        }
        self.settle();
    }

    /// What lies behind this system and makes it useful, as its application, is well, or is not.
    ///
    /// By section 6.8.17 a session may stay up and only carry the reason along. Most systems act on the state alone, and
    /// would go on sending here what nobody serves; so the session goes down, and stays so while this lasts.
    pub fn set_path(&mut self, now_ns: u64, is_up: bool) {
        self.arrive(now_ns);
        if self.path_down != is_up {
            return;
        }
        self.path_down = !is_up;
        if self.state != State::AdminDown {
            if self.path_down {
                self.change(State::Down, Diagnostic::CONCATENATED_PATH_DOWN);
            } else {
                self.set_diagnostic(Diagnostic::NONE);
            }
        }
        self.settle();
    }

    /// The session behaves so from now on. The other side is told before intervals count that it could miss.
    ///
    /// # Errors
    /// What is wrong with the configuration; then the old one goes on.
    pub fn reconfigure(&mut self, now_ns: u64, config: Config) -> Result<(), ConfigError> {
        config.check()?;
        self.arrive(now_ns);
        if self.config != config {
            self.config = config;
            self.transmission.announce = true;
        }
        self.settle();
        Ok(())
    }

    /// The keys are these from now on. `false` if there is no authentication of this type, or if both keys have the same
    /// number: then the second is not valid.
    pub fn set_keys(&mut self, keys: &Keys) -> bool {
        self.authentication.as_mut().is_some_and(|authentication| authentication.set_keys(keys))
    }

    /// The session as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            state: self.state,
            diagnostic: self.diagnostic,
            since_ns: self.since_ns,
            remote: self.remote,
            transmit_interval_ns: self.transmit_interval_us() * US,
            receive_interval_ns: self.receive_interval_us() * US,
            detection_ns: self.detection_ns(),
            echo_interval_ns: self.echo.is_active.then(|| self.echo_interval_ns()),
            echo_round_trip_ns: self.echo.round_trip_ns,
            polling: self.parameters.is_asking(),
        }
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Each call begins here: the time does not go back.
    pub(crate) fn arrive(&mut self, now_ns: u64) -> u64 {
        self.now_ns = self.now_ns.max(now_ns);
        self.now_ns
    }

    /// Each call that changed something ends here.
    pub(crate) fn settle(&mut self) {
        self.see_to_echo();
        self.negotiate();
        if self.transmission.announce && self.is_asked_for_silence() {
            // Only a poll reaches it (section 6.8.17).
            self.parameters.ask();
        }
        if self.transmission.announce && self.may_send() {
            self.send_periodic();
        }
    }

    /// Has this state from now on, and makes it known.
    pub(crate) fn change(&mut self, to: State, diagnostic: Diagnostic) {
        let from = self.state;
        self.set_diagnostic(diagnostic);
        if from != to {
            self.state = to;
            self.since_ns = self.now_ns;
            self.transmission.announce = true;
            self.outputs.push_back(Output::Changed(Change { from, to, diagnostic }));
        }
    }

    fn set_diagnostic(&mut self, diagnostic: Diagnostic) {
        self.transmission.announce |= self.diagnostic != diagnostic;
        self.diagnostic = diagnostic;
    }
}
