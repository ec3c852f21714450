//! BFD control packets (RFC 5880) as a second wire, for routers and switches that speak nothing else.
//!
//! [`Unverified::read`] makes those checks of section 6.8.6 that need no session. Whose session it is says
//! [`Unverified::your_discriminator`]; whether it uses authentication then decides between [`Unverified::plain`] and
//! [`authentication::Session::receive`]. Only these give a [`Control`].
//!
//! Of single hops (RFC 5881) nothing is taken whose hop limit is not [`HOP_LIMIT`], which only whoever has the IP header can
//! see. Echo packets (RFC 5881 section 4) have no form here: their receiver sends back what it got, and reads none of it.

pub mod authentication;

use core::num::{NonZeroU8, NonZeroU32};

pub use crate::echo::PORT_ECHO;
use crate::refusal::refusals;

/// UDP port of control packets over one hop (RFC 5881 section 4).
pub const PORT_SINGLE_HOP: u16 = 3784;
/// UDP port of control packets over several hops (RFC 5883 section 5).
pub const PORT_MULTIHOP: u16 = 4784;
/// Hop limit of packets over one hop: from further away nobody can make it arrive (RFC 5881 section 5).
pub const HOP_LIMIT: u8 = 255;
/// Bytes of a packet without authentication.
pub const CONTROL_BYTES: usize = 24;

const VERSION: u8 = 1;

mod flag {
    pub(super) const POLL: u8 = 0x20;
    pub(super) const FINAL: u8 = 0x10;
    pub(super) const INDEPENDENT: u8 = 0x08;
    pub(super) const AUTHENTICATION: u8 = 0x04;
    pub(super) const DEMAND: u8 = 0x02;
    pub(super) const MULTIPOINT: u8 = 0x01;
}

refusals! {
    /// Less bytes than any packet has.
    Truncated = 0, "bfd_truncated";
    /// A version other than 1.
    WrongVersion = 1, "bfd_wrong_version";
    /// It says that it is shorter than any packet, or longer than what came.
    WrongLength = 2, "bfd_wrong_length";
    /// Bytes behind the packet, which no authentication covers. RFC 5880 would let them pass.
    Oversized = 3, "bfd_oversized";
    /// A detection multiplier of 0.
    NoMultiplier = 4, "bfd_no_multiplier";
    /// The multipoint bit, which must be zero.
    Multipoint = 5, "bfd_multipoint";
    /// The sender's discriminator is 0.
    NoDiscriminator = 6, "bfd_no_discriminator";
    /// The receiver's discriminator is 0 while the sender is past the states in which it may be.
    NoSession = 7, "bfd_no_session";
    /// The session uses authentication, and the packet does not.
    Unauthenticated = 8, "bfd_unauthenticated";
    /// The packet uses authentication, and the session does not.
    UnexpectedAuthentication = 9, "bfd_unexpected_authentication";
    /// Another type of authentication than the session's.
    WrongType = 10, "bfd_wrong_type";
    /// An authentication section, or a packet around it, of another length than its type has.
    WrongAuthenticationLength = 11, "bfd_wrong_authentication_length";
    /// A key that the session does not have, or no longer.
    UnknownKey = 12, "bfd_unknown_key";
    /// The hash is not the one of this packet under this key.
    WrongHash = 13, "bfd_wrong_hash";
    /// A sequence number that has been used, or that is too far ahead.
    Replayed = 14, "bfd_replayed";
}

/// A session's state (RFC 5880 section 4.1).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Held down by its operator.
    AdminDown = 0,
    /// Just created, or failed.
    Down = 1,
    /// Hears the other side, which does not yet know that.
    Init = 2,
    /// Both sides hear each other.
    Up = 3,
}

/// Why the session last changed its state (RFC 5880 section 4.1); at most 31. Numbers that are not named are reserved, and
/// are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// No reason is given.
    pub const NONE: Self = Self(0);
    /// Nothing was heard for too long.
    pub const TIME_EXPIRED: Self = Self(1);
    /// No echo came back.
    pub const ECHO_FAILED: Self = Self(2);
    /// The other side said that the session is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// Whatever forwards packets was reset.
    pub const FORWARDING_RESET: Self = Self(4);
    /// The path is down.
    pub const PATH_DOWN: Self = Self(5);
    /// A path that this one depends on is down.
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    /// The operator holds it down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
    /// A path that the reverse one depends on is down.
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);

    /// The reason with this number, of which five bits count.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        Self(number & 0x1f)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What a control packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Control {
    /// Why the session last changed its state.
    pub diagnostic: Diagnostic,
    /// The session's state.
    pub state: State,
    /// Asks for an answer with [`Self::is_final`].
    pub poll: bool,
    /// Answers a poll.
    pub is_final: bool,
    /// The sender goes on while its control plane restarts.
    pub control_plane_independent: bool,
    /// The sender wishes not to be sent periodic packets.
    pub demand: bool,
    /// After how many intervals without a packet the sender is taken for failed.
    pub detect_multiplier: NonZeroU8,
    /// The sender's number of the session.
    pub my_discriminator: NonZeroU32,
    /// The receiver's number of the session; 0 while the sender does not know it.
    pub your_discriminator: u32,
    /// The least interval at which the sender would like to send, in microseconds.
    pub desired_min_tx_us: u32,
    /// The least interval at which the sender can receive, in microseconds; 0: it wants none.
    pub required_min_rx_us: u32,
    /// The least interval at which the sender can send echo packets back, in microseconds; 0: it does not.
    pub required_min_echo_rx_us: u32,
}

impl Control {
    /// Its bytes, without authentication.
    #[must_use]
    pub fn encode(&self) -> [u8; CONTROL_BYTES] {
        self.header(CONTROL_BYTES as u8, 0)
    }

    /// The part that every packet has, of a packet of `length` bytes with those `flags` too.
    fn header(&self, length: u8, mut flags: u8) -> [u8; CONTROL_BYTES] {
        for (set, flag) in [
            (self.poll, flag::POLL),
            (self.is_final, flag::FINAL),
            (self.control_plane_independent, flag::INDEPENDENT),
            (self.demand, flag::DEMAND),
        ] {
            if set {
                flags |= flag;
            }
        }
        let first = [
            VERSION << 5 | self.diagnostic.0,
            (self.state as u8) << 6 | flags,
            self.detect_multiplier.get(),
            length,
        ];
        let words = [
            u32::from_be_bytes(first),
            self.my_discriminator.get(),
            self.your_discriminator,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            self.required_min_echo_rx_us,
        ];
        let mut bytes = [0; CONTROL_BYTES];
        let (chunks, _) = bytes.as_chunks_mut::<4>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_be_bytes();
        }
        bytes
    }
}

/// A packet that may stand by itself, but that its session has not accepted.
#[derive(Clone, Copy, Debug)]
pub struct Unverified<'a> {
    control: Control,
    /// All of the packet.
    bytes: &'a [u8],
    /// Whether it says that it is authenticated.
    authenticated: bool,
}

impl<'a> Unverified<'a> {
    /// Reads the payload of a datagram.
    ///
    /// # Errors
    /// The first check that fails, up to [`Refusal::NoSession`].
    pub fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let Some((header, _)) = payload.split_first_chunk::<CONTROL_BYTES>() else {
            return Err(Refusal::Truncated);
        };
        let (words, _) = header.as_chunks::<4>();
        let [first, my_discriminator, your_discriminator, desired_tx, required_rx, required_echo_rx] =
            core::array::from_fn(|index| u32::from_be_bytes(words[index]));
        let [version, flags, multiplier, length] = first.to_be_bytes();
        if version >> 5 != VERSION {
            return Err(Refusal::WrongVersion);
        }
        let authenticated = flags & flag::AUTHENTICATION != 0;
        // Type and length of an authentication section, at least.
        let least = if authenticated { CONTROL_BYTES + 2 } else { CONTROL_BYTES };
        let length = usize::from(length);
        if length < least || length > payload.len() {
            return Err(Refusal::WrongLength);
        }
        if length < payload.len() || !authenticated && length > CONTROL_BYTES {
            return Err(Refusal::Oversized);
        }
        let Some(detect_multiplier) = NonZeroU8::new(multiplier) else { return Err(Refusal::NoMultiplier) };
        if flags & flag::MULTIPOINT != 0 {
            return Err(Refusal::Multipoint);
        }
        let Some(my_discriminator) = NonZeroU32::new(my_discriminator) else {
            return Err(Refusal::NoDiscriminator);
        };
        let state = match flags >> 6 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        };
        if your_discriminator == 0 && matches!(state, State::Init | State::Up) {
            return Err(Refusal::NoSession);
        }
        let control = Control {
            diagnostic: Diagnostic::from_number(version),
            state,
            poll: flags & flag::POLL != 0,
            is_final: flags & flag::FINAL != 0,
            control_plane_independent: flags & flag::INDEPENDENT != 0,
            demand: flags & flag::DEMAND != 0,
            detect_multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx_us: desired_tx,
            required_min_rx_us: required_rx,
            required_min_echo_rx_us: required_echo_rx,
        };
        Ok(Self { control, bytes: payload, authenticated })
    }

    /// The receiver's number of the session, by which it is found; 0 where only the addresses tell.
    #[must_use]
    pub const fn your_discriminator(&self) -> u32 {
        self.control.your_discriminator
    }

    /// What it says, for a session without authentication.
    ///
    /// # Errors
    /// [`Refusal::UnexpectedAuthentication`]: a packet with authentication is not for such a session.
    pub const fn plain(&self) -> Result<Control, Refusal> {
        if self.authenticated {
            return Err(Refusal::UnexpectedAuthentication);
        }
        Ok(self.control)
    }
}
