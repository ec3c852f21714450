//! One client: what it asks, how its connection breaks, and what it writes down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{Plan, Planner, Scope, Told};
use crate::history::{Notice, Operation, Step, Steps};
use crate::model::Action;
use crate::reply::Reply;
use crate::support::{ACCELERATED, Client, PATIENCE, PLAIN, Place, Random, SERVER_V4, connect_from, is_lost};

/// Redis looks at a clock that stands still for a millisecond.
const CLOCK_NS: u64 = 2_000_000;

/// How long calm and rush last.
const CALM_NS: u64 = 150_000_000;

/// How long a broken connection may linger in Redis before it is killed there.
const LINGER: Duration = Duration::from_millis(200);

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) start: Instant,
    pub(crate) stop: AtomicBool,
    /// The last value that was given out.
    pub(crate) last: AtomicU64,
    /// One of how many operations of a writer ends with a cut connection; 0 is none.
    pub(crate) cut_one_in: AtomicU32,
    /// What names begin with.
    pub(crate) prefix: String,
}

impl Run {
    /// `CLOCK_MONOTONIC`, in nanoseconds since just before the start, never 0.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }

    /// Two thirds of the time little is written, and nothing that concerns all keys: so there are entries to be hit, which the
    /// first writes of the rest find.
    fn calm(&self) -> bool {
        !(self.now() / CALM_NS).is_multiple_of(3)
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tells all clients to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// From now on one of so many operations of a writer ends with a cut connection; 0 is none.
    pub(crate) fn cut_one_in(&self, operations: u32) {
        self.cut_one_in.store(operations, Ordering::Relaxed);
    }
}

/// What a client is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) port: u16,
    /// How many of a hundred operations are writes.
    pub(crate) writes: usize,
    pub(crate) database: usize,
    pub(crate) resp3: bool,
}

/// What a client has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) operations: Vec<(Scope, Operation)>,
    pub(crate) cuts: u64,
    pub(crate) lost: u64,
    /// `GET`s that were answered, by the stack or by Redis.
    pub(crate) gets: u64,
    /// `GET`s of which that is not known.
    pub(crate) gets_unknown: u64,
    /// Commands that scripts have called.
    pub(crate) called: u64,
    /// Commands that were queued and not carried out.
    pub(crate) dropped: u64,
}

/// One client.
pub(crate) struct Worker {
    run: Arc<Run>,
    place: Place,
    kind: Kind,
    random: Random,
    done: Done,
    /// The connection, and its number in Redis.
    client: Option<(Client, u64)>,
}

/// What became of something that was sent.
enum Fate {
    Answered,
    /// The connection is gone.
    Lost,
}

impl Worker {
    /// A client that is not connected yet.
    pub(crate) fn new(run: Arc<Run>, place: Place, kind: Kind, random: Random) -> Self {
        Self { run, place, kind, random, done: Done::default(), client: None }
    }

    /// What it shares with the others.
    pub(crate) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run)
    }

    /// Works until the run stops.
    pub(crate) fn work(mut self) -> Result<Done> {
        while !self.run.stopped() {
            if self.client.is_none() {
                self.connect()?;
                continue;
            }
            // Of those who read little is to be learnt by it.
            let often = if self.kind.writes == 0 { 10 } else { 1 };
            let one_in = self.run.cut_one_in.load(Ordering::Relaxed) as usize * often;
            let cut = one_in != 0 && self.random.below(one_in) == 0;
            if self.random.below(200) == 0 && self.kind.writes != 0 && !self.run.calm() {
                self.compare_and_set()?;
                continue;
            }
            // Some at once: all begin when the first byte is sent.
            let count = if self.random.below(8) == 0 { 2 + self.random.below(5) } else { 1 };
            let plans: Vec<Plan> = (0..count).map(|_| self.plan(cut)).collect();
            if cut {
                self.cut(plans)?
            } else {
                self.perform(plans, None)?
            };
            if self.kind.port == PLAIN {
                // Those who read here are there for the comparison; the machine is for the others.
                sleep(Duration::from_micros(self.random.below(400) as u64));
            }
        }
        Ok(self.done)
    }

    /// Something to ask. `often`: rather a write, if the client writes at all.
    fn plan(&mut self, often: bool) -> Plan {
        let one_in = if self.run.calm() { 20 } else { 1 };
        let percent = if often && self.kind.writes != 0 { 70 * one_in } else { self.kind.writes };
        let write = self.random.below(100 * one_in) < percent;
        let mut planner = self.planner();
        if write { planner.write() } else { planner.read() }
    }

    fn planner(&mut self) -> Planner<'_> {
        Planner {
            random: &mut self.random,
            prefix: &self.run.prefix,
            database: self.kind.database,
            calm: self.run.calm(),
            unique: self.run.last.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Connects, as long as it takes; without success when the run stops.
    fn connect(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.run.stopped() {
            match self.try_connect() {
                Ok(client) => {
                    self.client = Some(client);
                    return Ok(());
                }
                Err(error) if is_lost(&error) && start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error).context("connecting"),
            }
        }
        Ok(())
    }

    fn try_connect(&self) -> Result<(Client, u64)> {
        let mut client = connect_from(&self.place, SocketAddr::new(SERVER_V4, self.kind.port))?;
        if self.kind.resp3 {
            client.command("HELLO 3")?;
        }
        client.check(&format!("SELECT {}", self.kind.database), "+OK\r\n")?;
        let Reply::Integer(id) = Reply::parse(&client.command("CLIENT ID")?)? else { bail!("no client id") };
        Ok((client, id.unsigned_abs()))
    }

    /// Sends all plans at once and writes down what comes back. `guard` is what a watched key held: if the first plan took
    /// place, it still did.
    fn perform(&mut self, plans: Vec<Plan>, guard: Option<Step>) -> Result<()> {
        let Some((client, _)) = &mut self.client else { bail!("not connected") };
        let bytes = plans.iter().flat_map(|plan| plan.bytes.iter().copied()).collect::<Vec<u8>>();
        let from = self.run.now();
        let mut fate = fate_of(client.send(&bytes))?;
        let mut answered = 0;
        while let (Fate::Answered, Some(plan)) = (&fate, plans.get(answered)) {
            let mut replies = Vec::new();
            for _ in 0..plan.replies() {
                match client.reply() {
                    Ok(reply) => replies.push(Reply::parse(&reply)?),
                    Err(error) => {
                        fate = fate_of(Err(error))?;
                        break;
                    }
                }
            }
            if let Fate::Answered = fate {
                let to = self.run.now();
                let told = plan.told(&replies)?;
                note(self.kind, &mut self.done, plan, guard, told, (from, to));
                answered += 1;
            }
        }
        if let Fate::Lost = fate {
            self.done.lost += 1;
            self.lost(&plans[answered..], guard, from)?;
        }
        Ok(())
    }

    /// A write that takes place only if nobody has changed the key since it was read.
    fn compare_and_set(&mut self) -> Result<()> {
        let mut planner = self.planner();
        // Only groups whose values are texts.
        let (group, name) = (planner.random.below(4), planner.random.below(2));
        let key = planner.key(group, name);
        let plan = planner.guarded(group, name);
        let Some((client, _)) = &mut self.client else { bail!("not connected") };
        let from = self.run.now();
        let asked = (|| {
            client.check(&format!("WATCH {key}"), "+OK\r\n")?;
            client.command(&format!("GET {key}"))
        })();
        let reply = match asked {
            Ok(reply) => Reply::parse(&reply)?,
            Err(error) => {
                fate_of(Err(error))?;
                self.done.gets_unknown += 1;
                self.done.lost += 1;
                return self.lost(&[], None, from);
            }
        };
        let action = Action::Get(self.kind.database * 2 + name);
        let seen = Step { action, seen: reply.answers(action)? };
        let to = self.run.now();
        self.done.gets += 1;
        // While watching nothing comes from the cache (C7).
        let steps = Steps::One(seen);
        let read = Operation { from, to, certain: true, notice: Notice::AtOnce, cached: false, steps };
        self.done.operations.push((Scope::Group(group), read));
        self.perform(vec![plan], Some(seen))
    }

    /// Sends, and breaks the connection: within a command, or before its replies.
    fn cut(&mut self, plans: Vec<Plan>) -> Result<()> {
        let Some((mut client, id)) = self.client.take() else { bail!("not connected") };
        self.done.cuts += 1;
        let within = self.random.below(2) == 0;
        let plans = if within { &plans[..1] } else { &plans[..] };
        let mut bytes = plans.iter().flat_map(|plan| plan.bytes.iter().copied()).collect::<Vec<u8>>();
        if within {
            bytes.truncate(1 + self.random.below(bytes.len() - 1));
        }
        let from = self.run.now();
        fate_of(client.send(&bytes))?;
        if self.random.below(2) == 0 {
            sleep(Duration::from_micros(self.random.below(2000) as u64));
        }
        if self.random.below(2) == 0 {
            client.reset()?;
        }
        // The last request of what was sent is not whole: nothing of it can take place.
        if within {
            return Ok(());
        }
        self.unknown(plans, None, from, id)
    }

    /// The connection broke before these were answered.
    fn lost(&mut self, plans: &[Plan], guard: Option<Step>, from: u64) -> Result<()> {
        let Some((client, id)) = self.client.take() else { bail!("not connected") };
        drop(client);
        self.unknown(plans, guard, from, id)
    }

    fn unknown(&mut self, plans: &[Plan], guard: Option<Step>, from: u64, id: u64) -> Result<()> {
        let to = if plans.iter().all(Plan::is_get) { from } else { self.fence(id)? };
        for plan in plans {
            self.done.gets_unknown += plan.gets();
            if plan.is_get() {
                continue;
            }
            let steps = guard.into_iter().chain(plan.unknown()).collect();
            write_down(self.kind, &mut self.done, plan, steps, (from, to), false);
        }
        Ok(())
    }

    /// Waits until Redis has no such client any more, or kills it there. After this nothing of it can take place.
    fn fence(&self, id: u64) -> Result<u64> {
        let start = Instant::now();
        loop {
            let attempt = (|| {
                let mut plain = connect_from(&self.place, SocketAddr::new(SERVER_V4, PLAIN))?;
                while start.elapsed() < LINGER {
                    let list = plain.command(&format!("CLIENT LIST ID {id}"))?;
                    if !list.windows(3).any(|three| three == b"id=") {
                        return Ok(());
                    }
                    sleep(Duration::from_millis(5));
                }
                let kill = Reply::parse(&plain.command(&format!("CLIENT KILL ID {id}"))?)?;
                ensure!(matches!(kill, Reply::Integer(0 | 1)), "CLIENT KILL: {kill:?}");
                Ok(())
            })();
            match attempt {
                Ok(()) => return Ok(self.run.now()),
                Err(error) if is_lost(&error) && start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error).context("waiting for the end of a connection"),
            }
        }
    }
}

fn fate_of(result: Result<()>) -> Result<Fate> {
    match result {
        Ok(()) => Ok(Fate::Answered),
        Err(error) if is_lost(&error) => Ok(Fate::Lost),
        Err(error) => Err(error),
    }
}

fn note(kind: Kind, done: &mut Done, plan: &Plan, guard: Option<Step>, told: Told, times: (u64, u64)) {
    let Told::Done(steps) = told else {
        done.dropped += plan.actions.len() as u64;
        return;
    };
    done.gets += plan.gets();
    done.called += plan.called();
    write_down(kind, done, plan, guard.into_iter().chain(steps).collect(), times, true);
}

/// Adds an operation to the history, and the deadline that it has set.
fn write_down(
    kind: Kind,
    done: &mut Done,
    plan: &Plan,
    steps: Vec<Step>,
    (from, to): (u64, u64),
    certain: bool,
) {
    let accelerated = kind.port == ACCELERATED;
    let notice = if accelerated { Notice::AtOnce } else { Notice::Late };
    let steps = match steps[..] {
        [step] => Steps::One(step),
        _ => Steps::Many(steps.into()),
    };
    let cached = accelerated && plan.is_get();
    done.operations.push((plan.scope, Operation { from, to, certain, notice, cached, steps }));
    // Those that are over long after the run say nothing.
    if let Some((deadline, ms)) = plan.deadline.filter(|(_, ms)| *ms < 10_000) {
        let ns = ms * 1_000_000;
        let notice = if accelerated { Notice::Known } else { Notice::Late };
        let steps = Steps::One(Step { action: Action::Expire(deadline), seen: None });
        let (from, to) = (from + ns.saturating_sub(CLOCK_NS), to + ns + CLOCK_NS);
        done.operations
            .push((plan.scope, Operation { from, to, certain: true, notice, cached: false, steps }));
    }
}
