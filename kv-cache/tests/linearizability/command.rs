//! What clients ask: commands of all kinds on a group of keys, and what they mean to the model.

use anyhow::{Result, bail, ensure};

use crate::history::Step;
use crate::model::{Action, Cell, Deadline, Life, Mask, Value};
use crate::reply::Reply;
use crate::support::{Random, request};

/// Groups of keys.
pub(crate) const GROUPS: usize = 12;

/// What an operation concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Group(usize),
    All,
}

/// How replies come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One reply to one command, whatever it does.
    Plain,
    /// `MULTI`, the commands, `EXEC`.
    Transaction,
    /// A script that returns all replies.
    Script,
}

/// A command, or some that belong together, not yet sent.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scope: Scope,
    pub(crate) actions: Vec<Action>,
    /// A deadline that it sets, and how many milliseconds after the command it is.
    pub(crate) deadline: Option<(Deadline, u64)>,
    /// What goes over the wire.
    pub(crate) bytes: Vec<u8>,
    form: Form,
}

/// What the replies told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It took place, with these answers.
    Done(Vec<Step>),
    /// It did not: a watched key had changed.
    Aborted,
}

impl Plan {
    /// How many replies come.
    pub(crate) fn replies(&self) -> usize {
        if self.form == Form::Transaction { self.actions.len() + 2 } else { 1 }
    }

    /// Whether the cache could answer it: a `GET` alone.
    pub(crate) fn is_get(&self) -> bool {
        self.form == Form::Plain && matches!(self.actions[..], [Action::Get(_)])
    }

    /// How many `GET`s Redis sees if it carries this out.
    pub(crate) fn gets(&self) -> u64 {
        self.actions.iter().filter(|action| matches!(action, Action::Get(_))).count() as u64
    }

    /// How many commands its script calls.
    pub(crate) fn called(&self) -> u64 {
        if self.form == Form::Script { self.actions.len() as u64 } else { 0 }
    }

    /// Understands the replies.
    pub(crate) fn told(&self, replies: &[Reply]) -> Result<Told> {
        let answers = match (self.form, replies) {
            (Form::Plain, [reply]) => &vec![reply.clone(); self.actions.len()],
            (Form::Script, [Reply::Array(answers)]) => answers,
            (Form::Transaction, [multi, queued @ .., exec]) => {
                ensure!(*multi == Reply::Simple("OK".to_owned()), "MULTI: {multi:?}");
                let all = queued.iter().all(|reply| *reply == Reply::Simple("QUEUED".to_owned()));
                ensure!(all, "queued: {queued:?}");
                match exec {
                    Reply::Null => return Ok(Told::Aborted),
                    Reply::Array(answers) => answers,
                    _ => bail!("EXEC: {exec:?}"),
                }
            }
            _ => bail!("replies {replies:?}"),
        };
        ensure!(answers.len() == self.actions.len(), "{answers:?} for {:?}", self.actions);
        let steps = self.actions.iter().zip(answers);
        let steps: Result<Vec<Step>> = steps
            .map(|(action, answer)| Ok(Step { action: *action, seen: answer.answers(*action)? }))
            .collect();
        Ok(Told::Done(steps?))
    }

    /// The steps with nothing known of their answers.
    pub(crate) fn unknown(&self) -> Vec<Step> {
        self.actions.iter().map(|action| Step { action: *action, seen: None }).collect()
    }
}

/// What makes plans.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    pub(crate) random: &'a mut Random,
    /// What names begin with.
    pub(crate) prefix: &'a str,
    /// The database that the client has selected.
    pub(crate) database: usize,
    /// Nothing that concerns all keys.
    pub(crate) calm: bool,
    /// A number that no other value has.
    pub(crate) unique: u64,
}

impl Planner<'_> {
    /// A few groups are much in demand, so that readers and writers meet.
    fn group(&mut self) -> usize {
        let range = if self.random.below(2) == 0 { 3 } else { GROUPS };
        self.random.below(range)
    }

    pub(crate) fn key(&self, group: usize, name: usize) -> String {
        format!("{}:{group}:{name}", self.prefix)
    }

    fn cell(&self, name: usize) -> Cell {
        self.database * 2 + name
    }

    fn plain(&self, group: usize, action: Action, words: &[&str]) -> Plan {
        let (scope, bytes) = (Scope::Group(group), request(words));
        Plan { scope, actions: vec![action], deadline: None, bytes, form: Form::Plain }
    }

    /// `GET`.
    pub(crate) fn read(&mut self) -> Plan {
        let (group, name) = (self.group(), self.random.below(2));
        self.plain(group, Action::Get(self.cell(name)), &["GET", &self.key(group, name)])
    }

    /// A transaction that is to write where `WATCH` was.
    pub(crate) fn guarded(&mut self, group: usize, name: usize) -> Plan {
        let (key, text) = (self.key(group, name), text(self.unique));
        self.several(group, Form::Transaction, &[self.get(&key, name), self.set(&key, name, &text)])
    }

    fn get(&self, key: &str, name: usize) -> (Action, Vec<String>) {
        (Action::Get(self.cell(name)), vec!["GET".to_owned(), key.to_owned()])
    }

    fn set(&self, key: &str, name: usize, text: &str) -> (Action, Vec<String>) {
        let action = self.put(name, text, None, Life::Set(0));
        (action, ["SET", key, text].map(str::to_owned).to_vec())
    }

    fn put(&self, name: usize, text: &str, only: Option<bool>, life: Life) -> Action {
        Action::Put { cell: self.cell(name), value: Value::of(text.as_bytes()), only, life }
    }

    fn several(&self, group: usize, form: Form, commands: &[(Action, Vec<String>)]) -> Plan {
        let actions = commands.iter().map(|(action, _)| *action).collect();
        let bytes = if form == Form::Script {
            let calls: Vec<_> = commands
                .iter()
                .map(|(_, words)| {
                    let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
                    format!("redis.call({})", words.join(","))
                })
                .collect();
            request(&["EVAL", &format!("return{{{}}}", calls.join(",")), "0"])
        } else {
            let inner = commands.iter().flat_map(|(_, words)| request(words));
            request(&["MULTI"]).into_iter().chain(inner).chain(request(&["EXEC"])).collect()
        };
        Plan { scope: Scope::Group(group), actions, deadline: None, bytes, form }
    }

    fn everything(&self, action: Action, words: &[&str]) -> Plan {
        Plan { scope: Scope::All, ..self.plain(0, action, words) }
    }

    /// Something that writes.
    pub(crate) fn write(&mut self) -> Plan {
        match self.random.below(1500) {
            0..3 if self.calm => {}
            0 => return self.everything(Action::Delete(15), &["FLUSHALL"]),
            1 => {
                let own: Mask = 0b11 << (self.database * 2);
                return self.everything(Action::Delete(own), &["FLUSHDB"]);
            }
            2 => return self.everything(Action::Swap, &["SWAPDB", "0", "1"]),
            _ => {}
        }
        let (group, name) = (self.group(), self.random.below(2));
        match group % 6 {
            4 if self.random.below(2) == 0 => self.append(group, name),
            5 => self.count(group, name),
            kind => self.change(group, name, kind == 4),
        }
    }

    fn append(&mut self, group: usize, name: usize) -> Plan {
        let text = text(self.unique);
        let mut bytes = [0; 12];
        bytes.copy_from_slice(text.as_bytes());
        let action = Action::Append { cell: self.cell(name), text: bytes };
        self.plain(group, action, &["APPEND", &self.key(group, name), &text])
    }

    fn count(&mut self, group: usize, name: usize) -> Plan {
        let (key, cell) = (self.key(group, name), self.cell(name));
        match self.random.below(8) {
            0 => {
                let text = (self.unique * 1000).to_string();
                self.plain(group, self.put(name, &text, None, Life::Set(0)), &["SET", &key, &text])
            }
            1 => self.plain(group, Action::Increment { cell, by: -1 }, &["DECR", &key]),
            2 => self.plain(group, Action::Increment { cell, by: 17 }, &["INCRBY", &key, "17"]),
            3 => self.plain(group, Action::Delete(1 << cell), &["DEL", &key]),
            _ => self.plain(group, Action::Increment { cell, by: 1 }, &["INCR", &key]),
        }
    }

    /// A deadline of its own, and when it is.
    fn soon(&mut self) -> (Deadline, u64) {
        (self.unique as Deadline, 5 + self.random.below(250) as u64)
    }

    /// A write that is not of a special kind of group. `long`: values may be longer than one text.
    fn change(&mut self, group: usize, name: usize, long: bool) -> Plan {
        let kind = self.random.below(60);
        let (key, other) = (self.key(group, name), self.key(group, 1 - name));
        let (cell, beside, across) = (self.cell(name), self.cell(1 - name), self.cell(name) ^ 2);
        let database = (1 - self.database).to_string();
        let text = text(self.unique);
        let second = format!("w{:011}", self.unique);
        let one = self.set(&key, name, &text);
        let two = [one.clone(), self.get(&key, name)];
        let (deadline, ms) = self.soon();
        let at = |ms| move |plan: Plan| Plan { deadline: Some((deadline, ms)), ..plan };
        let (ends, lives) = (at(ms), at(1_000_000));
        let ms = ms.to_string();
        let none = Life::Set(0);
        let put = |only, life| self.put(name, &text, only, life);
        match kind {
            0 => self.plain(group, put(Some(false), none), &["SET", &key, &text, "NX"]),
            1 => self.plain(group, put(Some(true), none), &["SET", &key, &text, "XX"]),
            2 => self.plain(
                group,
                Action::Exchange { cell, value: Value::of(text.as_bytes()) },
                &["SET", &key, &text, "GET"],
            ),
            3 => self.plain(
                group,
                Action::Exchange { cell, value: Value::of(text.as_bytes()) },
                &["GETSET", &key, &text],
            ),
            4 => ends(self.plain(group, put(None, Life::Set(deadline)), &["SET", &key, &text, "PX", &ms])),
            5 => ends(self.plain(group, put(None, Life::Set(deadline)), &["PSETEX", &key, &ms, &text])),
            6 => {
                lives(self.plain(group, put(None, Life::Set(deadline)), &["SET", &key, &text, "EX", "1000"]))
            }
            7 => self.plain(group, put(None, Life::Keep), &["SET", &key, &text, "KEEPTTL"]),
            8 if !long => self.plain(group, put(None, Life::Keep), &["SETRANGE", &key, "0", &text]),
            9 => self.plain(group, put(Some(false), none), &["SETNX", &key, &text]),
            10 => self.plain(group, Action::Take(cell), &["GETDEL", &key]),
            11 => {
                ends(self.plain(group, Action::Touch { cell, life: deadline }, &["GETEX", &key, "PX", &ms]))
            }
            12 => self.plain(group, Action::Touch { cell, life: 0 }, &["GETEX", &key, "PERSIST"]),
            13 => self.plain(group, Action::Delete(1 << cell), &["DEL", &key]),
            14 => self.plain(group, Action::Delete(1 << cell | 1 << beside), &["UNLINK", &key, &other]),
            15 => self.plain(group, Action::Delete(1 << cell), &["EXPIRE", &key, "-1"]),
            16 => self.plain(group, Action::Delete(1 << cell), &["PEXPIREAT", &key, "1"]),
            17 => ends(self.plain(group, Action::SetLife { cell, life: deadline }, &["PEXPIRE", &key, &ms])),
            18 => self.plain(group, Action::SetLife { cell, life: 0 }, &["PERSIST", &key]),
            19 => self.plain(group, Action::Rename { from: cell, to: beside }, &["RENAME", &key, &other]),
            20 => {
                let copy = Action::Copy { from: cell, to: beside, replace: true };
                self.plain(group, copy, &["COPY", &key, &other, "REPLACE"])
            }
            21 => {
                let copy = Action::Copy { from: cell, to: across, replace: false };
                self.plain(group, copy, &["COPY", &key, &key, "DB", &database])
            }
            22 => self.plain(group, Action::Move { from: cell, to: across }, &["MOVE", &key, &database]),
            // The rest concerns all keys as far as the stack knows.
            23.. if self.calm || !group.is_multiple_of(3) => {
                self.plain(group, put(None, none), &["SET", &key, &text])
            }
            23 => self.several(group, Form::Script, &two),
            24 => self.several(group, Form::Transaction, &two),
            25 => self.several(group, Form::Transaction, &[one, self.set(&other, 1 - name, &second)]),
            26 => self.several(group, Form::Script, &[one, self.set(&other, 1 - name, &second)]),
            27 => {
                let plan = self.plain(group, one.0, &["MSET", &key, &text, &other, &second]);
                Plan { actions: vec![one.0, self.set(&other, 1 - name, &second).0], ..plan }
            }
            _ => self.plain(group, put(None, none), &["SET", &key, &text]),
        }
    }
}

/// A value that no other write has; 12 bytes.
pub(crate) fn text(unique: u64) -> String {
    format!("v{unique:011}")
}
