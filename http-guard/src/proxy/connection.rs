//! A client's connection: its requests one after the other, each answered before the next one is looked at.
//!
//! # Layout
//!
//! - `arrival`: how it begins, and what happens until a request has come.
//! - `refusing`: what clients are told instead of the server's answer.
//! - `unread`: what passes unread.

mod arrival;
mod refusing;
mod unread;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::counts::count;
use super::exchange::{Begun, Exchange, Outcome, watch as watch_client};
use super::forwarded;
use super::gate::{Asked, Decision, Gate, Met, unreachable};
use super::input::Input;
use super::pace::Pace;
use super::proxy_protocol::{self, Ends};
use super::replies::Replies;
use super::settings::{ProxySettings, ToServer};
use super::{Proxy, socket};
use arrival::Next;

/// A connection.
pub(super) struct Connection {
    proxy: Arc<Proxy>,
    settings: Arc<ProxySettings>,
    stop: watch::Receiver<bool>,
    client: TcpStream,
    /// Whose it is, as far as the connection as a whole tells.
    ends: Ends,
    /// Whether its requests tell whose they are.
    believed: bool,
    gate: Gate,
    input: Input,
    upstream: Option<Upstream>,
}

/// The connection to the server.
struct Upstream {
    stream: TcpStream,
    replies: Replies,
    /// The client that the server was told of.
    client: IpAddr,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next request.
    GoOn,
    /// Nothing.
    Over,
}

impl Connection {
    pub(super) fn new(
        proxy: Arc<Proxy>,
        stop: watch::Receiver<bool>,
        client: TcpStream,
        peer: SocketAddr,
    ) -> Self {
        let server = client.local_addr().unwrap_or(SocketAddr::from(([0; 4], 0)));
        let gate = Gate::new(proxy.process.view());
        Self {
            settings: proxy.settings(),
            proxy,
            stop,
            client,
            ends: Ends { client: peer, server },
            believed: false,
            gate,
            input: Input::default(),
            upstream: None,
        }
    }

    /// Serves until the end.
    pub(super) async fn run(&mut self) {
        let Some(_place) = self.begin().await else { return };
        while self.request().await == Then::GoOn {}
    }

    /// Its ends become resets.
    pub(super) fn reset(&self) {
        socket::reset(&self.client);
        self.reset_server();
    }

    fn reset_server(&self) {
        if let Some(upstream) = &self.upstream {
            socket::reset(&upstream.stream);
        }
    }

    /// The next request.
    async fn request(&mut self) -> Then {
        match self.next().await {
            Next::Nothing => return Then::Over,
            Next::Refused => {
                count(&self.proxy.counts.requests);
                return self.refused_by_syntax(self.ends.client.ip()).await;
            }
            Next::Head => count(&self.proxy.counts.requests),
        }
        let asked = self.gate.asked();
        let peer = self.ends.client.ip().to_canonical();
        let client = if self.believed {
            forwarded::client(self.input.passed(), peer, &self.settings.trusted)
        } else {
            Some(peer)
        };
        let Some(client) = client else { return self.not_agreed() };
        match self.gate.judge(client) {
            Decision::Pass(wait) => return self.pass(asked, client, wait).await,
            Decision::Refuse(words) => {
                count(&self.proxy.counts.refused);
                return self.refuse(words, asked).await;
            }
            Decision::Close => {
                count(&self.proxy.counts.refused);
                count(&self.proxy.counts.closed);
            }
            Decision::Drop => {
                count(&self.proxy.counts.refused);
                count(&self.proxy.counts.silenced);
                if let Some(upstream) = self.upstream.take() {
                    socket::reset(&upstream.stream);
                }
                socket::drain(&self.client, self.settings.header_timeout).await;
            }
        }
        self.reset();
        Then::Over
    }

    /// Two readers do not agree on a head: nobody can say what the server would read.
    fn not_agreed(&self) -> Then {
        tracing::warn!("a head that was let pass cannot be read; its connection is reset");
        count(&self.proxy.counts.refused);
        count(&self.proxy.counts.closed);
        self.reset();
        Then::Over
    }

    /// A request passes, as far as its head goes.
    async fn pass(&mut self, asked: Asked, client: IpAddr, wait: Duration) -> Then {
        let head_len = self.input.passed().len();
        // What is there of the body is looked at first: if it is refused, the server sees none of it.
        if !self.gate.at_boundary() && self.input.scan(&mut self.gate).1 == Met::Refused {
            return self.refused_by_syntax(client).await;
        }
        if !wait.is_zero() && !self.delay(wait).await {
            self.reset();
            return Then::Over;
        }
        if self.settings.to_server.is_proxy_protocol()
            && self.upstream.as_ref().is_some_and(|upstream| upstream.client != client)
        {
            // What was said of it holds for all of a connection.
            self.upstream = None;
        }
        let Some(mut first) = self.reach(client).await else {
            return self.last_words(unreachable(asked)).await;
        };
        let (head, body) = self.input.passed().split_at(head_len);
        if self.settings.to_server == ToServer::XForwardedFor {
            let Some(told) = forwarded::told(head, self.ends.client.ip(), self.believed) else {
                return self.not_agreed();
            };
            first.extend(told);
        } else {
            first.extend_from_slice(head);
        }
        first.extend_from_slice(body);
        self.input.forget_passed();
        count(&self.proxy.counts.passed);
        self.exchange(asked, client, first).await
    }

    /// Connects to the server, if it is not connected yet. What it is told first; nothing if it cannot be reached.
    async fn reach(&mut self, client: IpAddr) -> Option<Vec<u8>> {
        if self.upstream.is_some() {
            return Some(Vec::new());
        }
        match self.settings.server.connect(self.settings.connect_timeout).await {
            Ok(stream) => {
                socket::tune(&stream);
                self.upstream = Some(Upstream { stream, replies: Replies::new(), client });
                Some(self.introduction(client))
            }
            Err(error) => {
                tracing::debug!(%error, "cannot reach the server");
                count(&self.proxy.counts.unreachable);
                None
            }
        }
    }

    /// What the server is told of a connection that is opened for a client.
    fn introduction(&self, client: IpAddr) -> Vec<u8> {
        // Which port it was that a proxy was asked from is not known.
        let port = if client == self.ends.client.ip().to_canonical() { self.ends.client.port() } else { 0 };
        let ends = Ends { client: SocketAddr::new(client, port), server: self.ends.server };
        match self.settings.to_server {
            ToServer::None | ToServer::XForwardedFor => Vec::new(),
            ToServer::ProxyProtocolV1 => proxy_protocol::text_header(&ends),
            ToServer::ProxyProtocolV2 => proxy_protocol::binary_header(&ends),
        }
    }

    /// Waits before a request passes. False: the client is gone.
    async fn delay(&mut self, wait: Duration) -> bool {
        count(&self.proxy.counts.delayed);
        let mut over = std::pin::pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = &mut over => return true,
                stays = watch_client(&self.client, &mut self.input), if !self.input.ended => if !stays {
                    return false;
                },
            }
        }
    }

    async fn exchange(&mut self, asked: Asked, client: IpAddr, first: Vec<u8>) -> Then {
        let Some(Upstream { stream, replies, .. }) = &mut self.upstream else { return Then::Over };
        replies.ask(asked.is_head);
        let exchange = Exchange {
            client: &self.client,
            server: stream,
            gate: &mut self.gate,
            replies,
            input: &mut self.input,
            counts: &self.proxy.counts,
            pace: Pace::new(self.settings.body_timeout, self.settings.body_rate_min),
        };
        let outcome = exchange.run(first).await;
        match outcome {
            Outcome::Done if asked.keeps_alive && !*self.stop.borrow() => return Then::GoOn,
            Outcome::Done | Outcome::Ended => {
                self.upstream = None;
                socket::close(&self.client).await;
            }
            Outcome::Switched => self.switched().await,
            Outcome::Torn | Outcome::Gone => self.reset(),
            Outcome::Slow => {
                count(&self.proxy.counts.slow);
                self.reset_server();
            }
            Outcome::Refused(response) => {
                let words = self.gate.refused(client);
                // Of a response that is under way bytes may be lost.
                if response != Begun::Partly && self.passes_unread() {
                    return self.pass_unread(client).await;
                }
                self.reset_server();
                self.upstream = None;
                count(&self.proxy.counts.bodies_refused);
                match (response, words) {
                    (Begun::Whole, _) => socket::close(&self.client).await,
                    (Begun::No, Some(words)) => return self.last_words(words).await,
                    _ => self.reset(),
                }
            }
        }
        Then::Over
    }

    /// Both sides speak what they like from now on.
    async fn switched(&mut self) {
        count(&self.proxy.counts.switched);
        let first = self.input.take();
        if self.relay(first).await.is_err() {
            self.reset();
        }
    }

    /// Sends the server what is there, and from then on each side what the other one says, until both have ended.
    async fn relay(&mut self, first: Vec<u8>) -> io::Result<()> {
        let Some(upstream) = &mut self.upstream else { return Ok(()) };
        let server = &mut upstream.stream;
        socket::write(server, &first).await?;
        if self.input.ended {
            socket::end(server);
        }
        tokio::io::copy_bidirectional(&mut self.client, server).await.map(|_| ())
    }
}
