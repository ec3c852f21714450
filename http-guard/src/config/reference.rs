//! `docs/configuration/http-guard.md`: what is said there of each key. Rules have a parser of their own, and stand there by hand.

#[path = "../../../xps-runtime/tests/support/docs.rs"]
mod docs;

use xps_runtime::config::reference::{Description, Reference};
use xps_runtime::config::{Reader, Sources};

use super::{Config, PREFIX, reload};

const fn key(key: &'static str, meaning: &'static str) -> Description {
    Description::new(key, meaning)
}

const DESCRIPTIONS: &[Description] = &[
    key(
        "nginx.address",
        "where Nginx listens; its port is the plain port. A name is resolved at each connect",
    ),
    key("nginx.merge_slashes", "as in Nginx's configuration"),
    key("nginx.head_bytes_max", "longer heads get 431"),
    key("nginx.line_bytes_max", "longer request lines get 414"),
    key(
        "listen.mode",
        "`beside`: clients connect to a port beside the server's own (`listen.accelerated_port`); `in-place`: to the server's own port, on \
         the kernel path alone",
    ),
    key("listen.accelerated_port", "port for clients of XPS; in place there is none beside the server's own"),
    key("listen.addresses", "where the user path listens; not in place"),
    key(
        "listen.admin",
        "status, metrics, health, commands. Who can reach it by network sees and does not act",
    ),
    key("listen.connections_max", "connections through the proxy at once"),
    key(
        "server.addresses",
        "addresses of this host at which the accelerated port is served in the stack; at others it is the user path's, or in place \
         Nginx's alone. Packets \
         for other hosts' addresses are never touched",
    )
    .by_default("all"),
    key("path.mode", "`auto`: the kernel path where it can be had; `kernel`: or fail; `user`"),
    key("path.interfaces", "interfaces to hook").by_default("all"),
    key(
        "path.xdp",
        "where blocked clients are stopped at XDP: `auto`: where the driver has native XDP, not on veth, tun or loopback; `on`: \
         wherever it can be attached; `off`. Elsewhere tcx does it, and the status says why",
    ),
    key(
        "path.pin_directory",
        "where maps and links are pinned, on a BPF file system; two sidecars of a host need two",
    ),
    key("limits.keys_max", "keys that limits keep apart"),
    key("limits.flows_max", "connections in the stack at once; more take the user path"),
    key("answers.body", "what refusals say; `{status}` and `{reason}` are replaced")
        .by_default("like Nginx's"),
    key("answers.content_type", "its type"),
    key("connections.new_per_second", "connections that a client may open a second; 0: any number"),
    key("connections.new_burst", "how many of these may come at once").by_default("`new_per_second`"),
    key("connections.per_client_max", "connections that a client may have; 0: any number"),
    key("connections.ipv6_prefix", "bits of an IPv6 address that make one client"),
    key("connections.header_timeout", "how long a head may take"),
    key("connections.body_timeout", "how long a body may stand still"),
    key(
        "connections.body_rate_min",
        "bytes a second that must come of a body on average, within each `body_timeout`; 0: any byte is enough",
    ),
    key("proxy.trusted", "peers whose word about their clients is believed: user path"),
    key("proxy.from_clients", "how they tell it: user path"),
    key("proxy.to_server", "how Nginx is told of clients by the proxy; if given: user path"),
    key("lease.duration", "without a sign of life from the agent for so long everything passes"),
    key("lease.drain_timeout", "how long an orderly stop waits for connections"),
    key("log.format", "one event a line, for people or for programs"),
    key("log.level", "what is logged: a level, or filters such as `info,http_guard=debug`"),
];

#[test]
fn the_page_says_what_the_code_asks_for() {
    let mut reader = Reader::new(&Sources { prefix: PREFIX, ..Sources::default() });
    let config = Config::ask(&mut reader);
    let reference = Reference {
        service: "http-guard",
        prefix: PREFIX,
        asked: reader.asked(),
        descriptions: DESCRIPTIONS,
        reloads: &[("", reload::compare(&mut config.clone(), &config))],
        more: include_str!("reference/rules.md"),
    };
    docs::check(
        "configuration/http-guard.md",
        &reference.page().unwrap_or_else(|mistakes| panic!("{mistakes}")),
    );
}
