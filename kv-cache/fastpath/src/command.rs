//! What a Redis command may change. The table is made by the agent from the server's own `COMMAND` (C5).

/// A command's name in lower case, padded with zeros; with its subcommand behind a `|` for containers (`client|reply`).
pub type Name = [u8; NAME_BYTES];

/// Longest name that is looked up; longer ones are unknown.
pub const NAME_BYTES: usize = 32;

/// What a command may do to cached values.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Cannot change any string value, nor make a key of another type.
    Harmless = 0,
    /// Changes only the keys in its arguments `first..=last` by `step`.
    Keys = 1,
    /// May change anything: takes the global bucket.
    Anything = 2,
    /// May change users, passwords or roles: no hits until the agent has looked again. Takes the global bucket too.
    Recheck = 3,
    /// Look its first argument up too, as `name|argument`; if that is unknown, [`Class::Anything`].
    Container = 4,
    /// `GET`.
    Get = 5,
    /// `MULTI`.
    Multi = 6,
    /// `EXEC`.
    Exec = 7,
    /// `DISCARD`.
    Discard = 8,
    /// `WATCH`.
    Watch = 9,
    /// `UNWATCH`.
    Unwatch = 10,
    /// `SELECT`.
    Select = 11,
    /// Changes how replies follow requests: SUBSCRIBE and its kin, MONITOR, CLIENT REPLY, CLIENT TRACKING, SYNC. The
    /// connection has no hits from here on, and what it writes is pending until it ends.
    Unpaired = 12,
    /// `RESET`, `QUIT`: harmless to data, but the connection's state is unknown from here on: no hits.
    Session = 13,
    /// `AUTH`.
    Auth = 14,
    /// `HELLO`.
    Hello = 15,
    /// `ASKING`: a cluster's node answers the next request for a slot that it is about to get.
    Asking = 16,
}

/// Value of the command table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// A [`Class`].
    pub class: u8,
    /// First key argument (the name is argument 0).
    pub first: i8,
    /// Last key argument; negative counts from the end, -1 is the last argument.
    pub last: i8,
    /// Distance between key arguments.
    pub step: i8,
}

impl Class {
    /// The class that a byte in the table means; what it does not know may change anything.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Harmless,
            1 => Self::Keys,
            3 => Self::Recheck,
            4 => Self::Container,
            5 => Self::Get,
            6 => Self::Multi,
            7 => Self::Exec,
            8 => Self::Discard,
            9 => Self::Watch,
            10 => Self::Unwatch,
            11 => Self::Select,
            12 => Self::Unpaired,
            13 => Self::Session,
            14 => Self::Auth,
            15 => Self::Hello,
            16 => Self::Asking,
            _ => Self::Anything,
        }
    }
}
