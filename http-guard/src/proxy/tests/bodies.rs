//! Uploads, expectations, and connections that change their protocol.

use super::server::by_hand;
use super::*;

const CHUNKED: &str = "POST /up HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_body_is_sent_on_as_it_comes() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(CHUNKED).await;
    let mut server = connections.recv().await.unwrap();
    assert_eq!(server.until("\r\n\r\n").await, CHUNKED);
    for chunk in ["5\r\nhello\r\n", "6;a=b\r\n wor", "ld\r\n", "0\r\nX: y\r\n\r\n"] {
        client.send(chunk).await;
        assert_eq!(server.until(chunk).await, chunk);
    }
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n").await;
    client.until("yes\r\n").await;
    // The response is not whole, so the next request waits.
    client.send(get("/next")).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), server.0.read(&mut byte)).await;
    assert!(early.is_err());
    server.send("0\r\n\r\n").await;
    assert_eq!(server.until("\r\n\r\n").await, get("/next"));
}

#[tokio::test]
async fn a_body_that_is_refused_tears_the_servers_connection() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(CHUNKED).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    client.send("5\r\nhello\r\nx\r\n").await;
    let (said, ended) = client.rest().await;
    assert!(said.starts_with("HTTP/1.1 400 ") && ended, "{said}");
    let (came, ended) = server.rest().await;
    assert!(!ended && !came.contains('x'), "{came}");
    assert_eq!(guarded.proxy.counts().bodies_refused, 1);
    assert_eq!(guarded.proxy.process().refusals().iter().sum::<u64>(), 1);
    // With a response begun, it is torn as well.
    let mut client = Client::to(guarded.address).await;
    client.send(CHUNKED).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").await;
    client.until("part").await;
    client.send("x\r\n").await;
    assert_eq!(client.rest().await, (String::new(), false));
}

#[tokio::test]
async fn who_waits_to_be_told_is_told() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    let head = "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).await;
    let mut server = connections.recv().await.unwrap();
    assert_eq!(server.until("\r\n\r\n").await, head);
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    server.until("body").await;
    server.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    // An early answer, and the rest of the body that is sent all the same.
    client.send(head).await;
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n").await;
    client.until("417 No\r\nContent-Length: 0\r\n\r\n").await;
    client.send(format!("body{}", get("/next"))).await;
    assert_eq!(server.until("\r\n\r\n").await, format!("body{}", get("/next")));
}

#[tokio::test]
async fn another_protocol_is_copied_both_ways() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        .await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
        .await;
    assert!(client.until("hello").await.starts_with("HTTP/1.1 101 "));
    assert_eq!(server.until("early").await, "early");
    client.send("\0\nGET / no HTTP").await;
    server.until("no HTTP").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(server.rest().await, (String::new(), true));
    server.send("last").await;
    drop(server);
    assert_eq!(client.rest().await, ("last".into(), true));
    assert_eq!(guarded.proxy.counts().switched, 1);
}

#[tokio::test]
async fn a_receiver_that_does_not_take_anything_stops_the_sender() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/large")).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    let len = 64 << 20;
    server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n")).await;
    let chunk = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while sent < len {
        // Once all buffers are full it stands still.
        match tokio::time::timeout(Duration::from_millis(300), server.0.write(&chunk)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    assert!(sent < len, "all of it is kept somewhere");
    let reading = async {
        client.until("\r\n\r\n").await;
        let mut bytes = vec![0; len];
        client.0.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'x'));
    };
    let writing = async {
        while sent < len {
            let part = chunk.len().min(len - sent);
            sent += server.0.write(&chunk[..part]).await.unwrap();
        }
    };
    tokio::join!(reading, writing);
}
