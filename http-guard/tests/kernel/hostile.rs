//! Clients whose frames lie, through the accelerated port: what is denied never reaches Nginx, whatever the stack was made to
//! believe. Each connection shows the guard a request that may pass, in a way that the server's TCP may not take, and sends
//! another one at the same numbers.
//!
//! `XPS_HOSTILE_SECONDS` and `XPS_HOSTILE_SEED` say for how long, and which connections.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;
use xps_testkit::attack::Attack;
use xps_testkit::interrupt::interrupted;
use xps_testkit::random::Random;
use xps_testkit::raw::Outside;
use xps_testkit::wish;

use crate::lab::{CLIENT_V4, CLIENT_V6, Lab, Mode, SERVER_V4, SERVER_V6};
use crate::site::Site;

const RULES: &str = "[[rule]]\nname = \"denied\"\npath_prefix = \"/denied\"\naction = \"deny\"\n";

/// How long the test runs, unless it is told otherwise.
const DURATION: Duration = Duration::from_secs(10);

/// How long an answer may take. If none comes within it, the connection is over.
const ANSWER: Duration = Duration::from_millis(40);

/// How often Nginx's log is looked at, in connections.
const LOOK: u32 = 50;

/// A connection that was made.
struct Tried {
    v6: bool,
    timestamps: bool,
    attack: Attack,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        let timestamps = if self.timestamps { "with" } else { "without" };
        write!(f, "{family} {timestamps} timestamps: {:?}", self.attack)
    }
}

/// The number of a request in its path: that of its connection.
fn number(line: &str) -> Option<usize> {
    line.split_once("/denied-")?.1.get(..6)?.parse().ok()
}

#[test]
fn what_is_denied_never_reaches_nginx_however_frames_lie() {
    what_is_denied_never_reaches_nginx(Mode::Kernel);
}

#[test]
fn what_is_denied_never_reaches_nginx_in_place() {
    what_is_denied_never_reaches_nginx(Mode::InPlace);
}

fn what_is_denied_never_reaches_nginx(mode: Mode) {
    Lab::run_on(mode, Site::Files, RULES, |lab| {
        let seed = wish::seed();
        let mut random = Random(seed);
        let via = [CLIENT_V4, CLIENT_V6];
        let mut outside = Outside::behind(lab.client_place(), lab.server_place(), "veth0", via, seed)?;
        ensure!(lab.client()?.get("/denied-ordinary")?.status == 403, "the rule does not hold");
        let (start, duration) = (Instant::now(), wish::duration(DURATION));
        let mut tried = Vec::new();
        while start.elapsed() < duration {
            ensure!(!interrupted(), "interrupted");
            for _ in 0..LOOK {
                let one = Tried {
                    v6: random.chance(40),
                    timestamps: random.chance(60),
                    attack: Attack::any(&mut random),
                };
                let server = if one.v6 { SERVER_V6 } else { SERVER_V4 };
                let mut raw = outside.connect((server, lab.accelerated_port()).into(), one.timestamps)?;
                let request =
                    |path: &str| format!("GET /{path}-{:06} HTTP/1.1\r\nHost: a\r\n\r\n", tried.len());
                one.attack.send(&mut raw, request("passed").as_bytes(), request("denied").as_bytes())?;
                raw.read_until(b"\r\n\r\n", ANSWER)?;
                raw.reset()?;
                tried.push(one);
            }
            let log = lab.access_log()?;
            let reached: Vec<_> = log
                .lines()
                .filter(|line| line.contains("/denied"))
                .map(|line| match number(line).and_then(|number| tried.get(number)) {
                    Some(one) => format!("{line}: {one}"),
                    None => line.to_owned(),
                })
                .collect();
            ensure!(
                reached.is_empty(),
                "seed {seed}, {} connections: {} requests that are denied reached Nginx:\n{}",
                tried.len(),
                reached.len(),
                reached.join("\n")
            );
        }
        let honest = tried.iter().filter(|one| matches!(one.attack, Attack::Honest)).count();
        let passed = lab.access_log()?.matches("/passed-").count();
        println!(
            "seed {seed}: {} connections, {honest} of them honest; {passed} requests passed",
            tried.len()
        );
        ensure!(passed >= honest && honest != 0, "honest requests were lost");
        Ok(())
    });
}
