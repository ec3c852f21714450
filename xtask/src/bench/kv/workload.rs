//! What is measured, by name.

use super::load::Load;
use super::request::{KEYS, Mix};

/// One row of the result.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    /// Size of the loaded keys' values, bytes.
    pub(crate) value_bytes: usize,
    /// The keys are read until they are cached before anything is measured.
    pub(crate) warm: bool,
    pub(crate) kind: Kind,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The plain port with the accelerated one.
    Ports,
    /// The plain port without the hooks with the plain port under them.
    Hooks,
    /// The plain port with a bare reflector: the limit of the method.
    Reflector,
    /// The plain port with HAProxy's relay in front of it, and with the user path.
    Haproxy,
}

/// Who sends.
pub(crate) enum Client {
    /// redis-benchmark with these arguments.
    RedisBenchmark(Vec<String>),
    /// The load generator.
    Generator(Load),
}

/// All workloads in the order in which they are run: those with the same keys together.
pub(crate) fn all() -> Vec<Workload> {
    let t2 = "-c 50 --threads 2";
    let get = |name, value_bytes, arguments: &str| Workload {
        name,
        client: redis_benchmark(&format!("-t get -r {KEYS} -d {value_bytes} {arguments}")),
        value_bytes,
        warm: true,
        kind: Kind::Ports,
    };
    let command = |name, arguments: &str, words: &[&str]| {
        let mut arguments = words_of(arguments);
        arguments.extend(words.iter().map(ToString::to_string));
        Workload {
            name,
            client: Client::RedisBenchmark(arguments),
            value_bytes: 64,
            warm: false,
            kind: Kind::Ports,
        }
    };
    // So many keys that hardly one is asked for twice: keys that do not exist are cached too.
    let miss = |name| command(name, &format!("-r 100000000000 {t2}"), &["GET", "missing:__rand_int__"]);
    let mix = |name, mix, pipeline, warm| Workload {
        name,
        client: Client::Generator(Load { mix, connections: 50, threads: 2, pipeline }),
        value_bytes: 64,
        warm,
        kind: Kind::Ports,
    };
    let share = |name, percent| mix(name, Mix::Share { percent, value_bytes: 64 }, 1, percent > 0);
    vec![
        get("get-hit-64B-c50-t2", 64, t2),
        get("get-hit-64B-c50-t1", 64, "-c 50"),
        get("get-hit-64B-c1", 64, "-c 1"),
        get("get-hit-P16", 64, "-c 50 --threads 2 -P 16"),
        Workload { kind: Kind::Hooks, ..get("plain-port-hooked", 64, t2) },
        Workload { kind: Kind::Reflector, ..get("reflector", 64, t2) },
        Workload { kind: Kind::Reflector, ..get("reflector-c1", 64, "-c 1") },
        share("hit-share-0", 0),
        share("hit-share-50", 50),
        share("hit-share-90", 90),
        share("hit-share-99", 99),
        mix("mix-90-10", Mix::Zipf { percent: 90, value_bytes: 64 }, 1, true),
        mix("mix-50-50", Mix::Zipf { percent: 50, value_bytes: 64 }, 1, true),
        miss("get-miss"),
        // What both relay: kv-cache has no hits here.
        Workload { kind: Kind::Haproxy, ..miss("haproxy-tcp") },
        command("set-64B", &format!("-r {KEYS} {t2}"), &["SET", "set:__rand_int__", &"x".repeat(64)]),
        command("set-16KB", &format!("-r 1000 {t2}"), &["SET", "large:__rand_int__", &"x".repeat(16 * 1024)]),
        mix("pipeline-pass", Mix::Pass { value_bytes: 64 }, 16, false),
        get("get-hit-16B-c50-t2", 16, t2),
        get("get-hit-512B-c50-t2", 512, t2),
        get("get-hit-1KB-c50-t2", 1024, t2),
    ]
}

fn redis_benchmark(arguments: &str) -> Client {
    Client::RedisBenchmark(words_of(arguments))
}

fn words_of(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique_and_complete() {
        let mut names: Vec<_> = super::all().iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 21);
    }
}
