//! Why a datagram is dropped, in the order in which it is looked at.
//!
//! Nothing that is dropped is answered, and nothing up to [`Refusal::WrongTag`] has touched any state.

/// An enum `Refusal`: each with its number among counters and its name there.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)*) => {
        /// Why a datagram is dropped.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $name = $number,)*
        }

        impl Refusal {
            /// All of them, in the order of the checks.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in counters.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

#[cfg(any(test, feature = "host"))]
pub(crate) use refusals;

refusals! {
    /// Not exactly as long as a message.
    WrongLength = 0, "wrong_length";
    /// Something else than heartbeat.
    WrongMagic = 1, "wrong_magic";
    /// A version that is not spoken here.
    WrongVersion = 2, "wrong_version";
    /// A kind that this version does not have.
    WrongKind = 3, "wrong_kind";
    /// A health that is none, or that a message of this kind does not tell.
    WrongHealth = 4, "wrong_health";
    /// Bytes that must be zero are not.
    ReservedNotZero = 5, "reserved_not_zero";
    /// No sender or no receiver.
    WrongNode = 6, "wrong_node";
    /// No subject where there must be one, or one where there must be none.
    WrongSubject = 7, "wrong_subject";
    /// A cluster of which no node is here.
    WrongCluster = 8, "wrong_cluster";
    /// A key that the cluster does not have, or no longer.
    UnknownKey = 9, "unknown_key";
    /// The tag is not the one of these bytes under this key.
    WrongTag = 10, "wrong_tag";
    /// The receiver is no node on this host.
    UnknownReceiver = 11, "unknown_receiver";
    /// The receiver does not know the sender.
    UnknownSender = 12, "unknown_sender";
    /// A sequence that has been seen, or that is too old to tell.
    Replayed = 13, "replayed";
    /// More than the sender may ask.
    TooFast = 14, "too_fast";
    /// The application has not renewed its lease, and such a node is silent.
    Lapsed = 15, "lapsed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_labels_are_unique() {
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index);
            assert!(Refusal::ALL[..index].iter().all(|other| other.label() != refusal.label()));
        }
    }
}
