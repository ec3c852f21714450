//! The agent's own connection to the server.
//!
//! One connection, RESP2, used in batches: all requests are written, then all replies read. It goes through the hooks
//! like every other connection to the plain port.

mod error;

use std::time::Duration;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame as Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use xps_runtime::link::Stream;

use crate::server::credentials::Server;
use crate::server::link::Link;
use crate::server::tls::is_tls;

pub use error::RedisError;

/// How long the server may take to answer a batch.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Oldest major version that is served.
pub const VERSION_MIN: u32 = 6;

/// First and longest wait between two attempts to connect.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Largest answer that the agent reads: `COMMAND` takes some hundred kilobytes, `CLIENT LIST` some hundred bytes a client.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Link,
    /// Where it leads, for messages.
    address: String,
    /// Whether the server has said anything yet.
    heard: bool,
    received: Vec<u8>,
    at: usize,
    outgoing: Vec<u8>,
    waiting: usize,
}

impl Connection {
    /// Connects, and authenticates if there are credentials.
    ///
    /// # Errors
    /// If there is no connection in time, or the credentials are refused.
    pub async fn open(server: &Server) -> Result<Self, RedisError> {
        let mut connection = Self {
            stream: connect(server).await?,
            address: server.address.to_string(),
            heard: false,
            received: Vec::new(),
            at: 0,
            outgoing: Vec::new(),
            waiting: 0,
        };
        let (username, password) = (server.username.as_bytes(), server.password.reveal().as_bytes());
        if !username.is_empty() || !password.is_empty() {
            let answer = if username.is_empty() {
                connection.ask(&[b"AUTH", password]).await?
            } else {
                connection.ask(&[b"AUTH", username, password]).await?
            };
            if !matches!(answer, Frame::SimpleString(_)) {
                return Err(refused("AUTH", &answer));
            }
        }
        Ok(connection)
    }

    /// This end's address, as `CLIENT LIST` shows it.
    ///
    /// # Errors
    /// If the socket has none any more.
    pub fn local_address(&self) -> Result<std::net::SocketAddr, RedisError> {
        Ok(self.stream.tcp().local_addr()?)
    }

    /// The server's address.
    ///
    /// # Errors
    /// If the socket has none any more.
    pub fn peer_address(&self) -> Result<std::net::SocketAddr, RedisError> {
        Ok(self.stream.tcp().peer_addr()?)
    }

    /// Waits until the server closes the connection, or says something that nobody asked for. Between batches only.
    pub async fn closed(&mut self) {
        // Whichever it is, the connection is of no more use. Not a look at TCP: TLS has words of its own.
        let _ = self.stream.read(&mut [0]).await;
    }

    /// Adds a request to the batch.
    pub fn push(&mut self, arguments: &[&[u8]]) {
        encode(&mut self.outgoing, arguments);
        self.waiting += 1;
    }

    /// Sends the batch and reads the answers, one for each request, in order.
    ///
    /// # Errors
    /// If the connection breaks or the server is silent; the connection is then of no more use.
    pub async fn send(&mut self) -> Result<Vec<Frame>, RedisError> {
        timeout(ANSWER_TIMEOUT, self.exchange()).await.map_err(|_| RedisError::Timeout(ANSWER_TIMEOUT))?
    }

    async fn exchange(&mut self) -> Result<Vec<Frame>, RedisError> {
        self.stream.write_all(&self.outgoing).await?;
        self.stream.flush().await?;
        self.outgoing.clear();
        let mut answers = Vec::with_capacity(self.waiting);
        while answers.len() < self.waiting {
            match decode(&self.received[self.at..]) {
                Ok(Some((frame, length))) => {
                    self.at += length;
                    answers.push(frame);
                    continue;
                }
                Ok(None) => {}
                Err(error) => return Err(RedisError::Protocol(error.to_string())),
            }
            self.received.drain(..self.at);
            self.at = 0;
            if self.received.len() > ANSWER_BYTES_MAX {
                return Err(RedisError::Protocol(format!("larger than {ANSWER_BYTES_MAX} bytes")));
            }
            self.received.reserve(64 << 10);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Err(self.broken(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => self.heard = true,
                Err(error) => return Err(self.broken(error)),
            }
        }
        self.waiting = 0;
        Ok(answers)
    }

    /// Why the connection ended. A server that expects TLS closes it, or resets it, at the first word that is none.
    fn broken(&self, error: std::io::Error) -> RedisError {
        use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
        if self.stream.is_bare() && !self.heard && matches!(error.kind(), ConnectionReset | UnexpectedEof) {
            RedisError::Silent { address: self.address.clone() }
        } else {
            error.into()
        }
    }

    /// One request and its answer; an error of the server's is an answer.
    ///
    /// # Errors
    /// Like [`send`](Self::send).
    pub async fn ask(&mut self, arguments: &[&[u8]]) -> Result<Frame, RedisError> {
        self.push(arguments);
        let mut answers = self.send().await?;
        answers.pop().ok_or_else(|| RedisError::Protocol("no answer".to_owned()))
    }

    /// What `INFO` says, of all sections; what it does not say, `HELLO` does. And whether `INFO` was answered at all:
    /// managed servers may refuse it, or leave out sections.
    ///
    /// # Errors
    /// If neither is answered, or the server is too old.
    pub async fn info(&mut self) -> Result<(Info, bool), RedisError> {
        let told = match self.ask(&[b"INFO"]).await? {
            Frame::Error(_) => None,
            answer => Some(Info::parse(&text_of("INFO", &answer)?)),
        };
        let answered = told.is_some();
        let mut info = told.unwrap_or_default();
        if [&info.version, &info.role, &info.mode].into_iter().any(String::is_empty) {
            let hello = self.ask(&[b"HELLO", b"2"]).await?;
            info.complete(&hello).ok_or_else(|| refused("HELLO", &hello))?;
        }
        info.new_enough().map(|info| (info, answered))
    }

    /// The answer to `COMMAND`.
    ///
    /// # Errors
    /// If it cannot be asked, or is refused.
    pub async fn commands(&mut self) -> Result<Frame, RedisError> {
        match self.ask(&[b"COMMAND"]).await? {
            Frame::Error(text) => {
                let answer = format!("{text} (kv-cache's user needs it: ACL SETUSER … +command)");
                Err(RedisError::Refused { command: "COMMAND", answer })
            }
            answer => Ok(answer),
        }
    }

    /// The value of a setting; `None` if the server does not know it or does not tell.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>, RedisError> {
        match self.ask(&[b"CONFIG", b"GET", name.as_bytes()]).await? {
            Frame::Array(pair) => Ok(pair.get(1).and_then(|value| text_of("CONFIG GET", value).ok())),
            _ => Ok(None),
        }
    }

    /// The users, as rules of `ACL LIST`.
    ///
    /// # Errors
    /// If it cannot be asked, or is refused.
    pub async fn users(&mut self) -> Result<Vec<String>, RedisError> {
        match self.ask(&[b"ACL", b"LIST"]).await? {
            Frame::Array(rules) => rules.iter().map(|rule| text_of("ACL LIST", rule)).collect(),
            other => Err(refused("ACL LIST", &other)),
        }
    }

    /// The name of the user that this connection is.
    ///
    /// # Errors
    /// If it cannot be asked, or is refused.
    pub async fn user(&mut self) -> Result<String, RedisError> {
        let answer = self.ask(&[b"ACL", b"WHOAMI"]).await?;
        text_of("ACL WHOAMI", &answer)
    }

    /// The addresses of all clients, as the server sees them.
    ///
    /// # Errors
    /// If it cannot be asked, or is refused.
    pub async fn clients(&mut self) -> Result<Vec<String>, RedisError> {
        let answer = self.ask(&[b"CLIENT", b"LIST"]).await?;
        let list = text_of("CLIENT LIST", &answer)?;
        let address =
            |line: &str| line.split(' ').find_map(|field| field.strip_prefix("addr=").map(str::to_owned));
        Ok(list.lines().filter_map(address).collect())
    }
}

/// Connects, without a word yet.
pub(crate) async fn connect(server: &Server) -> Result<Link, RedisError> {
    let address = || server.address.to_string();
    server.connect(ANSWER_TIMEOUT).await.map_err(|source| {
        if is_tls(&source) {
            RedisError::Tls { address: address(), source }
        } else {
            RedisError::Connect { address: address(), source }
        }
    })
}

/// Appends a request in RESP.
pub(crate) fn encode(outgoing: &mut Vec<u8>, arguments: &[&[u8]]) {
    outgoing.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        outgoing.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        outgoing.extend_from_slice(argument);
        outgoing.extend_from_slice(b"\r\n");
    }
}

fn refused(command: &'static str, answer: &Frame) -> RedisError {
    let answer = match answer {
        Frame::Error(text) if text.starts_with("NOAUTH") || text.starts_with("WRONGPASS") => {
            format!(
                "{text} (kv-cache's own user: redis.username and redis.password_file, or KV_CACHE_REDIS_PASSWORD)"
            )
        }
        Frame::Error(text) => text.clone(),
        _ => "something else than expected".to_owned(),
    };
    RedisError::Refused { command, answer }
}

fn text_of(command: &'static str, answer: &Frame) -> Result<String, RedisError> {
    match answer {
        Frame::BulkString(bytes) | Frame::SimpleString(bytes) => {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
        other => Err(refused(command, other)),
    }
}

/// What the agent needs of `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `redis_version`.
    pub version: String,
    /// `run_id`: another one is another process with other data.
    pub run_id: String,
    /// `role`: `master` or `slave`.
    pub role: String,
    /// `redis_mode` (Valkey: `server_mode`): `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// Whether a coordinated failover (`FAILOVER`) is under way: the role changes without a further command.
    pub failing_over: bool,
    /// Whether the data is still being loaded.
    pub loading: bool,
    /// `maxmemory`, in bytes; 0 is no limit.
    pub maxmemory: u64,
    /// `maxmemory_policy`.
    pub maxmemory_policy: String,
    /// Names of the modules that are loaded.
    pub modules: Vec<String>,
}

impl Info {
    /// Whether the server evicts keys by when or how often they were used.
    #[must_use]
    pub fn evicts_by_use(&self) -> bool {
        let policy = &self.maxmemory_policy;
        self.maxmemory != 0 && (policy.ends_with("-lru") || policy.ends_with("-lfu"))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or("")
                .trim()
                .to_owned()
        };
        Self {
            version: field("redis_version"),
            run_id: field("run_id"),
            role: field("role"),
            mode: Some(field("redis_mode"))
                .filter(|mode| !mode.is_empty())
                .unwrap_or_else(|| field("server_mode")),
            // Servers before 6.2 have no such command and no such field.
            failing_over: !matches!(field("master_failover_state").as_str(), "" | "no-failover"),
            loading: field("loading") == "1",
            maxmemory: field("maxmemory").parse().unwrap_or(0),
            maxmemory_policy: field("maxmemory_policy"),
            modules: {
                let modules = text.lines().filter_map(|line| line.strip_prefix("module:name="));
                modules.map(|rest| rest.split(',').next().unwrap_or_default().to_owned()).collect()
            },
        }
    }

    /// Fills in what is missing from the answer to `HELLO`, a map flattened; `None` if it is something else.
    fn complete(&mut self, hello: &Frame) -> Option<()> {
        let Frame::Array(fields) = hello else { return None };
        for [name, value] in fields.as_chunks::<2>().0 {
            let Ok(name) = text_of("HELLO", name) else { continue };
            let place = match name.as_str() {
                "version" => &mut self.version,
                "mode" => &mut self.mode,
                "role" => &mut self.role,
                "modules" => {
                    let Frame::Array(modules) = value else { continue };
                    if self.modules.is_empty() {
                        self.modules = modules.iter().map(module_name).collect();
                    }
                    continue;
                }
                _ => continue,
            };
            if place.is_empty() {
                *place = text_of("HELLO", value).ok()?;
            }
        }
        Some(())
    }

    fn new_enough(self) -> Result<Self, RedisError> {
        let major: u32 = self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < VERSION_MIN { Err(RedisError::TooOld(self.version)) } else { Ok(self) }
    }
}

/// The name of a module, of which `HELLO` tells as a map flattened.
fn module_name(module: &Frame) -> String {
    let Frame::Array(fields) = module else { return "unnamed".to_owned() };
    let pairs = fields.as_chunks::<2>().0;
    let named = pairs.iter().find(|[key, _]| text_of("HELLO", key).is_ok_and(|key| key == "name"));
    named.and_then(|[_, name]| text_of("HELLO", name).ok()).unwrap_or_else(|| "unnamed".to_owned())
}

/// The wait before the attempt that follows `failures` failed ones.
#[must_use]
pub fn retry_delay(failures: u32) -> Duration {
    RETRY.0.saturating_mul(1 << failures.min(16)).min(RETRY.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\nloading:0\r\nmaxmemory:5\r\nmaxmemory_policy:noeviction\r\nrole:master\r\n# Modules\r\nmodule:name=bf,ver=20612,api=1\r\n",
        );
        assert_eq!((info.role.as_str(), info.run_id.as_str(), info.maxmemory), ("master", "abc", 5));
        assert_eq!((info.maxmemory_policy.as_str(), info.modules), ("noeviction", vec!["bf".to_owned()]));
    }

    #[test]
    fn a_failover_is_seen() {
        let info =
            |more: &str| Info::parse(&format!("redis_version:7.0.15\r\nredis_mode:standalone\r\n{more}"));
        assert!(!info("").failing_over && !info("master_failover_state:no-failover\r\n").failing_over);
        assert!(info("master_failover_state:waiting-for-sync\r\n").failing_over);
        assert!(info("master_failover_state:failover-in-progress\r\n").failing_over);
    }

    #[test]
    fn valkey_tells_its_mode_by_another_name() {
        let info = Info::parse(
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\nserver_mode:cluster\r\n",
        );
        assert_eq!(info.mode, "cluster");
    }

    #[test]
    fn old_servers_are_refused() {
        let error = Info::parse("redis_version:5.0.14\r\n").new_enough().expect_err("too old");
        assert!(error.to_string().contains("5.0.14 is too old"), "{error}");
    }

    #[test]
    fn what_info_leaves_out_hello_tells() {
        let text = |text: &str| Frame::BulkString(text.as_bytes().to_vec());
        let module = Frame::Array(vec![text("name"), text("bf"), text("ver"), Frame::Integer(1)]);
        let hello = Frame::Array(vec![
            text("server"),
            text("redis"),
            text("version"),
            text("7.0.15"),
            text("proto"),
            Frame::Integer(2),
            text("mode"),
            text("cluster"),
            text("role"),
            text("replica"),
            text("modules"),
            Frame::Array(vec![module]),
        ]);
        let mut info = Info::default();
        info.complete(&hello).expect("a map");
        assert_eq!(
            (info.version.as_str(), info.mode.as_str(), info.role.as_str()),
            ("7.0.15", "cluster", "replica")
        );
        assert_eq!(info.modules, ["bf"]);
        let mut info = Info::parse("role:master\r\n");
        info.complete(&hello).expect("a map");
        assert_eq!((info.role.as_str(), info.mode.as_str()), ("master", "cluster"));
        assert!(Info::default().complete(&Frame::Error("ERR".into())).is_none());
    }

    #[test]
    fn waits_grow_to_a_limit() {
        assert_eq!(retry_delay(0), RETRY.0);
        assert_eq!(retry_delay(1), RETRY.0 * 2);
        assert_eq!(retry_delay(40), RETRY.1);
    }

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &[b"GET", b"a\r\nb"]);
        assert_eq!(bytes, b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
    }

    #[tokio::test]
    async fn nothing_listening_is_named() {
        let nobody = Server::open(([127, 0, 0, 1], 1).into());
        let error = Connection::open(&nobody).await.expect_err("nobody there");
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
