//! What a group of keys holds, and what Redis answers to commands on it.
//!
//! A group is two names in two databases: four cells, one object for the checker. So commands that move values between
//! keys or databases, or touch several at once, are atomic operations on one object. A command on everything (`FLUSHALL`,
//! `SWAPDB`) is an operation on each group.

/// Two names in each of two databases.
pub(crate) const CELLS: usize = 4;

/// A cell's place: `database * 2 + name`.
pub(crate) type Cell = usize;

/// All cells, or some: bit `i` is cell `i`.
pub(crate) type Mask = u8;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Value {
    /// There is no such key.
    #[default]
    Missing,
    /// A text, by its hash and length.
    Text(u64, u32),
    /// A counter.
    Number(i64),
}

impl Value {
    /// An empty text.
    const EMPTY: Self = Self::Text(0xcbf2_9ce4_8422_2325, 0);

    /// What these bytes are.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
        // Only what Redis would write itself is a number.
        match number.filter(|number| number.to_string().as_bytes() == bytes) {
            Some(number) => Self::Number(number),
            None => Self::EMPTY.and(bytes),
        }
    }

    /// This text with more at its end (FNV-1a).
    fn and(self, more: &[u8]) -> Self {
        let Self::Text(mut hash, length) = self else { return Self::EMPTY.and(more) };
        for byte in more {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        Self::Text(hash, length + more.len() as u32)
    }
}

/// The name of a deadline that a command has set; 0 is none. The moment itself is an operation of the history
/// ([`Action::Expire`]).
pub(crate) type Deadline = u32;

/// What becomes of a key's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It goes on as it was.
    Keep,
    /// It has none from now on, or this one.
    Set(Deadline),
}

/// A key's value and its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Held {
    value: Value,
    deadline: Deadline,
}

/// What a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct State([Held; CELLS]);

/// What happens to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `GET`.
    Get(Cell),
    /// `SET` and the like, if the cell is as demanded: missing (`NX`), there (`XX`), or however it is.
    Put { cell: Cell, value: Value, only: Option<bool>, life: Life },
    /// `GETSET`.
    Exchange { cell: Cell, value: Value },
    /// `APPEND` of a text to a text; by the text's bytes, kept short.
    Append { cell: Cell, text: [u8; 12] },
    /// `INCRBY`.
    Increment { cell: Cell, by: i64 },
    /// `DEL`, `FLUSHALL`, a past deadline: how many were there.
    Delete(Mask),
    /// `GETDEL`.
    Take(Cell),
    /// `EXPIRE`, `PERSIST`: whether the deadline changed.
    SetLife { cell: Cell, life: Deadline },
    /// `GETEX`: the value; its deadline changes.
    Touch { cell: Cell, life: Deadline },
    /// `RENAME`.
    Rename { from: Cell, to: Cell },
    /// `COPY`.
    Copy { from: Cell, to: Cell, replace: bool },
    /// `MOVE`.
    Move { from: Cell, to: Cell },
    /// `SWAPDB`.
    Swap,
    /// A deadline is over.
    Expire(Deadline),
}

/// What Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// OK.
    Done,
    /// Not done: a condition was not met.
    Refused,
    /// A value.
    Value(Value),
    /// A number.
    Count(i64),
}

impl Action {
    /// Whether an action that was answered so has changed nothing. With an unknown answer it may have.
    pub(crate) fn is_read(self, seen: Option<Answer>) -> bool {
        match self {
            Self::Get(_) => true,
            Self::Put { .. } | Self::Rename { .. } => seen == Some(Answer::Refused),
            Self::Delete(_) | Self::SetLife { .. } | Self::Copy { .. } | Self::Move { .. } => {
                seen == Some(Answer::Count(0))
            }
            Self::Take(_) | Self::Touch { .. } => seen == Some(Answer::Value(Value::Missing)),
            Self::Exchange { .. } | Self::Append { .. } | Self::Increment { .. } => false,
            Self::Swap | Self::Expire(_) => false,
        }
    }
}

impl State {
    /// What a cell holds.
    pub(crate) fn value(&self, cell: Cell) -> Value {
        self.0[cell].value
    }

    /// Whether some key ends at this deadline.
    pub(crate) fn has(&self, deadline: Deadline) -> bool {
        self.0.iter().any(|held| held.deadline == deadline)
    }

    fn there(&self, cell: Cell) -> bool {
        self.value(cell) != Value::Missing
    }

    fn clear(&mut self, cell: Cell) {
        self.0[cell] = Held::default();
    }

    /// Does it, and answers as Redis would.
    pub(crate) fn apply(&mut self, action: Action) -> Answer {
        match action {
            Action::Get(cell) => Answer::Value(self.value(cell)),
            Action::Put { cell, value, only, life } => {
                if only.is_some_and(|there| there != self.there(cell)) {
                    return Answer::Refused;
                }
                let deadline = match life {
                    Life::Keep => self.0[cell].deadline,
                    Life::Set(deadline) => deadline,
                };
                self.0[cell] = Held { value, deadline };
                Answer::Done
            }
            Action::Exchange { cell, value } => {
                let before = self.value(cell);
                self.0[cell] = Held { value, deadline: 0 };
                Answer::Value(before)
            }
            Action::Append { cell, text } => {
                self.0[cell].value = self.value(cell).and(&text);
                let Value::Text(_, length) = self.value(cell) else { return Answer::Refused };
                Answer::Count(length.into())
            }
            Action::Increment { cell, by } => {
                let before = match self.value(cell) {
                    Value::Missing => 0,
                    Value::Number(number) => number,
                    Value::Text(..) => return Answer::Refused,
                };
                self.0[cell].value = Value::Number(before + by);
                Answer::Count(before + by)
            }
            Action::Delete(cells) => {
                let mut count = 0;
                for cell in (0..CELLS).filter(|cell| cells & 1 << cell != 0) {
                    count += i64::from(self.there(cell));
                    self.clear(cell);
                }
                Answer::Count(count)
            }
            Action::Take(cell) => {
                let before = self.value(cell);
                self.clear(cell);
                Answer::Value(before)
            }
            Action::SetLife { cell, life } => {
                let held = &mut self.0[cell];
                // PERSIST changes nothing where there is no deadline.
                if held.value == Value::Missing || life == 0 && held.deadline == 0 {
                    return Answer::Count(0);
                }
                held.deadline = life;
                Answer::Count(1)
            }
            Action::Touch { cell, life } => {
                if self.there(cell) {
                    self.0[cell].deadline = life;
                }
                Answer::Value(self.value(cell))
            }
            Action::Rename { from, to } => {
                if !self.there(from) {
                    return Answer::Refused;
                }
                self.0[to] = self.0[from];
                self.clear(from);
                Answer::Done
            }
            Action::Copy { from, to, replace } => {
                let done = self.there(from) && (replace || !self.there(to));
                if done {
                    self.0[to] = self.0[from];
                }
                Answer::Count(done.into())
            }
            Action::Move { from, to } => {
                let done = self.there(from) && !self.there(to);
                if done {
                    self.0[to] = self.0[from];
                    self.clear(from);
                }
                Answer::Count(done.into())
            }
            Action::Swap => {
                let (one, other) = self.0.split_at_mut(CELLS / 2);
                one.swap_with_slice(other);
                Answer::Done
            }
            Action::Expire(deadline) => {
                for cell in 0..CELLS {
                    if self.0[cell].deadline == deadline {
                        self.clear(cell);
                    }
                }
                Answer::Done
            }
        }
    }
}
