//! What heartbeat says of its members, as it says it (server-sent events).

use super::Place;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A member is seen differently.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Change {
    /// The member.
    pub(crate) node: u32,
    /// How it is seen now.
    pub(crate) to: String,
    /// When, on `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) at_ns: u64,
}

/// The changes since it was asked for.
pub(crate) struct Events {
    stream: TcpStream,
    changes: Receiver<Change>,
    reader: Option<JoinHandle<()>>,
}

impl Events {
    pub(super) fn of(place: &Place, admin: SocketAddr) -> Result<Self> {
        let mut stream = place.run(|| Ok(TcpStream::connect_timeout(&admin, CONNECT_LIMIT)?))?;
        stream.set_read_timeout(Some(CONNECT_LIMIT))?;
        write!(stream, "GET /events HTTP/1.1\r\nHost: xps\r\nAccept: text/event-stream\r\n\r\n")?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        lines.read_line(&mut line).context("heartbeat tells no events")?;
        if line.split(' ').nth(1) != Some("200") {
            bail!("heartbeat tells no events: {}", line.trim());
        }
        while line.trim() != "" {
            line.clear();
            lines.read_line(&mut line)?;
        }
        stream.set_read_timeout(None)?;
        let (sender, changes) = channel();
        let reader = std::thread::spawn(move || read(lines, &sender));
        Ok(Self { stream, changes, reader: Some(reader) })
    }

    /// The next change, if one comes in time.
    pub(crate) fn next(&self, limit: Duration) -> Result<Option<Change>> {
        match self.changes.recv_timeout(limit) {
            Ok(change) => Ok(Some(change)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("heartbeat tells no more events"),
        }
    }

    /// Waits until a member is seen so.
    pub(crate) fn wait(&self, node: u32, state: &str, limit: Duration) -> Result<Change> {
        let start = Instant::now();
        loop {
            let Some(change) = self.next(limit.saturating_sub(start.elapsed()))? else {
                bail!("node {node} was not seen {state} within {limit:?}")
            };
            if change.node == node && change.to == state {
                return Ok(change);
            }
        }
    }

    /// What has come and was not asked for yet.
    pub(crate) fn rest(&self) -> Vec<Change> {
        self.changes.try_iter().collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Hands changes on until the connection or whoever listens is gone.
fn read(lines: impl BufRead, to: &Sender<Change>) {
    for line in lines.lines() {
        let Ok(line) = line else { return };
        if let Some(change) = change(&line)
            && to.send(change).is_err()
        {
            return;
        }
    }
}

/// The change in a line; `None` for names of events, comments, and the lengths of chunks that the answer is cut into.
fn change(line: &str) -> Option<Change> {
    serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_lines_of_data() {
        let text = "4b\r\nevent: change\ndata: {\"observer\":1,\"node\":20,\"from\":\"alive\",\"to\":\"failed\",\"at_ns\":7}\n\n\r\n\
                    : nothing\n\ndata: 3\n";
        let (sender, changes) = channel();
        read(text.as_bytes(), &sender);
        let found: Vec<Change> = changes.try_iter().collect();
        assert_eq!(found, [Change { node: 20, to: "failed".to_owned(), at_ns: 7 }]);
    }
}
