//! What is configured for a session.

use core::num::NonZeroU8;

use heartbeat_fastpath::bfd::authentication::{Key, Type};

/// The shortest interval, in microseconds.
pub const INTERVAL_MIN_US: u32 = 1_000;
/// The longest one, in microseconds: detection times stay within hours.
pub const INTERVAL_MAX_US: u32 = 60_000_000;
/// While a session is not up, and while echo packets watch the path, control packets have this interval at least (section
/// 6.8.3), in microseconds.
pub const SLOW_US: u32 = 1_000_000;

/// How a session behaves. Intervals in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The least interval at which control packets are to be sent while the session is up (`bfd.DesiredMinTxInterval`).
    pub desired_min_tx_us: u32,
    /// The least interval at which they can be received (`bfd.RequiredMinRxInterval`).
    pub required_min_rx_us: u32,
    /// After how many intervals without a packet the other side is to take this one for failed (`bfd.DetectMult`). As many
    /// echo packets may stay away.
    pub detect_multiplier: NonZeroU8,
    /// Nothing is sent before something was heard (section 6.1).
    pub passive: bool,
    /// The least interval at which echo packets are to be sent, if any.
    pub echo_interval_us: Option<u32>,
    /// The least interval at which the other side's echo packets are sent back; 0: they are not.
    pub required_min_echo_rx_us: u32,
}

/// Authentication of a session: its type, the key that sends, and another one that is accepted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The type.
    pub kind: Type,
    /// The key that sends.
    pub key: Key,
    /// Also valid, while keys are changed; its number must be another one.
    pub other: Option<Key>,
}

/// What is wrong with a configuration, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError(&'static str);

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Whether a session can work so.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fits = |interval_us: u32| (INTERVAL_MIN_US..=INTERVAL_MAX_US).contains(&interval_us);
        if !fits(self.desired_min_tx_us) || !fits(self.required_min_rx_us) {
            return Err(ConfigError("an interval is out of bounds: give 1 ms to 60 s"));
        }
        if !self.echo_interval_us.is_none_or(fits) {
            return Err(ConfigError("the interval of echo packets is out of bounds: give 1 ms to 60 s"));
        }
        if self.required_min_echo_rx_us > INTERVAL_MAX_US {
            return Err(ConfigError("echo packets are taken too seldom: give at most 60 s"));
        }
        Ok(())
    }
}
