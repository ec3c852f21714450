//! A message, and its 64 bytes (`heartbeat/PROTOCOL.md`).
//!
//! Every message is as long as every other, so no answer is longer than what asked for it, and a packet becomes its own
//! reply without a change of length. [`Unverified`] is what the bytes say; only [`Unverified::verify`] makes a [`Message`] of
//! it, so nothing can be done with a message whose tag has not been checked.

use core::num::NonZeroU32;

use xps_core::siphash::SipHash24;

use crate::keys::{Key, Keys};
use crate::refusal::Refusal;

/// Bytes of a message.
pub const MESSAGE_BYTES: usize = 64;

/// The first four bytes of each message.
pub const MAGIC: [u8; 4] = *b"XPSH";

/// The version of this format.
pub const VERSION: u8 = 1;

/// The words that the tag is made of.
const TAGGED_WORDS: usize = MESSAGE_BYTES / 8 - 1;

/// The number of a cluster: nodes of different ones do not hear each other.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

/// The number of a node within its cluster. There is no node 0.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU32);

impl NodeId {
    /// The lowest number.
    pub const MIN: Self = Self(NonZeroU32::MIN);

    /// The node with this number, unless it is 0.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

/// Which of a node's lives: rises with each start, and when the node contradicts a rumour of its failure.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// The number of a message. A sender's rise, also over its restarts.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Time of the clock of whoever probes, in nanoseconds. It has a meaning for that node only, to which it comes back.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendTime(pub u64);

/// A node of which a message speaks, and the life that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The node.
    pub node: NodeId,
    /// Its incarnation, as far as the sender knows.
    pub incarnation: Incarnation,
}

/// How a node is, in the eyes of a message's sender.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers, and its application is alive.
    Alive = 1,
    /// Its host answers, but its application has not given a sign of life in time.
    Degraded = 2,
    /// It has not answered for longer than is likely.
    Suspect = 3,
    /// It is taken for failed.
    Failed = 4,
}

impl Health {
    /// What the byte says in a message of this kind: probes and questions tell nothing, and nobody answers that it is silent.
    #[inline(always)]
    const fn read(kind: Kind, byte: u8) -> Result<Option<Self>, Refusal> {
        match (kind, byte) {
            (Kind::Probe | Kind::Ask, 0) => Ok(None),
            (Kind::Reply | Kind::Told | Kind::Claim, 1) => Ok(Some(Self::Alive)),
            (Kind::Reply | Kind::Told | Kind::Claim, 2) => Ok(Some(Self::Degraded)),
            (Kind::Told | Kind::Claim, 3) => Ok(Some(Self::Suspect)),
            (Kind::Told | Kind::Claim, 4) => Ok(Some(Self::Failed)),
            _ => Err(Refusal::WrongHealth),
        }
    }
}

/// What kind of message it is, as its byte says.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Body::Probe`].
    Probe = 1,
    /// [`Body::Reply`].
    Reply = 2,
    /// [`Body::Ask`].
    Ask = 3,
    /// [`Body::Told`].
    Told = 4,
    /// [`Body::Claim`].
    Claim = 5,
}

impl Kind {
    #[inline(always)]
    const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Probe),
            2 => Some(Self::Reply),
            3 => Some(Self::Ask),
            4 => Some(Self::Told),
            5 => Some(Self::Claim),
            _ => None,
        }
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Are you there?
    Probe,
    /// I am. Sequence and time are the probe's.
    Reply {
        /// Whether the application has not given a sign of life in time.
        degraded: bool,
    },
    /// Please probe the subject for me.
    Ask {
        /// Whom.
        subject: Subject,
    },
    /// What I found out about the subject. Sequence and time are those of the message that asked.
    Told {
        /// Whom, in the life that answered.
        subject: Subject,
        /// How it is.
        health: Health,
    },
    /// What I think of the subject, without having been asked.
    Claim {
        /// Of whom.
        subject: Subject,
        /// How it is.
        health: Health,
    },
}

impl Body {
    /// Its kind.
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Probe => Kind::Probe,
            Self::Reply { .. } => Kind::Reply,
            Self::Ask { .. } => Kind::Ask,
            Self::Told { .. } => Kind::Told,
            Self::Claim { .. } => Kind::Claim,
        }
    }

    /// The byte that says how the sender or the subject is; 0 where nothing is said.
    #[inline(always)]
    const fn health(&self) -> u8 {
        match self {
            Self::Probe | Self::Ask { .. } => 0,
            Self::Reply { degraded: false } => Health::Alive as u8,
            Self::Reply { degraded: true } => Health::Degraded as u8,
            Self::Told { health, .. } | Self::Claim { health, .. } => *health as u8,
        }
    }

    /// Of whom it speaks, other than its sender.
    #[inline(always)]
    #[must_use]
    pub const fn subject(&self) -> Option<Subject> {
        match self {
            Self::Probe | Self::Reply { .. } => None,
            Self::Ask { subject } | Self::Told { subject, .. } | Self::Claim { subject, .. } => {
                Some(*subject)
            }
        }
    }

    /// The body of a message of this kind, unless the subject is missing, or one too many.
    #[inline(always)]
    const fn read(kind: Kind, health: Option<Health>, subject: Option<Subject>) -> Option<Self> {
        match (kind, health, subject) {
            (Kind::Probe, None, None) => Some(Self::Probe),
            (Kind::Reply, Some(health), None) => {
                Some(Self::Reply { degraded: matches!(health, Health::Degraded) })
            }
            (Kind::Ask, None, Some(subject)) => Some(Self::Ask { subject }),
            (Kind::Told, Some(health), Some(subject)) => Some(Self::Told { subject, health }),
            (Kind::Claim, Some(health), Some(subject)) => Some(Self::Claim { subject, health }),
            _ => None,
        }
    }
}

/// A message, which came with the right tag or is about to get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The cluster that sender and receiver belong to.
    pub cluster: ClusterId,
    /// Who says it.
    pub sender: NodeId,
    /// Which of the sender's lives.
    pub incarnation: Incarnation,
    /// To whom.
    pub receiver: NodeId,
    /// Its number; that of what it answers in a reply or a result.
    pub sequence: Sequence,
    /// When it was sent; when what it answers was sent in a reply or a result.
    pub sent: SendTime,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// Its bytes, with their tag under `key`.
    #[inline(always)]
    #[must_use]
    pub fn encode(&self, key: &Key) -> [u8; MESSAGE_BYTES] {
        let (subject, subject_incarnation) = match self.body.subject() {
            Some(subject) => (subject.node.number(), subject.incarnation.0),
            None => (0, 0),
        };
        let [m0, m1, m2, m3] = MAGIC;
        let first = [m0, m1, m2, m3, VERSION, self.body.kind() as u8, key.id.number(), self.body.health()];
        // As the words of the bytes are written: in network byte order.
        let mut words = [
            u64::from_be_bytes(first),
            self.cluster.0,
            pair(self.sender.number(), self.receiver.number()),
            pair(self.incarnation.0, subject),
            pair(subject_incarnation, 0),
            self.sequence.0,
            self.sent.0,
            0,
        ];
        words[TAGGED_WORDS] = tag(&words, key).swap_bytes();
        let mut bytes = [0; MESSAGE_BYTES];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        let mut i = 0;
        while i < words.len() {
            chunks[i] = words[i].to_be_bytes();
            i += 1;
        }
        bytes
    }

    /// The message in `bytes`, if it is one of this cluster and its tag is right.
    ///
    /// # Errors
    /// The first check that fails, in the order of [`Refusal`].
    #[inline(always)]
    pub fn decode(bytes: &[u8], keys: &Keys) -> Result<Self, Refusal> {
        let (message, _) = Unverified::read(bytes)?.verify(keys)?;
        Ok(message)
    }
}

/// What bytes say that nobody has vouched for yet: each field by itself may stand where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Unverified {
    words: [u64; MESSAGE_BYTES / 8],
    message: Message,
}

impl Unverified {
    /// Reads what `bytes` say.
    ///
    /// # Errors
    /// The first check that fails, up to [`Refusal::WrongSubject`].
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        match bytes.try_into() {
            Ok(bytes) => Self::read_exact(bytes),
            Err(_) => Err(Refusal::WrongLength),
        }
    }

    /// Reads what as many bytes as a message has say.
    ///
    /// # Errors
    /// As [`Self::read`], but for the length.
    #[inline(always)]
    pub fn read_exact(bytes: &[u8; MESSAGE_BYTES]) -> Result<Self, Refusal> {
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut words = [0; MESSAGE_BYTES / 8];
        let mut i = 0;
        while i < words.len() {
            words[i] = u64::from_be_bytes(chunks[i]);
            i += 1;
        }
        let [m0, m1, m2, m3, version, kind, _, health] = words[0].to_be_bytes();
        if [m0, m1, m2, m3] != MAGIC {
            return Err(Refusal::WrongMagic);
        }
        if version != VERSION {
            return Err(Refusal::WrongVersion);
        }
        let Some(kind) = Kind::from_u8(kind) else { return Err(Refusal::WrongKind) };
        let health = Health::read(kind, health)?;
        if words[4] as u32 != 0 {
            return Err(Refusal::ReservedNotZero);
        }
        let (Some(sender), Some(receiver)) =
            (NodeId::new((words[2] >> 32) as u32), NodeId::new(words[2] as u32))
        else {
            return Err(Refusal::WrongNode);
        };
        let incarnation = Incarnation((words[4] >> 32) as u32);
        let subject = match NodeId::new(words[3] as u32) {
            Some(node) => Some(Subject { node, incarnation }),
            None if incarnation.0 == 0 => None,
            // A life of nobody. Each message has one form only.
            None => return Err(Refusal::WrongSubject),
        };
        let Some(body) = Body::read(kind, health, subject) else { return Err(Refusal::WrongSubject) };
        let message = Message {
            cluster: ClusterId(words[1]),
            sender,
            incarnation: Incarnation((words[3] >> 32) as u32),
            receiver,
            sequence: Sequence(words[5]),
            sent: SendTime(words[6]),
            body,
        };
        Ok(Self { words, message })
    }

    /// The cluster whose keys are to be asked.
    #[inline(always)]
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.message.cluster
    }

    /// The message and the key that it came under, if its tag is right.
    ///
    /// # Errors
    /// [`Refusal::WrongCluster`], [`Refusal::UnknownKey`] or [`Refusal::WrongTag`].
    #[inline(always)]
    pub fn verify(&self, keys: &Keys) -> Result<(Message, Key), Refusal> {
        if keys.cluster().0 != self.message.cluster.0 {
            return Err(Refusal::WrongCluster);
        }
        let Some(key) = keys.find((self.words[0] >> 8) as u8) else { return Err(Refusal::UnknownKey) };
        // One comparison of whole words: how long it takes does not tell how many bytes were right.
        if tag(&self.words, &key) ^ self.words[TAGGED_WORDS].swap_bytes() != 0 {
            return Err(Refusal::WrongTag);
        }
        Ok((self.message, key))
    }
}

/// Two halves of a word in network byte order.
#[inline(always)]
const fn pair(first: u32, second: u32) -> u64 {
    (first as u64) << 32 | second as u64
}

/// The tag of all words but the last.
#[inline(always)]
fn tag(words: &[u64; MESSAGE_BYTES / 8], key: &Key) -> u64 {
    let mut hash = SipHash24::new(key.secret());
    let mut i = 0;
    while i < TAGGED_WORDS {
        // SipHash reads its words from the bytes in little-endian order.
        hash.aligned(words[i].swap_bytes());
        i += 1;
    }
    hash.finish_with(0, 0)
}
