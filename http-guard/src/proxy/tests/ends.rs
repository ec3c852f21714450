//! How connections end: in order, torn, late, or without a server.

use super::server::{answering, by_hand};
use super::*;

#[tokio::test]
async fn a_half_close_is_passed_on() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    client.0.shutdown().await.unwrap();
    let mut server = connections.recv().await.unwrap();
    assert_eq!(server.rest().await, (get("/a"), true));
    server.send("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    drop(server);
    let (said, ended) = client.rest().await;
    assert!(said.ends_with("until the end") && ended);
}

#[tokio::test]
async fn resets_are_passed_on() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").await;
    client.until("part").await;
    socket::reset(&server.0);
    drop(server);
    assert_eq!(client.rest().await, (String::new(), false));
    let mut client = Client::to(guarded.address).await;
    client.send(get("/b")).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    socket::reset(&client.0);
    drop(client);
    assert!(!server.rest().await.1);
}

#[tokio::test]
async fn an_idle_connection_is_the_servers_to_end() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    server.send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n").await;
    drop(server);
    let (said, ended) = client.rest().await;
    assert!(said.starts_with("HTTP/1.1 408 ") && ended, "{said}");
}

#[tokio::test]
async fn clients_that_are_slow_are_left() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |settings| {
        settings.header_timeout = Duration::from_millis(150);
        settings.body_timeout = Duration::from_millis(150);
    })
    .await;
    let mut silent = Client::to(guarded.address).await;
    assert_eq!(silent.rest().await, (String::new(), true));
    let mut slow = Client::to(guarded.address).await;
    for _ in 0..3 {
        slow.send("G").await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!(slow.rest().await.0.is_empty());
    let mut client = Client::to(guarded.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel").await;
    let mut server = connections.recv().await.unwrap();
    let (came, ended) = server.rest().await;
    assert!(came.is_empty() || came.ends_with("hel"));
    assert!(!ended);
    assert!(client.rest().await.0.is_empty());
    assert_eq!(guarded.proxy.counts().slow, 3);
    // Nobody else is.
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    let mut server = connections.recv().await.unwrap();
    server.until("\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    client.send(get("/b")).await;
    server.until("/b").await;
}

#[tokio::test]
async fn without_a_server_it_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let guarded = guarded(address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    let (said, ended) = client.rest().await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("Connection: close") && ended, "{said}");
    let (said, _) = Client::to(guarded.address).await.last(get("/a").replace("GET", "HEAD")).await;
    assert!(said.ends_with("\r\n\r\n"), "{said}");
    assert_eq!(guarded.proxy.counts().unreachable, 2);
}

#[tokio::test]
async fn a_stop_ends_what_is_idle_and_then_the_rest() {
    let server = answering().await;
    let guarded = guarded(server.address, "", |_| {}).await;
    let mut idle = Client::to(guarded.address).await;
    idle.send(get("/a")).await;
    idle.until("fine").await;
    let mut busy = Client::to(guarded.address).await;
    busy.send("GET /half HTTP/1.1\r\n").await;
    while guarded.proxy.counts().open < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guarded.stop.send(true).unwrap();
    assert!(idle.rest().await.0.is_empty());
    assert!(busy.rest().await.0.is_empty());
    assert!(TcpStream::connect(guarded.address).await.is_err());
}

#[tokio::test]
async fn a_reload_holds_from_the_next_request_on() {
    let server = answering().await;
    let guarded = guarded(server.address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a") + "GET /b HTT").await;
    client.until("fine").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let rule = "[[rule]]\nname = \"no\"\npath = \"/b\"\naction = \"deny\"";
    let rules = rules::read("test", rule, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().rules;
    guarded.proxy.process().replace(&rules, &Page::default(), &ProcessSettings::default()).unwrap();
    client.send("P/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(client.until("fine").await.contains(" 200 "));
    client.send(get("/b")).await;
    assert!(client.until("\r\n\r\n").await.contains(" 403 "));
}
