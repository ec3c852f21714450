//! Sockets and timer around the engine, on a thread of their own, so that nothing else of the agent makes them late.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::clock::Clock;
use super::counts::Counts;
use super::engine::{Effect, Engine, EngineError, Local, Now};
use super::event::{Event, Member};
use super::socket::{Buffer, MessageSocket};
use crate::keys::Ring;
use crate::members::Members;
use crate::priority;
use crate::timer::Timer;

/// Events that a slow reader may be behind.
const EVENTS: usize = 4096;

/// Datagrams between two looks at the timer: a flood must not keep the detectors from probing.
const BATCH: usize = 256;

/// A time that does not come, and that the kernel takes.
const NEVER_NS: u64 = i64::MAX as u64;

/// What the thread is asked for.
enum Order {
    Members(Members, Answer<Result<(), EngineError>>),
    Nodes(Vec<Local>, u64, Answer<Result<(), EngineError>>),
    Ring(Ring, Answer<Result<(), EngineError>>),
    View(Answer<Vec<Member>>),
}

type Answer<T> = oneshot::Sender<T>;

/// A handle to the thread.
#[derive(Debug)]
pub struct Prober {
    orders: mpsc::UnboundedSender<Order>,
    events: broadcast::Sender<Arc<Event>>,
    thread: Option<JoinHandle<()>>,
}

/// Why nothing is probed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be had.
    #[error("cannot listen on {address}: {source}; stop what listens there, or change [listen]")]
    Socket {
        /// Its address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The thread cannot be had.
    #[error("no thread, or no timer, for probing: {0}")]
    Thread(#[from] io::Error),
    /// It ended.
    #[error("the prober has ended; the log says why")]
    Gone,
    /// It could not do what it was asked for.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Prober {
    /// Binds the sockets, and starts the thread. It ends when the handle is dropped.
    ///
    /// # Errors
    /// If a socket or the thread cannot be had.
    pub fn start(engine: Engine, addresses: &[SocketAddr], counts: Counts) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (sockets, timer) = {
            let _inside = runtime.enter();
            let bind = |&address: &SocketAddr| {
                let socket = MessageSocket::bind(address);
                socket.map_err(|source| StartError::Socket { address, source })
            };
            (addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()?, Timer::new()?)
        };
        let (orders, taken) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS);
        let work = Work {
            engine,
            sockets,
            timer,
            buffer: Buffer::default(),
            counts,
            orders: taken,
            events: events.clone(),
        };
        let thread = std::thread::Builder::new().name("prober".to_owned()).spawn(move || {
            // Not in real time: a stranger's datagrams wake it, too.
            priority::raise("prober");
            if let Err(error) = runtime.block_on(work.run()) {
                tracing::error!(%error, "nothing is probed any more");
            }
        })?;
        Ok(Self { orders, events, thread: Some(thread) })
    }

    /// Changes of members from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// From now on these are the members.
    ///
    /// # Errors
    /// If a table has no place.
    pub async fn set_members(&self, members: Members) -> Result<(), StartError> {
        Ok(self.ask(|answer| Order::Members(members, answer)).await??)
    }

    /// From now on these are the nodes of this host; `seed` decides what is random.
    ///
    /// # Errors
    /// If a table has no place.
    pub async fn set_nodes(&self, nodes: Vec<Local>, seed: u64) -> Result<(), StartError> {
        Ok(self.ask(|answer| Order::Nodes(nodes, seed, answer)).await??)
    }

    /// From now on these keys hold.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub async fn set_ring(&self, ring: Ring) -> Result<(), StartError> {
        Ok(self.ask(|answer| Order::Ring(ring, answer)).await??)
    }

    /// All members as all nodes of this host see them.
    ///
    /// # Errors
    /// If the prober has ended.
    pub async fn view(&self) -> Result<Vec<Member>, StartError> {
        self.ask(Order::View).await
    }

    async fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, StartError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).map_err(|_| StartError::Gone)?;
        answered.await.map_err(|_| StartError::Gone)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // Without a sender, the thread ends.
        self.orders = mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Work {
    engine: Engine,
    sockets: Vec<MessageSocket>,
    timer: Timer,
    buffer: Buffer,
    counts: Counts,
    orders: mpsc::UnboundedReceiver<Order>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Work {
    async fn run(mut self) -> io::Result<()> {
        loop {
            // Without peers nothing becomes due: the end of time.
            let due_ns = self.engine.next_deadline_ns().unwrap_or(NEVER_NS);
            tokio::select! {
                readable = readable(&self.sockets) => readable?,
                due = self.timer.until(due_ns) => due?,
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return Ok(()),
                },
            }
            // All that had come by now is heard before anybody is judged.
            let start = Clock::read();
            self.receive(&start);
            let clock = Clock::read();
            self.engine.tick(now(&clock));
            self.effect();
        }
    }

    /// Takes in what came before `start`. Of what comes meanwhile, some is left for the next time.
    fn receive(&mut self, start: &Clock) {
        let buffer = &mut self.buffer;
        for socket in &self.sockets {
            let mut later = 0;
            while later < BATCH {
                let arrived = match socket.receive(buffer, start) {
                    Ok(Some(arrived)) => arrived,
                    Ok(None) => break,
                    Err(error) => {
                        // What an earlier datagram has met, as by an ICMP message, says nothing about this socket.
                        tracing::debug!(%error, "receiving");
                        later += 1;
                        continue;
                    }
                };
                later += usize::from(arrived.at_ns >= start.now_ns());
                let at = Now { ns: arrived.at_ns, real_ns: start.real_ns() };
                if let Some(reply) = self.engine.receive(at, &buffer.bytes[..arrived.len], arrived.from)
                    && let Err(error) = socket.send(&reply.bytes, reply.to, arrived.to)
                {
                    self.counts.unsent.with_label_values(&["failed"]).inc();
                    tracing::debug!(%error, to = %reply.to, "a reply was not sent");
                }
            }
        }
    }

    /// Sends, and makes known.
    fn effect(&mut self) {
        for effect in self.engine.effects() {
            match effect {
                Effect::Send(outgoing) => {
                    let socket = self.sockets.iter().find(|socket| socket.reaches(outgoing.to));
                    let sent = socket.map_or_else(
                        || Err(io::Error::other("no socket of this kind of address is in listen.addresses")),
                        |socket| socket.send(&outgoing.bytes, outgoing.to, None),
                    );
                    match sent {
                        Ok(()) => self.counts.sent.inc(),
                        Err(error) => {
                            self.counts.unsent.with_label_values(&["failed"]).inc();
                            tracing::debug!(%error, to = %outgoing.to, "a message was not sent");
                        }
                    }
                }
                Effect::Changed(event) => {
                    // Nobody need be listening.
                    let _ = self.events.send(Arc::new(event));
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let now = now(&Clock::read());
        // Whoever asked may have gone.
        match order {
            Order::Members(members, answer) => {
                let _ = answer.send(self.engine.set_members(now, members).map_err(Into::into));
            }
            Order::Nodes(nodes, seed, answer) => {
                let _ = answer.send(self.engine.set_nodes(now, &nodes, seed));
            }
            Order::Ring(ring, answer) => {
                let _ = answer.send(self.engine.set_ring(ring).map_err(Into::into));
            }
            Order::View(answer) => {
                let _ = answer.send(self.engine.view(now));
            }
        }
    }
}

const fn now(clock: &Clock) -> Now {
    Now { ns: clock.now_ns(), real_ns: clock.real_ns() }
}

/// Waits until one of the sockets has something.
async fn readable(sockets: &[MessageSocket]) -> io::Result<()> {
    poll_fn(|context| {
        let mut readable = Poll::Pending;
        for socket in sockets {
            if let Poll::Ready(ready) = socket.poll_readable(context) {
                readable = Poll::Ready(ready);
            }
        }
        readable
    })
    .await
}
