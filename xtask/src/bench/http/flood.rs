//! A flood: connections that ask for a file which is refused to them, at the same rate whoever refuses it.
//!
//! It runs in a process of its own as wrk does, and so in a session of its own: in this program's it would share the CPU time with
//! the clients beside which it is measured (see `Place::command`).

use super::answers::Answers;
use super::response;
use crate::bench::generator::{Dialogue, Heard, Shape, paced};
use crate::lab::Place;
use crate::workspace;
use anyhow::{Context, Result};
use clap::Args;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// As many as wrk has.
const CONNECTIONS: usize = 50;
const THREADS: usize = 2;
/// This program, also after it was built anew.
const PROGRAM: &str = "/proc/self/exe";

/// Whom to ask for what, and how often.
#[derive(Args)]
pub(crate) struct Flood {
    /// The server's address.
    pub(super) server: SocketAddr,
    /// The file's path.
    pub(super) path: String,
    /// For so long.
    #[arg(long, value_name = "MILLISECONDS")]
    pub(super) duration_ms: u64,
    /// Requests a second, all connections together; without it each asks again once it is answered.
    #[arg(long)]
    pub(super) rate: Option<f64>,
}

impl Flood {
    /// Asks, and prints what came of it as JSON.
    pub(crate) fn run(&self) -> Result<()> {
        println!("{}", serde_json::to_string(&self.ask()?)?);
        Ok(())
    }

    /// The same from a place, in a process of its own.
    pub(super) fn run_from(&self, place: &Place) -> Result<Answers> {
        let mut command = place.command(PROGRAM);
        command.args(["bench", "flood", &self.server.to_string(), &self.path]);
        command.args(["--duration-ms", &self.duration_ms.to_string()]);
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let output = workspace::output(&mut command)?;
        serde_json::from_str(&output).with_context(|| format!("the flood's report: {output}"))
    }

    fn ask(&self) -> Result<Answers> {
        let place = Place::here();
        let duration = Duration::from_millis(self.duration_ms);
        let shape = Shape { place: &place, connections: CONNECTIONS, threads: THREADS, duration };
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.server);
        let said = paced::run(&shape, self.rate, |_| {
            let server = self.server;
            let stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
            Ok((stream, Exchange { request: request.as_bytes(), answers: Answers::default() }))
        })?;
        let mut answers = Answers { duration_us: said.elapsed.as_micros() as f64, ..Answers::default() };
        said.dialogues.iter().for_each(|exchange| answers.add(&exchange.answers));
        Ok(answers)
    }
}

/// One request after the other, and how each was answered.
struct Exchange<'a> {
    request: &'a [u8],
    answers: Answers,
}

impl Dialogue for Exchange<'_> {
    fn ask(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.request);
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let Some(head) = response::head(input)? else { return Ok(Heard { used: 0, answered: None }) };
        let heard = head.heard(input);
        if heard.answered.is_some() {
            self.answers.count(head.status, heard.used);
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    const DURATION_MS: u64 = 200;
    /// A machine may be so busy that nothing happens in that time.
    const PATIENCE: Duration = Duration::from_secs(60);
    const REFUSAL: &[u8] =
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 5\r\nRetry-After: 1\r\n\r\nslow\n";
    const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

    /// Floods a server that answers its n-th request so, or not at all. How it was answered, and how often it was asked.
    fn flood(rate: Option<f64>, answer: impl Fn(u64) -> &'static [u8] + Sync) -> (Answers, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let flood = Flood { server, path: "/limited/".to_owned(), duration_ms: DURATION_MS, rate };
        let request_bytes = format!("GET /limited/ HTTP/1.1\r\nHost: {server}\r\n\r\n").len();
        let asked = AtomicU64::new(0);
        let serve = |mut stream: TcpStream| {
            let mut request = vec![0; request_bytes];
            while stream.read_exact(&mut request).is_ok() {
                assert!(request.starts_with(b"GET /limited/ ") && request.ends_with(b"\r\n\r\n"));
                // The flood may be over.
                let _ = stream.write_all(answer(asked.fetch_add(1, Ordering::Relaxed)));
            }
        };
        let answers = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..CONNECTIONS {
                    let (stream, _) = listener.accept().unwrap();
                    scope.spawn(|| serve(stream));
                }
            });
            flood.ask().unwrap()
        });
        (answers, asked.into_inner())
    }

    #[test]
    fn asks_by_the_clock_and_counts_each_answer() {
        let rate = 2000.0;
        let start = Instant::now();
        loop {
            let (answers, asked) = flood(Some(rate), |number| if number == 0 { PAGE } else { REFUSAL });
            assert!(asked as f64 <= rate * answers.duration_us / 1e6, "{asked}: {answers:?}");
            assert!(
                (answers.requests..=answers.requests + CONNECTIONS as u64).contains(&asked),
                "{answers:?}"
            );
            if answers.refused > 0 && answers.refused < answers.requests {
                let [passed, refused] = [200, 429].map(|status| answers.statuses[&status]);
                assert_eq!((passed, refused), (1, answers.refused), "{answers:?}");
                assert_eq!(passed + refused, answers.requests);
                assert_eq!(answers.bytes, PAGE.len() as u64 + refused * REFUSAL.len() as u64);
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{answers:?}");
        }
    }

    #[test]
    fn who_waits_for_an_answer_does_not_ask() {
        for rate in [None, Some(1e6)] {
            let start = Instant::now();
            loop {
                let (answers, asked) = flood(rate, |_| b"");
                assert!(answers.requests == 0 && asked <= CONNECTIONS as u64, "{asked}: {answers:?}");
                if asked == CONNECTIONS as u64 {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "{asked}");
            }
        }
    }
}
