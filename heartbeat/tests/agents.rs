//! Clusters of the real binary on the user path, on loopback, without privilege: who is seen how, what is told of it, and what a
//! reload changes.

#[path = "support/agent.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod agent;
#[path = "../../kv-cache/tests/support/exposition.rs"]
mod exposition;
#[path = "../../xps-runtime/tests/support/route.rs"]
mod page;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use agent::{Agent, KEY, PATIENCE, cluster, until, write_key};
use heartbeat::prober::event::{Event, State};
use heartbeat::telling::OWNER;
use tempfile::TempDir;
use xps_runtime::admin::address::Address;

/// A cluster whose agents each have an address of loopback, and a folder.
struct Cluster {
    folders: Vec<TempDir>,
    members: Vec<(u32, SocketAddr)>,
}

impl Cluster {
    fn new(size: u8) -> Self {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its address").port();
        let member = |i| (u32::from(i), SocketAddr::from((Ipv4Addr::new(127, 0, 9, i), port)));
        let folders = (0..size).map(|_| tempfile::tempdir().expect("a folder")).collect();
        Self { folders, members: (1..=size).map(member).collect() }
    }

    fn folder(&self, node: u32) -> &Path {
        self.folders[node as usize - 1].path()
    }

    fn text(&self, node: u32, more: &str) -> String {
        let (_, address) = self.members[node as usize - 1];
        format!(
            "{}[listen]\nport = {}\naddresses = [\"{}\"]\n[path]\nmode = \"user\"\n[node]\nid = {node}\n{more}",
            cluster(&self.members),
            address.port(),
            address.ip()
        )
    }

    fn start(&self, node: u32, more: &str) -> Agent {
        Agent::start(Command::new(heartbeat()), self.folder(node), &self.text(node, more))
    }
}

fn heartbeat() -> &'static str {
    env!("CARGO_BIN_EXE_heartbeat")
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output: Output = Command::new(heartbeat()).args(arguments).output().expect("heartbeat runs");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn who_is_killed_has_failed_and_who_comes_back_is_alive() {
    let cluster = Cluster::new(3);
    let told = cluster.folder(1).join("told");
    let script = format!("echo $HEARTBEAT_NODE $HEARTBEAT_TO >> {}", told.display());
    let hook = format!("[hook]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    let [one, two, three] = [cluster.start(1, &hook), cluster.start(2, ""), cluster.start(3, "")];
    let events = events(&one.admin);
    for (observer, node) in [(&one, 2), (&one, 3), (&two, 1), (&two, 3), (&three, 1), (&three, 2)] {
        observer.sees(node, State::Alive);
    }
    drop(three);
    one.sees(3, State::Failed);
    two.sees(3, State::Failed);
    let three = cluster.start(3, "");
    for (observer, node) in [(&one, 3), (&two, 3), (&three, 1), (&three, 2)] {
        observer.sees(node, State::Alive);
    }
    // Each change was told to who listened, and to the hook, in order. At the start members may be late.
    let mut of_three = events.filter(|event| event.node == 3).skip_while(|event| event.to != State::Failed);
    assert_eq!(of_three.next().map(|event| event.from), Some(State::Suspect));
    assert_eq!(of_three.next().map(|event| (event.from, event.to)), Some((State::Failed, State::Alive)));
    until("the hook", || {
        let told = fs::read_to_string(&told).ok()?;
        let (_, after) = told.split_once("3 failed\n")?;
        after.contains("3 alive\n").then_some(())
    });
    assert_eq!(one.members().len(), 2);
    let status = one.status();
    assert_eq!((status.path.as_str(), status.members["alive"]), ("user", 2));
    assert!(status.path_causes[0].starts_with("configured: ") && status.replies["user"] > 0);
    for agent in [one, two, three] {
        assert!(agent.stop());
    }
}

/// The changes that an agent tells from now on.
fn events(admin: &Address) -> impl Iterator<Item = Event> + use<> {
    let Address::Unix(socket) = admin else { panic!("no unix socket") };
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    assert!(lines.any(|line| line.is_empty()), "a head");
    lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

#[test]
fn an_application_that_does_not_call_is_not_alive() {
    let cluster = Cluster::new(2);
    let lease = "lease = \"300ms\"\nlease_by = \"call\"\n";
    let calls = cluster.folder(2).join("calls.sock");
    let socket = format!("{lease}[lease]\nsocket = \"{}\"\n", calls.display());
    let [one, two] = [cluster.start(1, ""), cluster.start(2, &socket)];
    let call = || OWNER.ask(&two.admin, "POST", "/lease/2").expect("an answer").code;
    let datagrams = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    until("node 2 to be alive", || {
        assert_eq!(call(), 204);
        one.members().first().filter(|member| member.round_trip_us.is_some()).map(drop)
    });
    // Nobody calls any more, whatever the agent itself does.
    one.sees(2, State::Failed);
    assert!(two.status().dropped["lapsed"] > 0);
    until("node 2 to be alive again", || {
        datagrams.send_to(b"2\n", &calls).expect("sent");
        one.members().first().filter(|member| member.state == State::Alive).map(drop)
    });
    for (node, code) in [(1, 409), (3, 409), (0, 404)] {
        let answer = OWNER.ask(&two.admin, "POST", &format!("/lease/{node}")).expect("an answer");
        assert_eq!(answer.code, code, "{}", answer.body);
    }
}

#[test]
fn a_lease_that_lapses_may_be_told() {
    let cluster = Cluster::new(2);
    let lease = "lease = \"300ms\"\nlease_by = \"command\"\nlease_command = [\"/bin/false\"]\nwhen_lapsed = \"degraded\"\n";
    let [one, two] = [cluster.start(1, ""), cluster.start(2, lease)];
    one.sees(2, State::Degraded);
    let status = two.status();
    assert!(status.replies["user_degraded"] > 0);
    let lease = status.nodes[0].lease.as_ref().expect("a lease");
    assert!(!lease.alive && lease.last_failure.is_some());
}

#[test]
fn a_stopped_agent_is_not_alive_and_accuses_nobody_when_it_goes_on() {
    let cluster = Cluster::new(2);
    let [one, two] = [cluster.start(1, ""), cluster.start(2, "")];
    one.sees(2, State::Alive);
    two.sees(1, State::Alive);
    two.signal(libc::SIGSTOP);
    one.sees(2, State::Failed);
    let failed = |agent: &Agent| {
        let text = OWNER.get(&agent.admin, "/metrics").expect("metrics");
        exposition::parse(&text)["heartbeat_member_changes_total{state=\"failed\"}"]
    };
    let before = failed(&one);
    two.signal(libc::SIGCONT);
    one.sees(2, State::Alive);
    two.sees(1, State::Alive);
    assert_eq!((before, failed(&two)), (1.0, 0.0));
}

#[test]
fn keys_and_members_are_changed_while_it_runs() {
    let cluster = Cluster::new(3);
    let [one, two] = [cluster.start(1, ""), cluster.start(2, "")];
    one.sees(2, State::Alive);
    const NEW: &str = "2 101112131415161718191a1b1c1d1e1f\n";
    let keys = |agent: &Agent, node, text: &str, number| {
        write_key(cluster.folder(node), text);
        until("a new key", || (agent.status().key == number).then_some(()));
    };
    let reloads = |agent: &Agent| {
        let text = OWNER.get(&agent.admin, "/metrics").expect("metrics");
        exposition::parse(&text)["heartbeat_config_reloads_total{result=\"success\"}"]
    };
    // First both know both, then both send with the new one, then the old one goes.
    write_key(cluster.folder(1), &format!("{KEY}{NEW}"));
    until("a reload", || (reloads(&one) == 1.0).then_some(()));
    write_key(cluster.folder(2), &format!("{KEY}{NEW}"));
    until("a reload", || (reloads(&two) == 1.0).then_some(()));
    keys(&one, 1, &format!("{NEW}{KEY}"), 2);
    keys(&two, 2, NEW, 2);
    keys(&one, 1, NEW, 2);
    until("a reload", || (reloads(&one) == 3.0).then_some(()));
    one.sees(2, State::Alive);
    let dropped = [&one, &two].map(|agent| agent.status().dropped["unknown_key"]);
    assert_eq!(dropped, [0, 0]);
    // What others can read is refused, and the old key goes on.
    fs::set_permissions(cluster.folder(1).join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("its owner");
    let (good, said) = run(&["reload", "--admin", &one.admin.to_string()]);
    assert!(!good && said.contains("chmod 600"), "{said}");
    assert!(!one.status().configuration.last_reload_successful);
    write_key(cluster.folder(1), NEW);
    // A member goes; what needs a restart is told.
    let text = cluster.text(1, "").replace(", \"3 127.0.9.3", ", \"4 127.0.9.4").replace("50ms", "60ms");
    fs::write(cluster.folder(1).join("heartbeat.toml"), text).expect("a file");
    let (good, said) = run(&["reload", "--admin", &one.admin.to_string()]);
    assert!(
        good && said.contains("changed: members") && said.contains("only after a restart: probe"),
        "{said}"
    );
    until("new members", || {
        let members: Vec<_> = one.members().iter().map(|member| member.node).collect();
        (members == [2, 4]).then_some(())
    });
}

#[test]
fn what_is_told_is_told_well() {
    let cluster = Cluster::new(2);
    let [one, two] = [cluster.start(1, ""), cluster.start(2, "")];
    one.sees(2, State::Alive);
    let samples = exposition::parse(&OWNER.get(&one.admin, "/metrics").expect("metrics"));
    for (sample, least) in [
        ("heartbeat_member_state{node=\"2\",observer=\"1\",state=\"alive\"}", 1.0),
        ("heartbeat_lease_alive{node=\"1\"}", 1.0),
        ("heartbeat_round_trip_seconds_count", 1.0),
        ("heartbeat_members", 2.0),
        ("xps_path{path=\"user\",reason=\"configured\"}", 1.0),
    ] {
        assert!(samples.get(sample).is_some_and(|value| *value >= least), "{sample}");
    }
    let admin = one.admin.to_string();
    let (good, said) = run(&["status", "--admin", &admin]);
    assert!(
        good && said.contains("path          user\n") && said.contains("members       1 alive"),
        "{said}"
    );
    assert_eq!(run(&["health", "--admin", &admin]), (true, "ready\n".to_owned()));
    let (good, said) = run(&["watch", "--admin", &admin]);
    assert!(good && said.contains("127.0.9.2:") && said.contains("alive"), "{said}");
    let file = cluster.folder(1).join("heartbeat.toml").display().to_string();
    let probe = ["probe", "127.0.9.2", "--config", &file, "--count", "3", "--interval", "10ms"];
    let (good, said) = run(&probe);
    assert!(good && said.contains("node 2 at 127.0.9.2") && said.contains("3 answered, 0 lost"), "{said}");
    assert!(two.stop());
    let (good, said) = run(&[&probe[..], &["--timeout", "100ms"]].concat());
    assert!(!good && said.contains("0 answered, 3 lost (100.0 %)"), "{said}");
    let unknown = ["probe", "127.0.9.77", "--config", &file];
    let (good, said) = run(&unknown);
    assert!(!good && said.contains("no member is known at 127.0.9.77"), "{said}");
}

#[test]
fn a_browser_gets_a_page_that_shows_what_the_status_says() {
    let cluster = Cluster::new(1);
    let agent = cluster.start(1, "");
    let Address::Unix(socket) = &agent.admin else { panic!("no unix socket") };
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(page::REQUEST.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    page::check("heartbeat", &answer);
}
