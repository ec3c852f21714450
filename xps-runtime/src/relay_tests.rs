//! The relay with real sockets.

use super::*;
use crate::link::{Bare, ToServer};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

struct Setup {
    server: TcpListener,
    address: SocketAddr,
    counts: Arc<RelayCounts>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

async fn setup(connections_max: usize) -> Setup {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::bind(RelaySettings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        connections_max,
        connect_timeout: Duration::from_secs(1),
    })
    .unwrap();
    let (address, counts) = (relay.addresses()[0], relay.counts());
    let (stop, stopped) = watch::channel(false);
    let dial = ToServer { server: server.local_addr().unwrap().into(), limit: Duration::from_secs(1) };
    let task = tokio::spawn(relay.run(Bare, dial, Plain, stopped, || Duration::from_millis(300)));
    Setup { server, address, counts, stop, task }
}

#[tokio::test]
async fn bytes_and_half_closes_pass_both_ways() {
    let setup = setup(8).await;
    let mut client = TcpStream::connect(setup.address).await.unwrap();
    let (mut server, _) = setup.server.accept().await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| (i ^ i >> 8) as u8).collect();
    let copy = sent.clone();
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert!(got == copy);
        // The client has closed its half; this half still works.
        server.write_all(b"late").await.unwrap();
    });
    client.write_all(&sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"late");
    reader.await.unwrap();
    let reading = setup.counts.read();
    assert_eq!((reading.connections, reading.bytes_to_server, reading.bytes_to_client), (1, 1_000_000, 4));
}

#[tokio::test]
async fn an_abort_is_passed_on_as_a_reset() {
    let setup = setup(8).await;
    let client = TcpStream::connect(setup.address).await.unwrap();
    let (mut server, _) = setup.server.accept().await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let error = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let mut client = TcpStream::connect(setup.address).await.unwrap();
    let (server, _) = setup.server.accept().await.unwrap();
    server.set_zero_linger().unwrap();
    drop(server);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn without_a_server_the_client_is_closed() {
    let Setup { server, address, counts, stop: _stop, task: _task } = setup(8).await;
    drop(server);
    let mut client = TcpStream::connect(address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(2), client.read(&mut [0; 8])).await.unwrap();
    assert!(read.is_err());
    assert_eq!(counts.read().failed, 1);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let setup = setup(1).await;
    let first = TcpStream::connect(setup.address).await.unwrap();
    let held = setup.server.accept().await.unwrap();
    let mut second = TcpStream::connect(setup.address).await.unwrap();
    second.write_all(b"hello").await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(200), setup.server.accept()).await;
    assert!(waiting.is_err());
    drop((first, held));
    let (mut server, _) = setup.server.accept().await.unwrap();
    let mut got = [0; 5];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test]
async fn a_stop_waits_for_connections_and_resets_what_stays() {
    let setup = setup(8).await;
    let mut client = TcpStream::connect(setup.address).await.unwrap();
    let (mut server, _) = setup.server.accept().await.unwrap();
    setup.stop.send(true).unwrap();
    // Still relayed while the grace lasts.
    client.write_all(b"x").await.unwrap();
    server.read_exact(&mut [0]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), setup.task).await.unwrap().unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(TcpStream::connect(setup.address).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let settings =
        RelaySettings { listen: vec![address], connections_max: 1, connect_timeout: Duration::from_secs(1) };
    let error = Relay::bind(settings).unwrap_err();
    assert!(error.to_string().contains("is in use: stop the program"), "{error}");
}

#[tokio::test]
async fn both_families_listen_on_one_port() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let settings = RelaySettings {
        listen: vec![SocketAddr::from(([0, 0, 0, 0], free)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, free))],
        connections_max: 1,
        connect_timeout: Duration::from_secs(1),
    };
    assert!(!Relay::bind(settings).unwrap().addresses().is_empty());
}

/// What TLS would be: a stream over TCP, after a handshake of one byte from the client.
struct Wrapped(TcpStream);

impl tokio::io::AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl tokio::io::AsyncWrite for Wrapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for Wrapped {
    fn tcp(&self) -> &TcpStream {
        &self.0
    }

    fn is_bare(&self) -> bool {
        false
    }
}

#[derive(Clone)]
struct Knock;

impl Accept for Knock {
    type Stream = Wrapped;

    async fn accept(&self, mut tcp: TcpStream) -> io::Result<Wrapped> {
        match tcp.read_u8().await? {
            b'K' => Ok(Wrapped(tcp)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[tokio::test]
async fn a_stream_over_tcp_is_relayed_like_tcp_and_the_server_sees_only_who_was_accepted() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let any = vec!["127.0.0.1:0".parse().unwrap()];
    let settings = RelaySettings {
        listen: any.clone(),
        connections_max: 8,
        connect_timeout: Duration::from_millis(500),
    };
    let relay = Relay::bind(settings).unwrap().beside(any).unwrap();
    let (address, counts) = (relay.addresses()[0], relay.counts());
    let dial = ToServer { server: server.local_addr().unwrap().into(), limit: Duration::from_secs(1) };
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(relay.run(Knock, dial, Plain, stopped, || Duration::ZERO));

    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut wrong = TcpStream::connect(address).await.unwrap();
    wrong.write_all(b"x").await.unwrap();
    for refused in [&mut wrong, &mut silent] {
        let read = tokio::time::timeout(Duration::from_secs(5), refused.read(&mut [0; 8])).await.unwrap();
        assert_eq!(read.unwrap(), 0);
    }
    assert_eq!(counts.read().refused, 2);

    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"Khello").await.unwrap();
    client.shutdown().await.unwrap();
    // The first that the server sees.
    let (mut upstream, _) = server.accept().await.unwrap();
    let mut got = Vec::new();
    upstream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"hello");
    upstream.write_all(b"late").await.unwrap();
    drop(upstream);
    got.clear();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"late");
    until_closed(&counts).await;
    let reading = counts.read();
    assert_eq!((reading.connections, reading.bytes_to_server, reading.bytes_to_client), (3, 5, 4));

    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"K").await.unwrap();
    let (upstream, _) = server.accept().await.unwrap();
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

async fn until_closed(counts: &RelayCounts) {
    let closed = async {
        while counts.read().open != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
}
