//! The relay with real sockets.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        server: server.local_addr().unwrap(),
        connections_max,
        connect_timeout: Duration::from_secs(1),
    })
    .unwrap();
    let (address, counts) = (relay.addresses()[0], relay.counts());
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(relay.run(Plain, stopped, || Duration::from_millis(300)));
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
    let settings = RelaySettings {
        listen: vec![address],
        server: address,
        connections_max: 1,
        connect_timeout: Duration::from_secs(1),
    };
    let error = Relay::bind(settings).unwrap_err();
    assert!(error.to_string().contains("is in use: stop the program"), "{error}");
}

#[tokio::test]
async fn both_families_listen_on_one_port() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let settings = RelaySettings {
        listen: vec![SocketAddr::from(([0, 0, 0, 0], free)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, free))],
        server: SocketAddr::from(([127, 0, 0, 1], 9)),
        connections_max: 1,
        connect_timeout: Duration::from_secs(1),
    };
    assert!(!Relay::bind(settings).unwrap().addresses().is_empty());
}
