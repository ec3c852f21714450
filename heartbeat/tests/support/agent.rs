//! Agents of a cluster, each a process of the real binary in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use heartbeat::prober::event::{Member, State};
use heartbeat::telling::OWNER;
use heartbeat::telling::status::Status;
use xps_runtime::admin::address::Address;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A key file's text.
pub(crate) const KEY: &str = "1 000102030405060708090a0b0c0d0e0f\n";

/// An agent, which ends with the test.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    /// Where it listens for status and commands.
    pub(crate) admin: Address,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// Starts `command` with the configuration `text` in `folder`, and a key if there is none yet. It answers when this is
    /// over.
    pub(crate) fn start(command: Command, folder: &Path, text: &str) -> Self {
        Self::start_at(command, folder, text, Address::Unix(folder.join("admin.sock")))
    }

    /// The same with an admin interface there.
    pub(crate) fn start_at(mut command: Command, folder: &Path, text: &str, admin: Address) -> Self {
        let (file, key) = (folder.join("heartbeat.toml"), folder.join("key"));
        if !key.exists() {
            write_key(folder, KEY);
        }
        fs::write(&file, text).expect("a file");
        command.args(["run", "--config"]).arg(file).args(["--set", &format!("listen.admin={admin}")]);
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
        command.stdin(Stdio::null()).stderr(log);
        let agent = Self { child: command.spawn().expect("heartbeat starts"), admin };
        until("a start", || OWNER.get(&agent.admin, "/readyz").ok());
        agent
    }

    /// Its process.
    pub(crate) fn id(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        send(self.id(), signal);
    }

    /// Ends it in order; whether it did.
    pub(crate) fn stop(mut self) -> bool {
        self.signal(libc::SIGTERM);
        self.child.wait().expect("its end").success()
    }

    /// How it is.
    pub(crate) fn status(&self) -> Status {
        OWNER.get_as(&self.admin, "/status", |text| serde_json::from_str(text)).expect("a status")
    }

    /// Its members.
    pub(crate) fn members(&self) -> Vec<Member> {
        OWNER.get_as(&self.admin, "/members", |text| serde_json::from_str(text)).expect("members")
    }

    /// Waits until it sees a member so.
    pub(crate) fn sees(&self, node: u32, state: State) {
        until(&format!("node {node} to be {state}"), || {
            let members = self.members();
            let member = members.iter().find(|member| member.node == node)?;
            // Until it has answered, a member is alive by default.
            (member.state == state && member.round_trip_us.is_some()).then_some(())
        });
    }
}

/// Sends a signal to a process of the test's.
pub(crate) fn send(id: i32, signal: i32) {
    // SAFETY: no memory is involved. The process is a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(id, signal) }, 0, "signal {signal}");
}

/// Writes the key file, for its owner only.
pub(crate) fn write_key(folder: &Path, text: &str) {
    let (path, new) = (folder.join("key"), folder.join("key.new"));
    fs::write(&new, text).expect("a file");
    fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).expect("its owner");
    // At once, as tools that write secrets do.
    fs::rename(new, path).expect("a file");
}

/// What every agent of a cluster has in its configuration; `members` are their numbers and addresses.
pub(crate) fn cluster(members: &[(u32, SocketAddr)]) -> String {
    let list: Vec<_> = members.iter().map(|(node, address)| format!("\"{node} {address}\"")).collect();
    format!(
        "[cluster]\nkey_file = \"key\"\n[probe]\ninterval = \"50ms\"\ntimeout = \"500ms\"\n[members]\nlist = [{}]\n",
        list.join(", ")
    )
}

/// Tries again and again until `attempt` gives something.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "{what} took too long");
        sleep(Duration::from_millis(10));
    }
}
