//! Whether the packets of an interface are looked at as the driver hands them over (XDP), and why not.
//!
//! In native mode, unless the generic one is asked for: there the stack has made its buffer of the packet already, and copies
//! it once more. Where the program is not, nothing is lost but time: the ingress program does the same.

use std::fmt;
use std::io;

use crate::hook::Place;
use crate::interface::{Interface, LOOPBACK};

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Where the driver can do it and it costs other traffic nothing.
    #[default]
    Auto,
    /// Wherever the driver can do it.
    On,
    /// Nowhere.
    Off,
    /// Everywhere, in generic mode.
    Generic,
}

/// Where at XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, for any driver.
    Generic,
}

impl Mode {
    /// The place of its program.
    #[must_use]
    pub const fn place(self) -> Place {
        match self {
            Self::Native => Place::Arrival,
            Self::Generic => Place::ArrivalGeneric,
        }
    }
}

/// Why the packets of an interface are not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Without {
    /// The configuration says so.
    Configured,
    /// The service has nothing to look for.
    NoProgram,
    /// It would cost more than it saves.
    Costly {
        /// The kind of the interface.
        kind: String,
    },
    /// The driver cannot do it.
    NoDriver,
    /// Another program is there.
    Taken,
    /// The kernel refuses.
    Refused {
        /// Its reason.
        reason: String,
    },
}

impl From<io::Error> for Without {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Self::NoDriver,
            Some(libc::EBUSY | libc::EEXIST) => Self::Taken,
            _ => Self::Refused { reason: error.to_string() },
        }
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => write!(f, "the configuration turns XDP off"),
            Self::NoProgram => write!(f, "the service has no program at XDP"),
            Self::Costly { kind } => write!(
                f,
                "at XDP a {kind} would cost more than it saves; path.xdp = \"on\" has it nevertheless"
            ),
            Self::NoDriver => write!(f, "its driver has no native XDP"),
            Self::Taken => write!(f, "another XDP program is attached to it, or to what it belongs to"),
            Self::Refused { reason } => write!(f, "XDP was refused: {reason}"),
        }
    }
}

/// In which mode to look at an interface's packets.
///
/// # Errors
/// Why not at all.
pub fn wanted(interface: &Interface, wish: Wish) -> Result<Mode, Without> {
    match wish {
        Wish::Off => Err(Without::Configured),
        Wish::On => Ok(Mode::Native),
        Wish::Generic => Ok(Mode::Generic),
        Wish::Auto => match costly(interface) {
            Some(kind) => Err(Without::Costly { kind: kind.to_owned() }),
            None => Ok(Mode::Native),
        },
    }
}

/// The kind of an interface that has its packets as the stack's buffers already. For a program they are copied, and whoever
/// sends into a veth may no longer send large ones to be cut later: what others send through it is slower by far more than a
/// SYN costs.
fn costly(interface: &Interface) -> Option<&str> {
    if interface.hardware == LOOPBACK {
        return Some("loopback");
    }
    // A tap is a tun to the kernel.
    interface.kind.as_deref().filter(|kind| matches!(*kind, "veth" | "tun"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::ETHERNET;

    fn of(hardware: u16, kind: Option<&str>) -> Interface {
        Interface { hardware, kind: kind.map(Into::into), ..Interface::default() }
    }

    #[test]
    fn by_itself_it_is_where_it_costs_others_nothing() {
        for (interface, auto) in [
            (of(ETHERNET, None), None),
            (of(ETHERNET, Some("bond")), None),
            (of(ETHERNET, Some("veth")), Some("veth")),
            (of(ETHERNET, Some("tun")), Some("tun")),
            (of(LOOPBACK, None), Some("loopback")),
        ] {
            let costly = |kind: &str| Without::Costly { kind: kind.into() };
            assert_eq!(
                wanted(&interface, Wish::Auto),
                auto.map_or(Ok(Mode::Native), |kind| Err(costly(kind)))
            );
            assert_eq!(wanted(&interface, Wish::On), Ok(Mode::Native));
            assert_eq!(wanted(&interface, Wish::Generic), Ok(Mode::Generic));
            assert_eq!(wanted(&interface, Wish::Off), Err(Without::Configured));
        }
    }

    #[test]
    fn the_kernels_answers_have_names() {
        for (code, why) in [
            (libc::EOPNOTSUPP, Without::NoDriver),
            (libc::EBUSY, Without::Taken),
            (libc::EEXIST, Without::Taken),
        ] {
            assert_eq!(Without::from(io::Error::from_raw_os_error(code)), why);
        }
        let other = Without::from(io::Error::from_raw_os_error(libc::EINVAL));
        assert!(matches!(&other, Without::Refused { reason } if reason.contains("nvalid")), "{other}");
    }
}
