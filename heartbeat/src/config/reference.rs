//! `docs/configuration/heartbeat.md`: what is said there of each key.

#[path = "../../../xps-runtime/tests/support/docs.rs"]
mod docs;

use std::os::unix::fs::PermissionsExt;

use xps_runtime::config::reference::{Description, Reference};
use xps_runtime::config::{Reader, Sources};

use super::{Config, PREFIX, reload};

const fn key(key: &'static str, meaning: &'static str) -> Description {
    Description::new(key, meaning)
}

const DESCRIPTIONS: &[Description] = &[
    key("cluster.id", "of which cluster this host is"),
    key(
        "cluster.key_file",
        "its keys, `<number> <32 hexadecimal digits>` a line: the first sends, a second is taken too; `heartbeat key` makes one. Read \
         again when it changes. A file that others can read is refused",
    )
    .by_default("must be given"),
    key("listen.port", "where messages are taken, by UDP"),
    key("listen.addresses", "at which addresses"),
    key("listen.admin", "status, members, events, metrics, health, `reload`. Who can reach it by network sees and does not act"),
    key("path.mode", "`auto`: the kernel path where it can be had; `kernel`: or fail; `user`"),
    key("path.interfaces", "interfaces on which probes are answered in the stack").by_default("all"),
    key(
        "path.xdp",
        "where probes are answered at XDP: `auto`: where it costs others nothing; `on`: wherever the driver can; `generic`: also where \
         it cannot; `off`: at tcx",
    ),
    key("path.pin_directory", "where maps and links are pinned, on a BPF file system; two sidecars of a host need two"),
    key("probe.interval", "how often each member is probed; with many, `gap_min` times their number"),
    key("probe.timeout", "longest time until suspicion").by_default("2 intervals"),
    key("probe.retry", "least time between the probes of a row").by_default("an interval / 20"),
    key("probe.confirmation", "from suspicion until failure").by_default("1 interval"),
    key("probe.failed_interval", "how often failed members are probed").by_default("5 intervals"),
    key("probe.gap_min", "least time between probes to different members"),
    key("probe.late", "how late this host may be before it doubts itself").by_default("an interval / 4"),
    key("probe.deviation_min", "how regular a network is taken to be at most").by_default("an interval / 20"),
    key("probe.jitter_per_mille", "how much later than its turn a probe may come, in thousandths of the interval"),
    key("probe.tries", "probes in a row without an answer until suspicion, at least"),
    key("probe.phi", "suspicion at which a member is suspected: at 8, that it is alive has a probability of 10^-8"),
    key("probe.helpers", "members that are asked to probe a suspect"),
    key("probe.local_health_max", "how many times longer this host waits at most while it doubts itself"),
    key("members.list", "the members, each as `<number> <address or name>[:port]`"),
    key("members.file", "a file with such lines; read again when it changes"),
    key("members.dns", "a name, all of whose addresses are members; an IPv4 address is the member's number"),
    key("members.refresh", "how often names are resolved; what cannot be resolved keeps its address"),
    key("node.id", "the node's number; `\"address\"` with `members.dns`: that of this host's address").by_default("must be given"),
    key("node.probes_per_second_max", "how often one member may probe this node").by_default("`1000`, or more with short intervals"),
    key("node.lease", "so long the application is alive without a sign of life"),
    key(
        "node.lease_by",
        "what renews the lease: a store to `shared` memory, a `call`, or a check by the agent (`tcp`, `http`, `redis`, `command`); \
         `always`: no application is asked",
    ),
    key("node.when_lapsed", "what the node does when the lease has lapsed: fall `silent`, or say that it is `degraded`"),
    key("node.lease_file", "with `shared`: the file with the word, made if it is not there; a whole path"),
    key("node.lease_owner", "with `shared`: the application's user").by_default("heartbeat's user"),
    key("node.lease_mode", "with `shared`: who may touch"),
    key("node.lease_address", "with `tcp` and `redis`: where the application listens"),
    key("node.lease_url", "with `http`: what is asked for; 2xx is good"),
    key("node.lease_username", "with `redis`: as whom").by_default("the default user"),
    key("node.lease_password_file", "with `redis`: a file with the password, which others must not be able to read"),
    key("node.lease_command", "with `command`: its words; ending with 0 is good"),
    key("node.lease_interval", "from the beginning of a check to that of the next").by_default("a third of the lease"),
    key("node.lease_timeout", "how long a check may take").by_default("a third of the lease"),
    key("lease.socket", "a unix socket for calls by datagrams: `<node>`, or `<node> <milliseconds>`; a whole path"),
    key("bfd.peer", "the other system").by_default("must be given"),
    key("bfd.local", "this host's address, if it is to be a certain one").by_default("any"),
    key("bfd.interface", "the interface, if it is to be a certain one; link-local addresses and echo packets need it")
        .by_default("any"),
    key("bfd.multihop", "over several hops (RFC 5883) instead of one (RFC 5881)"),
    key("bfd.min_ttl", "with `multihop`: least hop limit that is taken; over one hop it is 255"),
    key("bfd.interval", "how often control packets are sent at most"),
    key("bfd.receive_interval", "how often the other system may send them at most").by_default("`interval`"),
    key("bfd.multiplier", "so many intervals without one, and the session is down"),
    key("bfd.passive", "sends nothing until the other system does"),
    key("bfd.echo_interval", "how often echo packets are sent; over one hop, with `interface`")
        .by_default("none are sent"),
    key(
        "bfd.echo_receive_interval",
        "how often the other system may send echo packets at most; they are sent back on the kernel path only",
    ),
    key("bfd.authentication", "how control packets are authenticated"),
    key(
        "bfd.key_file",
        "with `authentication`: its keys, `<number> <secret>` or `<number> hex:…` a line; a file that others can read is refused",
    ),
    key("bfd.node", "a node of this host: while its application has not renewed its lease, the session is down")
        .by_default("none"),
    key("hook.command", "what is run at each change of a member, one after the other: program (whole path) and arguments"),
    key("hook.timeout", "how long it may take before it is killed"),
    key("log.format", "one event a line, for people or for programs"),
    key("log.level", "what is logged: a level, or filters such as `info,heartbeat=debug`"),
];

const MORE: &str = "`[node]` is for one node of this host, `[bfd]` for one session; `[[node]]` and `[[bfd]]`, as often as there are \
                    some, for several.";

#[test]
fn the_page_says_what_the_code_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, "1 000102030405060708090a0b0c0d0e0f\n").expect("a file");
    std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).expect("its owner");
    // Without a key there is no configuration, and without a node or a session nobody asks for theirs.
    let text = "[cluster]\nkey_file = \"key\"\n[node]\nid = 1\n[bfd]\npeer = \"192.0.2.1\"\n";
    let file = Some(("page.toml", text));
    let mut reader = Reader::new(&Sources { file, prefix: PREFIX, ..Sources::default() });
    let config = Config::ask(&mut reader, folder.path()).expect("a configuration");
    let without = Config { bfd: Vec::new(), ..config.clone() };
    let compare = |config: &Config| reload::compare(&mut config.clone(), config);
    let reference = Reference {
        service: "heartbeat",
        prefix: PREFIX,
        asked: reader.asked(),
        descriptions: DESCRIPTIONS,
        reloads: &[("with sessions", compare(&config)), ("the first one", compare(&without))],
        more: MORE,
    };
    docs::check(
        "configuration/heartbeat.md",
        &reference.page().unwrap_or_else(|mistakes| panic!("{mistakes}")),
    );
}
