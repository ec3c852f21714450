//! The operator lets everything pass.

use super::server::{answering, by_hand};
use super::*;

const RULES: &str = r#"
[[rule]]
name = "no"
path_prefix = "/no"
action = "deny"

[[rule]]
name = "few"
path = "/few"
action = "limit"
rate = "1/h"
block_after = "1/h"
block_time = "1h"

[[rule]]
name = "slow"
path = "/slow"
action = "limit"
rate = "1/h"
burst = 2
nodelay = false

[[rule]]
name = "reset"
path = "/reset"
action = "close"

[[rule]]
name = "silence"
path = "/silence"
action = "drop"
"#;

/// A line feed without its carriage return.
const UNREADABLE: &str = "GET /a HTTP/1.1\nHost: a.example\n\n";

#[tokio::test]
async fn whatever_rules_say_passes_until_they_hold_again() {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |settings| settings.per_client_max = 1).await;
    guarded.proxy.process().set_disabled(true);
    let paths = ["/no", "/few", "/few", "/few", "/few", "/slow", "/slow", "/reset", "/silence", "/a"];
    let mut client = Client::to(guarded.address).await;
    for path in paths {
        client.send(get(path)).await;
        client.until("fine").await;
    }
    // By now the client is blocked, and has as many connections as it may.
    assert_eq!(guarded.proxy.process().ledger().blocked(), 1);
    let (said, ended) = Client::to(guarded.address).await.last(get("/no/1")).await;
    assert!(said.contains("fine") && ended, "{said}");
    assert_eq!(server.text(), paths.map(get).concat() + &get("/no/1"));
    let counts = guarded.proxy.counts();
    assert_eq!((counts.passed, counts.refused, counts.delayed, counts.unread), (11, 0, 0, 0));
    assert_eq!(guarded.proxy.process().counts()[0].counts.rejected, 2, "rules go on to count");
    guarded.proxy.process().set_disabled(false);
    client.send(get("/a")).await;
    assert_eq!(client.rest().await, (String::new(), false), "it is blocked");
}

#[tokio::test]
async fn what_cannot_be_read_passes_unread() {
    let (address, mut connections) = by_hand().await;
    let guarded = guarded(address, "", |_| {}).await;
    guarded.proxy.process().set_disabled(true);
    let mut client = Client::to(guarded.address).await;
    client.send(get("/before")).await;
    let mut server = connections.recv().await.unwrap();
    assert_eq!(server.until("\r\n\r\n").await, get("/before"));
    server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    client.send(UNREADABLE).await;
    assert_eq!(server.until("\n\n").await, UNREADABLE);
    server.send("no answer\n").await;
    client.until("no answer\n").await;
    client.send("more of it\n").await;
    assert_eq!(server.until("\n").await, "more of it\n");
    assert_eq!(guarded.proxy.counts().unread, 1);
    assert_eq!(guarded.proxy.process().refusals().iter().sum::<u64>(), 1, "it is counted");
    // Nobody knows where the next request begins.
    guarded.proxy.process().set_disabled(false);
    assert_eq!(client.rest().await, (String::new(), false));
    assert!(!server.rest().await.1);
    let (said, _) = Client::to(guarded.address).await.last(UNREADABLE).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_passes_unread_too() {
    let head = "POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    for parts in [[head, "5\r\nhello\r\nno size\r\n"], ["", &format!("{head}no size\r\n")]] {
        let (address, mut connections) = by_hand().await;
        let guarded = guarded(address, "", |_| {}).await;
        guarded.proxy.process().set_disabled(true);
        let mut client = Client::to(guarded.address).await;
        client.send(parts[0]).await;
        let mut server = None;
        if !parts[0].is_empty() {
            let mut connection = connections.recv().await.unwrap();
            assert_eq!(connection.until("\r\n\r\n").await, parts[0]);
            server = Some(connection);
        }
        client.send(parts[1]).await;
        let mut server = match server {
            Some(server) => server,
            None => connections.recv().await.unwrap(),
        };
        assert_eq!(server.until("no size\r\n").await, parts[1]);
        server.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        drop(server);
        client.0.shutdown().await.unwrap();
        assert_eq!(client.rest().await, ("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(), true));
    }
}

#[tokio::test]
async fn what_cannot_be_told_whose_it_is_does_not() {
    let server = answering().await;
    let guarded =
        guarded(server.address, RULES, |settings| settings.to_server = ToServer::XForwardedFor).await;
    guarded.proxy.process().set_disabled(true);
    let (said, ended) = Client::to(guarded.address).await.last(get("/no") + UNREADABLE).await;
    assert!(ended);
    assert_eq!(statuses(&said), ["200", "400"]);
    assert!(server.text().starts_with("GET /no ") && !server.text().contains("/a"));
}
