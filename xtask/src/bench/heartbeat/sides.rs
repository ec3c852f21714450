//! The three that answer, each in a namespace of its own: heartbeat on the best path that it gets, heartbeat on the user path,
//! and an echo.

use super::prober::Prober;
use super::speech::{Answerer, Speech};
use crate::lab::heartbeat::{Agent, Node, Probing};
use crate::lab::{Mode, Place, Process, Server, Sidecar, Star, redis};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the responders' namespaces are called.
pub(super) const ROLES: [&str; 3] = ["kernel", "user", "echo"];

/// The node that is alive as long as its agent is.
pub(super) const ALWAYS: u32 = 10;
/// The node that is alive as long as its Redis is.
pub(super) const APPLICATION: u32 = 11;
/// The prober, a member as others are.
const PROBER: u32 = 20;
/// The agent that observes faults, and those that observe under load, by their time-outs.
pub(super) const OBSERVERS: [u32; 4] = [30, 31, 32, 33];

/// How long the application's sign of life counts.
pub(super) const LEASE: Duration = Duration::from_millis(100);
const LEASE_ALWAYS: Duration = Duration::from_secs(1);
/// How long a socket echo may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Ports of one side: its own, and those of whoever looks at it from the client's namespace.
struct Ports {
    message: u16,
    admin: u16,
    redis: u16,
    prober: u16,
    observers: [u16; 4],
    observers_admin: [u16; 4],
}

impl Ports {
    fn of(star: &Star, server: &Server) -> Result<Self> {
        // Observers of all sides are in one namespace, and ask to be asked on its loopback.
        let observed = 9190 + 10 * u16::from(server.number());
        let [e, f, g, h] = [observed, observed + 1, observed + 2, observed + 3];
        let wanted = [7946, 9182, 6379, 7950, 7951, 7952, 7953, 7954, e, f, g, h];
        let [message, admin, redis, prober, a, b, c, d, e, f, g, h] = star.choose_ports(wanted)?;
        Ok(Self { message, admin, redis, prober, observers: [a, b, c, d], observers_admin: [e, f, g, h] })
    }
}

/// One of the three.
pub(super) struct Side<'a> {
    pub(super) server: &'a Server,
    star: &'a Star,
    ports: Ports,
    heartbeat: &'a Path,
    echo_program: &'a Path,
    responder: Responder,
    /// The path that it was found on, or `echo`.
    pub(super) path: String,
    speech: Speech,
}

enum Responder {
    Heartbeat {
        agent: Sidecar,
        /// What its second node stands for.
        redis: Option<Process>,
    },
    Echo(Option<Process>),
}

impl<'a> Side<'a> {
    /// Starts the responder of a role.
    pub(super) fn start(
        star: &'a Star,
        role: &str,
        heartbeat: &'a Path,
        echo_program: &'a Path,
    ) -> Result<Self> {
        let server = star.server(role)?;
        let ports = Ports::of(star, server)?;
        let answerer = if role == "echo" { Answerer::Echo } else { Answerer::Heartbeat };
        let speech = Speech::new(answerer, PROBER, ALWAYS)?;
        let (responder, path) = match role {
            "echo" => (Responder::Echo(None), "echo".to_owned()),
            _ => {
                let agent = start_agent(star, server, &ports, heartbeat)?;
                let path = agent.status()?.path()?.to_owned();
                (Responder::Heartbeat { agent, redis: None }, path)
            }
        };
        let mut side = Self { server, star, ports, heartbeat, echo_program, responder, path, speech };
        if answerer == Answerer::Echo {
            side.start_application()?;
        }
        Ok(side)
    }

    /// True if it is an echo: it has no agent, so nobody can observe it but the prober.
    pub(super) fn is_echo(&self) -> bool {
        matches!(self.responder, Responder::Echo(_))
    }

    /// Why it is not on the kernel path.
    pub(super) fn causes(&self) -> Result<Vec<String>> {
        match &self.responder {
            Responder::Heartbeat { agent, .. } => Ok(agent.status()?.causes()),
            Responder::Echo(_) => Ok(Vec::new()),
        }
    }

    /// The path that it says it is on now.
    pub(super) fn path_now(&self) -> Result<String> {
        match &self.responder {
            Responder::Heartbeat { agent, .. } => Ok(agent.status()?.path()?.to_owned()),
            Responder::Echo(_) => Ok(self.path.clone()),
        }
    }

    /// Whoever probes it from the client's namespace.
    pub(super) fn prober(&self) -> Prober {
        Prober {
            place: self.star.client(),
            from: SocketAddr::new(self.server.client_address(), self.ports.prober),
            to: self.address(),
            speech: self.speech,
        }
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.server.address(), self.ports.message)
    }

    /// The application: the echo itself, or the Redis that a node of the agent stands for.
    pub(super) fn application(&self) -> Result<&Process> {
        let (Responder::Echo(process) | Responder::Heartbeat { redis: process, .. }) = &self.responder;
        process.as_ref().with_context(|| format!("the application of {} is not running", self.server.role()))
    }

    /// Starts the application, after the one that there was has been killed.
    pub(super) fn start_application(&mut self) -> Result<()> {
        let (place, folder, role) = (self.server.place(), self.star.folder(), self.server.role());
        let name = format!("application-{role}");
        let address = self.address();
        match &mut self.responder {
            Responder::Echo(process) => {
                *process = None;
                let arguments = ["socket", &address.to_string()];
                let mut echo = Process::start(&place, folder, &name, self.echo_program, &arguments)?;
                echo.wait_until(START_LIMIT, || answers(&self.star.client(), address))?;
                *process = Some(echo);
            }
            Responder::Heartbeat { redis: process, .. } => {
                *process = None;
                let open = self.star.has_namespaces();
                *process = Some(redis::start(&place, folder, &name, self.ports.redis, open, &[])?);
            }
        }
        Ok(())
    }

    /// The application is not needed any more. An echo goes on.
    pub(super) fn stop_application(&mut self) {
        if let Responder::Heartbeat { redis, .. } = &mut self.responder {
            *redis = None;
        }
    }

    /// An agent in the client's namespace that observes one of the nodes.
    pub(super) fn observer(
        &self,
        number: usize,
        node: u32,
        probing: Probing,
        urgent: bool,
    ) -> Result<Sidecar> {
        let nodes = [Node { id: OBSERVERS[number], lease: LEASE_ALWAYS, redis: None }];
        let name = format!("observer-{}-{number}", self.server.role());
        let agent = Agent {
            name: &name,
            program: self.heartbeat,
            place: self.star.client(),
            folder: self.star.folder(),
            pins: pins(self.star, &name),
            // Nobody probes it whose figures count.
            mode: Mode::User,
            address: SocketAddr::new(self.server.client_address(), self.ports.observers[number]),
            admin: self.ports.observers_admin[number],
            probing,
            nodes: &nodes,
            members: &[(node, self.address())],
            urgent,
        };
        agent.start().with_context(|| format!("an observer of {}", self.server.role()))
    }

    /// Ends it in order.
    pub(super) fn stop(self) -> Result<()> {
        match self.responder {
            Responder::Heartbeat { agent, .. } => agent.stop(),
            Responder::Echo(_) => Ok(()),
        }
    }
}

/// Starts the agent of a side. It probes all who may probe it, at its leisure.
fn start_agent(star: &Star, server: &Server, ports: &Ports, program: &Path) -> Result<Sidecar> {
    let role = server.role();
    let name = format!("heartbeat-{role}");
    let second = Duration::from_secs(1);
    let redis = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.redis));
    let at_client = |port| SocketAddr::new(server.client_address(), port);
    let observers = OBSERVERS.into_iter().zip(ports.observers.map(at_client));
    let members: Vec<_> = std::iter::once((PROBER, at_client(ports.prober))).chain(observers).collect();
    let agent = Agent {
        name: &name,
        program,
        place: server.place(),
        folder: star.folder(),
        pins: pins(star, &name),
        mode: if role == "kernel" { Mode::Auto } else { Mode::User },
        address: SocketAddr::new(server.address(), ports.message),
        admin: ports.admin,
        probing: Probing { interval: second, timeout: second * 2, confirmation: second },
        nodes: &[
            Node { id: ALWAYS, lease: LEASE_ALWAYS, redis: None },
            Node { id: APPLICATION, lease: LEASE, redis: Some(redis) },
        ],
        members: &members,
        urgent: false,
    };
    agent.start().with_context(|| format!("heartbeat as {role}"))
}

fn pins(star: &Star, name: &str) -> PathBuf {
    star.bpf_folder().join(name)
}

/// Whether something sends datagrams back.
fn answers(place: &Place, server: SocketAddr) -> bool {
    let asked = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.connect(server)?;
        socket.send(b"are you there")?;
        Ok(socket.recv(&mut [0; 64])?)
    };
    place.run(asked).is_ok()
}
