//! `docs/configuration/kv-cache.md`: what is said there of each key.

#[path = "../../../xps-runtime/tests/support/docs.rs"]
mod docs;

use xps_runtime::config::reference::{Description, Reference};
use xps_runtime::config::{Reader, Sources};
use xps_runtime::plan::Path;

use super::{Config, PREFIX, reload};

const TO_REDIS: &str = "TLS to Redis";
const FROM_CLIENTS: &str = "TLS from clients";
const PASSWORD: &str = "the password of Redis";

const fn key(key: &'static str, meaning: &'static str) -> Description {
    Description::new(key, meaning)
}

const DESCRIPTIONS: &[Description] = &[
    key("redis.address", "where Redis listens; its port is the plain port. A name is resolved at each connect"),
    key("redis.username", "kv-cache's own user, if Redis asks for one").by_default("the default user"),
    key(
        "redis.password",
        "its password; by the variable `KV_CACHE_REDIS_PASSWORD` rather than in a file, and not by a flag, which everybody on the \
         machine can read",
    )
    .told_as(PASSWORD),
    key("redis.password_file", "a file whose first line is the password").told_as(PASSWORD),
    key("redis.tls", "connect to Redis with TLS: user path"),
    key("redis.tls_ca_file", "authorities that may have issued Redis's certificate, as PEM; read again when it changes")
        .by_default("the system's")
        .told_as(TO_REDIS),
    key("redis.tls_server_name", "the name that Redis's certificate must have")
        .by_default("host of `redis.address`")
        .told_as(TO_REDIS),
    key("redis.tls_certificate_file", "client certificate, if Redis asks for one, as PEM; read again when it changes")
        .told_as(TO_REDIS),
    key("redis.tls_key_file", "its key").told_as(TO_REDIS),
    key("tls.port", "port for clients with TLS: user path").by_default("none"),
    key("tls.certificate_file", "certificate for that port, as PEM; read again when it changes").told_as(FROM_CLIENTS),
    key("tls.key_file", "its key").told_as(FROM_CLIENTS),
    key("tls.client_ca_file", "authorities of client certificates, as PEM; if given, clients must have one").told_as(FROM_CLIENTS),
    key(
        "listen.mode",
        "`beside`: clients connect to a port beside the server's own (`listen.accelerated_port`); `in-place`: to the server's own port, on \
         the kernel path alone",
    ),
    key("listen.accelerated_port", "port for clients of XPS; in place there is none beside the server's own"),
    key("listen.addresses", "where the user path listens; not in place"),
    key("listen.admin", "status, metrics, health, commands. Who can reach it by network sees and does not act"),
    key("listen.connections_max", "connections on the user path at once"),
    key(
        "server.addresses",
        "addresses of this host at which the accelerated port is served in the stack; at others it is the user path's, or in place \
         nothing is answered. Packets \
         for other hosts' addresses are never touched",
    )
    .by_default("all"),
    key("path.mode", "`auto`: the kernel path where it can be had; `kernel`: or fail; `user`"),
    key("path.interfaces", "interfaces to hook; strict coherence needs all").by_default("all"),
    key("path.pin_directory", "where maps and links are pinned, on a BPF file system; two sidecars of a host need two"),
    key("cache.memory_bytes", "memory for entries"),
    key("cache.entries_max", "entries at most"),
    key("cache.value_bytes_max", "larger values pass; the most is what fits one segment"),
    key("cache.ttl_max", "how long an entry may be served, also where Redis keeps the key longer").by_default("none"),
    key("cache.key_bytes_max", "keys that are longer pass"),
    key("cache.key_prefixes", "only keys that begin with one of these are cached; empty: all"),
    key("cache.key_prefixes_excluded", "keys that begin with one of these pass, whatever `key_prefixes` says"),
    key("cache.missing_keys", "keys that do not exist are cached too"),
    key(
        "cache.touches_per_second",
        "keys that Redis is told are in use (`TOUCH`), where it evicts by use; 0: none, and it may evict hot keys",
    ),
    key("cache.adaptive_bypass", "do not look GETs up while too few hit for it to pay"),
    key("cache.break_even_percent", "share of GETs that must hit for it to pay; `cargo xtask bench kv` measures it"),
    key("cache.bypass_window", "over which time that share is looked at"),
    key("cache.miss_sample", "one of how many misses is reported to the agent; a power of two"),
    key("flows.max", "connections in the stack at once; more take the user path"),
    key(
        "coherence.mode",
        "`strict`: no hits where anything could write unseen; `bounded`: also where a unix socket, an unhooked interface, eviction, \
         a module, a master or a cluster could",
    ),
    key("coherence.max_staleness", "in `bounded` mode: no value that was replaced longer ago is served"),
    key(
        "coherence.tracking",
        "`auto`: in `bounded` mode Redis tells of changed keys (`CLIENT TRACKING`); `off`, or where that fails: entries live for \
         `max_staleness` at most",
    ),
    key("coherence.trust_users", "where Redis refuses `ACL LIST`, on the user path: you vouch that every user may read every key"),
    key("coherence.kill_older_connections", "close connections that are older than the hooks instead of waiting for their end"),
    key(
        "lease.duration",
        "how long the stack answers without a sign of life from the agent and from Redis; less than Sentinel's \
         `down-after-milliseconds` or the cluster's `cluster-node-timeout`",
    ),
    key("lease.drain_timeout", "how long an orderly stop waits for connections"),
    key("log.format", "one event a line, for people or for programs"),
    key("log.level", "what is logged: a level, or filters such as `info,kv_cache=debug`"),
];

#[test]
fn the_page_says_what_the_code_asks_for() {
    let mut reader = Reader::new(&Sources { prefix: PREFIX, ..Sources::default() });
    let config = Config::ask(&mut reader);
    let compare = |path| reload::compare(&mut config.clone(), &config, path);
    let reloads = [("kernel path", compare(Path::Kernel)), ("user path", compare(Path::User))];
    let reference = Reference {
        service: "kv-cache",
        prefix: PREFIX,
        asked: reader.asked(),
        descriptions: DESCRIPTIONS,
        reloads: &reloads,
        more: "",
    };
    docs::check(
        "configuration/kv-cache.md",
        &reference.page().unwrap_or_else(|mistakes| panic!("{mistakes}")),
    );
}
