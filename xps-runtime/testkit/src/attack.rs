//! Attacks on a service whose server is real: what the stack is shown is not what the server is sent, at the same numbers.

use anyhow::Result;

use crate::lie::Lie;
use crate::random::Random;
use crate::raw::Raw;

/// How a connection lies.
#[derive(Clone, Debug)]
pub enum Attack {
    /// Not at all: what is shown is what is sent.
    Honest,
    /// What is shown comes with lies, then what is meant; either whole, or what differs of it.
    Ghost(Vec<Lie>, bool),
    /// A byte of what is meant is urgent, so that the server takes it out; and whatever else is wrong.
    Urgent(Vec<Lie>),
    /// All that is shown, or so many bytes of it, and then all of what is meant.
    Overlap(Option<usize>),
    /// The end of the one, out of order; then all of the other. Whether what is shown comes first.
    Ahead(usize, bool),
}

impl Attack {
    /// Any.
    #[must_use]
    pub fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Honest,
            1 if random.chance(30) => Self::Urgent(Lie::some(random)),
            1 => Self::Urgent(Vec::new()),
            2 => Self::Overlap(random.chance(15).then(|| 1 + random.below(20))),
            3 => Self::Ahead(1 + random.below(20), random.chance(50)),
            _ => Self::Ghost(Lie::some(random), random.chance(50)),
        }
    }

    /// Shows the one and means the other. Both are of one length, and longer than twenty bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, raw: &mut Raw, shown: &[u8], meant: &[u8]) -> Result<()> {
        assert_eq!(shown.len(), meant.len(), "the numbers are the same");
        let alike = shown.iter().zip(meant).take_while(|(shown, meant)| shown == meant).count();
        match self {
            Self::Honest => raw.send(shown)?,
            Self::Ghost(lies, within) => {
                let start = if *within { alike } else { 0 };
                if start != 0 {
                    raw.send(&meant[..start])?;
                }
                raw.ghost(&shown[start..], lies)?;
                raw.send(&meant[start..])?;
            }
            Self::Urgent(lies) => {
                let (start, rest) = meant.split_at(alike + 1);
                // The pointer is to the byte behind the urgent one.
                let lies = [&[Lie::Urgent(start.len() as u16 + 1)][..], lies].concat();
                let with_urgent = [start, b"X", rest].concat();
                raw.ghost(&with_urgent, &lies)?;
                raw.peer.next = raw.peer.next.wrapping_add(with_urgent.len() as u32);
            }
            Self::Overlap(bytes) => {
                let bytes = bytes.unwrap_or(shown.len());
                raw.send(&shown[..bytes])?;
                raw.at(-(bytes as i32), meant, &[])?;
                raw.peer.next = raw.peer.next.wrapping_add((meant.len() - bytes) as u32);
            }
            Self::Ahead(bytes, shown_first) => {
                let (first, then) = if *shown_first { (shown, meant) } else { (meant, shown) };
                raw.at(*bytes as i32, &first[*bytes..], &[])?;
                raw.send(then)?;
            }
        }
        Ok(())
    }
}
