//! Clients whose frames lie: nobody reads what Redis would not have said, whatever the stack was made to believe. Each
//! connection shows it a command, in a way that the server's TCP may not take, and sends another one at the same numbers.
//!
//! `XPS_HOSTILE_SECONDS` and `XPS_HOSTILE_SEED` say for how long, and which connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xps_testkit::attack::Attack;
use xps_testkit::interrupt::interrupted;
use xps_testkit::random::Random;
use xps_testkit::raw::{Outside, Raw};
use xps_testkit::wish;

use crate::support::{
    ACCELERATED, CLIENT_V4, CLIENT_V6, Client, Lab, Options, PLAIN, SERVER_V4, SERVER_V6, Side, request,
    shown,
};

/// How long each test runs, unless it is told otherwise.
const DURATION: Duration = Duration::from_secs(10);

/// How long an answer may take. If none comes within it, the connection is over.
const ANSWER: Duration = Duration::from_millis(40);

/// What hostile clients have left open is not waited for at the end.
const DRAIN: &str = "lease.drain_timeout=1s";

/// What nobody may read who has not given the password.
const SECRET: &str = "TOPSECRET";

/// A value that no client ever sends to Redis as a whole.
const PLANTED: &str = "PLANTED";

/// How often who has not given the password tries to write, in connections.
const WARM: usize = 8;

/// A hostile client's connection.
struct Try {
    to: SocketAddr,
    timestamps: bool,
    attack: Attack,
}

impl Try {
    fn any(lab: &Lab, random: &mut Random) -> Self {
        let server = if random.chance(40) { SERVER_V6 } else { SERVER_V4 };
        let port = if random.chance(80) { lab.accelerated_port() } else { PLAIN };
        let to = SocketAddr::new(server, port);
        Self { to, timestamps: random.chance(60), attack: Attack::any(random) }
    }

    /// The same for what goes wrong after a connection.
    fn after<T>(one: Option<&Self>, seed: u64, number: usize, result: Result<T>) -> Result<T> {
        match one {
            Some(one) => one.told(seed, number - 1, result),
            None => result,
        }
    }

    /// What failed, with how to get it again.
    fn told<T>(&self, seed: u64, number: usize, result: Result<T>) -> Result<T> {
        let Self { to, timestamps, attack } = self;
        result.with_context(|| {
            format!("seed {seed}, connection {number} to {to}, timestamps {timestamps}: {attack:?}")
        })
    }
}

fn outside(lab: &Lab, seed: u64) -> Result<Outside> {
    let (client, server) = (lab.place(Side::Client), lab.place(Side::Server));
    Outside::behind(client, server, "veth0", [CLIENT_V4, CLIENT_V6], seed)
}

/// The same command with empty lines before it, so that it is `len` bytes long.
fn padded(command: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = b"\r\n".repeat((len - command.len()) / 2);
    bytes.extend(b"\n".repeat((len - command.len()) % 2));
    bytes.extend_from_slice(command);
    bytes
}

#[test]
fn who_has_not_given_the_password_reads_nothing_however_frames_lie() {
    who_has_not_given_the_password_reads_nothing(Options::default());
}

#[test]
fn who_has_not_given_the_password_reads_nothing_in_place() {
    who_has_not_given_the_password_reads_nothing(Options { in_place: true, ..Options::default() });
}

fn who_has_not_given_the_password_reads_nothing(options: Options) {
    let environment = vec![("KV_CACHE_REDIS_PASSWORD", "secret")];
    let settings = vec!["redis.username=sidecar", DRAIN];
    let redis = vec!["--user", "sidecar", "on", ">secret", "~*", "&*", "+@all"];
    Lab::run(Options { settings, environment, redis, ..options }, |lab| {
        let (seed, start, duration) = (wish::seed(), Instant::now(), wish::duration(DURATION));
        let (mut random, mut outside) = (Random(seed), outside(lab, seed)?);
        let (mut plain, mut fast) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        plain.check("CONFIG SET requirepass open", "+OK\r\n")?;
        fast.check("AUTH open", "+OK\r\n")?;
        plain.set("key", SECRET)?;
        let (mut number, mut warm, mut last) = (0, false, None::<Try>);
        while start.elapsed() < duration {
            ensure!(!interrupted(), "interrupted");
            if !warm {
                let warmed = lab.warm(&mut fast, "key", SECRET);
                Try::after(last.as_ref(), seed, number, warmed)?;
            }
            let one = Try::any(lab, &mut random);
            let mut raw = outside.connect(one.to, one.timestamps)?;
            // A wrong password, which is not seen to be refused: RESET is what needs none and is answered well.
            let authentication = request(&["AUTH", "xxx"]);
            let reset = padded(&request(&["RESET"]), authentication.len());
            one.told(seed, number, read_secret(&one.attack, &mut raw, &authentication, &reset))?;
            // Nor does it write. That takes the key out of the cache, so it is not tried each time.
            warm = number % WARM != 0;
            if !warm {
                let write = request(&["SET", "key", PLANTED]);
                one.attack.send(&mut raw, &write, &padded(&request(&["RESET"]), write.len()))?;
                raw.read_until(b"\r\n", ANSWER)?;
                one.told(seed, number, fast.holds("key", SECRET))?;
            }
            end(&mut raw, &mut plain)?;
            one.told(seed, number, fast.holds("key", SECRET))?;
            last = Some(one);
            number += 1;
        }
        println!("seed {seed}: {number} connections");
        plain.send(&request(&["CONFIG", "SET", "requirepass", ""]))?;
        plain.expect(b"+OK\r\n")
    });
}

/// Ends a hostile connection, also where the stack does not believe its reset: what it holds must not stop the test.
fn end(raw: &mut Raw, plain: &mut Client) -> Result<()> {
    raw.reset()?;
    let (address, port) = raw.peer.client;
    plain.command(&format!("CLIENT KILL ADDR {}", SocketAddr::new(address, port)))?;
    Ok(())
}

/// Shows the one, means the other, and asks for the key. It must not be told.
fn read_secret(attack: &Attack, raw: &mut Raw, authentication: &[u8], reset: &[u8]) -> Result<()> {
    attack.send(raw, authentication, reset)?;
    raw.read_until(b"\r\n", ANSWER)?;
    raw.send(&request(&["GET", "key"]))?;
    raw.read_until(b"\r\n", ANSWER)?;
    let told = raw.got.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    ensure!(!told, "a client without the password was told the value: {}", shown(&raw.got));
    Ok(())
}

#[test]
fn nobody_reads_what_redis_does_not_hold_however_frames_lie() {
    nobody_reads_what_redis_does_not_hold(Options::default());
}

#[test]
fn nobody_reads_what_redis_does_not_hold_in_place() {
    nobody_reads_what_redis_does_not_hold(Options { in_place: true, ..Options::default() });
}

fn nobody_reads_what_redis_does_not_hold(options: Options) {
    Lab::run(Options { settings: vec![DRAIN], ..options }, |lab| {
        let (seed, start, duration) = (wish::seed(), Instant::now(), wish::duration(DURATION));
        let (mut random, mut outside) = (Random(seed), outside(lab, seed)?);
        let (mut plain, mut fast) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        let (mut number, mut written, mut last) = (0, 0, None::<Try>);
        plain.set("key", "first")?;
        while start.elapsed() < duration {
            ensure!(!interrupted(), "interrupted");
            let held = held(&mut plain)?;
            let warmed = lab.warm(&mut fast, "key", &held);
            Try::after(last.as_ref(), seed, number, warmed)?;
            let one = Try::any(lab, &mut random);
            let mut raw = outside.connect(one.to, one.timestamps)?;
            let value = format!("{number:07}");
            let (planting, writing) = (["SET", "key", PLANTED], ["SET", "key", value.as_str()]);
            let (planting, writing) = (request(&planting), request(&writing));
            let harmless = padded(&request(&["PING"]), writing.len());
            let unseen = random.chance(50);
            let (seen, meant) = if unseen { (&harmless, &writing) } else { (&planting, &harmless) };
            // What is honest is what is shown; that would plant the value in earnest.
            let honest = matches!(one.attack, Attack::Honest | Attack::Overlap(_) | Attack::Ahead(..));
            let seen = if honest && !unseen { &writing } else { seen };
            one.attack.send(&mut raw, seen, meant)?;
            raw.read_until(b"\r\n", ANSWER)?;
            one.told(seed, number, same(&mut plain, &mut fast))?;
            end(&mut raw, &mut plain)?;
            one.told(seed, number, same(&mut plain, &mut fast))?;
            written += usize::from(self::held(&mut plain)? != held);
            last = Some(one);
            number += 1;
        }
        println!("seed {seed}: {number} connections, {written} of which have written");
        ensure!(written > number / 20, "the hostile clients have written nothing");
        Ok(())
    });
}

/// What the stack says is what Redis says before or after it: a write may come in between.
fn same(plain: &mut Client, fast: &mut Client) -> Result<()> {
    let before = held(plain)?;
    let told = fast.get("key")?.context("the key is gone")?;
    let after = held(plain)?;
    ensure!(
        told == before || told == after,
        "the stack said {}, Redis {} before and {} after",
        shown(&told),
        shown(&before),
        shown(&after)
    );
    Ok(())
}

/// What Redis holds. Never from a cache, on whatever port.
fn held(client: &mut Client) -> Result<Vec<u8>> {
    let value = client.command("GETRANGE key 0 -1")?;
    let start = value.iter().position(|byte| *byte == b'\n').context("no reply")? + 1;
    value.get(start..value.len() - 2).map(<[u8]>::to_vec).context("a reply of another kind")
}
