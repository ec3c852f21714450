//! The proxy between clients and servers of these tests, on loopback.

mod bodies;
mod disabled;
mod ends;
mod limits;
mod probes;
mod server;
mod whose;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::answers::Page;
use crate::path::ledger::memory::Memory;
use crate::path::process::ProcessSettings;
use crate::rules;

/// Nothing here takes longer, however slow the machine is.
const LONG: Duration = Duration::from_secs(30);

/// A proxy that runs.
struct Guarded {
    proxy: Arc<Proxy>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

/// A proxy before a server, with these rules.
async fn guarded(server: SocketAddr, text: &str, change: impl FnOnce(&mut ProxySettings)) -> Guarded {
    let rules = rules::read("test", text, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().rules;
    let (process, _) =
        Process::new(&rules, &Page::default(), &ProcessSettings::default(), Arc::new(Memory::new(1024)))
            .unwrap();
    behind(process, server, change).await
}

async fn behind(
    process: Arc<Process>,
    server: SocketAddr,
    change: impl FnOnce(&mut ProxySettings),
) -> Guarded {
    let mut settings = ProxySettings::to(server.into());
    change(&mut settings);
    let proxy = Proxy::new(process, settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(Arc::clone(&proxy).serve(listener, stopped, || Duration::ZERO));
    Guarded { proxy, address, stop }
}

/// A client's connection.
struct Client(TcpStream);

impl Client {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends the parts between cuts one after the other.
    async fn send_cut(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut at = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            if at != 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            // It may be closed for what came before.
            if self.0.write_all(&bytes[at..cut]).await.is_err() {
                return;
            }
            at = cut;
        }
    }

    /// Reads until something is there.
    async fn until(&mut self, what: &str) -> String {
        let mut bytes = Vec::new();
        let found = tokio::time::timeout(LONG, async {
            while !String::from_utf8_lossy(&bytes).contains(what) {
                let mut byte = [0];
                self.0.read_exact(&mut byte).await.unwrap_or_else(|error| {
                    panic!("{error} after {}", String::from_utf8_lossy(&bytes));
                });
                bytes.extend(byte);
            }
        });
        found.await.unwrap_or_else(|_| panic!("{what} does not come"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads to the end; whether that was in order.
    async fn rest(&mut self) -> (String, bool) {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(LONG, self.0.read_to_end(&mut bytes)).await;
        (String::from_utf8_lossy(&bytes).into_owned(), read.expect("an end").is_ok())
    }

    /// Sends, ends its stream, and reads what comes.
    async fn last(mut self, bytes: impl AsRef<[u8]>) -> (String, bool) {
        self.send(bytes).await;
        self.0.shutdown().await.unwrap();
        self.rest().await
    }
}

/// A request.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

/// The statuses of responses that have no bodies with such lines.
fn statuses(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 ").skip(1).map(|response| &response[..3]).collect()
}
