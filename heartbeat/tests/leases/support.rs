//! Nodes as they are configured, and what becomes of their leases.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use heartbeat::lease::{LeaseError, LeaseView, Leases, Settings};
use heartbeat_fastpath::wire::NodeId;
use tokio::sync::watch;
use xps_runtime::config::{Reader, Sources};

/// How long something may take that is to happen: a machine may be very busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn node(number: u32) -> NodeId {
    NodeId::new(number).expect("not 0")
}

/// What is read from a node's table with these keys.
pub(crate) fn settings(keys: &str) -> Settings {
    let text = format!("[node]\n{keys}");
    let sources = Sources { file: Some(("test.toml", &text)), prefix: "HEARTBEAT", ..Sources::default() };
    let mut reader = Reader::new(&sources);
    let settings = Settings::ask(&mut reader.section("node"));
    reader.finish().expect("valid keys");
    settings
}

/// Leases, and what their sink was told.
pub(crate) struct Host {
    pub(crate) leases: Leases,
    pub(crate) told: Arc<Mutex<BTreeMap<NodeId, Vec<u64>>>>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Host {
    pub(crate) fn try_start(nodes: &[(u32, &str)], socket: Option<&Path>) -> Result<Self, LeaseError> {
        let told: Arc<Mutex<BTreeMap<NodeId, Vec<u64>>>> = Arc::default();
        let own = Arc::clone(&told);
        let sink = move |node, until_ns| {
            own.lock().expect("what was told").entry(node).or_default().push(until_ns);
        };
        let (stop, stopped) = watch::channel(false);
        let leases = Leases::start(list(nodes), socket, Arc::new(sink), stopped)?;
        Ok(Self { leases, told, stop })
    }

    pub(crate) fn start(nodes: &[(u32, &str)]) -> Self {
        Self::try_start(nodes, None).expect("leases")
    }

    pub(crate) fn view(&self, number: u32) -> LeaseView {
        let found = self.leases.views().into_iter().find(|view| view.node == number);
        found.expect("the node is there")
    }

    /// What the sink was told of a node.
    pub(crate) fn told(&self, number: u32) -> Vec<u64> {
        self.told.lock().expect("what was told").get(&node(number)).cloned().unwrap_or_default()
    }

    /// Waits until a node's lease is so.
    pub(crate) fn wait(&self, number: u32, what: &str, is_so: impl Fn(&LeaseView) -> bool) -> LeaseView {
        wait_for(&format!("node {number} {what}"), || {
            let view = self.view(number);
            if is_so(&view) { Ok(view) } else { Err(format!("{view:?}")) }
        })
    }

    pub(crate) fn wait_alive(&self, number: u32) {
        self.wait(number, "is alive", |view| view.alive);
    }

    pub(crate) fn wait_lapsed(&self, number: u32) {
        self.wait(number, "has lapsed", |view| !view.alive);
    }

    /// Waits until a node has failed with such words.
    pub(crate) fn wait_failure(&self, number: u32, words: &str) {
        let says = |view: &LeaseView| view.last_failure.as_ref().is_some_and(|text| text.contains(words));
        self.wait(number, &format!("says {words:?}"), says);
    }
}

pub(crate) fn list(nodes: &[(u32, &str)]) -> Vec<(NodeId, Settings)> {
    nodes.iter().map(|(number, keys)| (node(*number), settings(keys))).collect()
}

/// Waits until there is something; on giving up, it says why there is not.
pub(crate) fn wait_for<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < until, "waiting until {what}: {why}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, signal: i32) {
        let process = i32::try_from(self.0.id()).expect("a process");
        // SAFETY: plain numbers, of a process that has not been waited for.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
