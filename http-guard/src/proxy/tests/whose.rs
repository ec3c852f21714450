//! Whose request it is, and what the server is told of it.

use super::server::{Server, answering};
use super::*;

const RULES: &str = r#"
[[rule]]
name = "not them"
client = "192.0.2.0/24"
action = "deny"
"#;

async fn ask(address: SocketAddr, bytes: &str) -> String {
    Client::to(address).await.last(bytes).await.0
}

async fn setup(from: FromClients, to: ToServer, trusted: &[&str]) -> (Server, Guarded) {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |settings| {
        settings.from_clients = from;
        settings.to_server = to;
        settings.trusted = trusted.iter().map(|prefix| prefix.parse().unwrap()).collect();
    })
    .await;
    (server, guarded)
}

fn from(address: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: {address}\r\n\r\n")
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_for_each_request() {
    let (server, guarded) =
        setup(FromClients::XForwardedFor, ToServer::XForwardedFor, &["127.0.0.0/8"]).await;
    let asked = [from("198.51.100.1", "/a"), from("192.0.2.1", "/b"), from("192.0.2.1, 198.51.100.2", "/c")];
    let said = ask(guarded.address, &asked.concat()).await;
    assert_eq!(statuses(&said), ["200", "403", "200"]);
    let told = [from("198.51.100.1, 127.0.0.1", "/a"), from("192.0.2.1, 198.51.100.2, 127.0.0.1", "/c")];
    assert_eq!(server.text(), told.concat());
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let (server, guarded) = setup(FromClients::XForwardedFor, ToServer::XForwardedFor, &["10.0.0.0/8"]).await;
    let said = ask(guarded.address, &from("192.0.2.1", "/a")).await;
    assert_eq!(statuses(&said), ["200"]);
    assert_eq!(server.text(), from("127.0.0.1", "/a"));
    let (server, guarded) = setup(FromClients::ProxyProtocol, ToServer::None, &["10.0.0.0/8"]).await;
    let said = ask(guarded.address, &format!("PROXY TCP4 198.51.100.1 127.0.0.1 1 2\r\n{}", get("/a"))).await;
    assert_eq!(statuses(&said), ["400"]);
    assert_eq!(server.text(), "");
}

#[tokio::test]
async fn a_balancer_tells_whose_connection_it_is() {
    let (server, guarded) = setup(FromClients::ProxyProtocol, ToServer::XForwardedFor, &["127.0.0.1"]).await;
    let with = |client: &str| format!("PROXY TCP4 {client} 203.0.113.1 4711 80\r\n{}", get("/a"));
    assert_eq!(statuses(&ask(guarded.address, &with("192.0.2.7")).await), ["403"]);
    assert_eq!(statuses(&ask(guarded.address, &with("198.51.100.7")).await), ["200"]);
    assert_eq!(server.text(), from("198.51.100.7", "/a"));
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    assert_eq!(client.rest().await, (String::new(), false));
    assert_eq!(guarded.proxy.counts().without_header, 1);
    // Byte by byte, and of the second version.
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x01\x12\x67\0\x50".to_vec();
    header.extend(get("/a").as_bytes());
    let mut client = Client::to(guarded.address).await;
    client.send_cut(&header, &(1..30).collect::<Vec<_>>()).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(statuses(&client.rest().await.0), ["403"]);
}

#[tokio::test]
async fn the_server_is_told_by_connection() {
    let (server, guarded) =
        setup(FromClients::XForwardedFor, ToServer::ProxyProtocolV1, &["127.0.0.0/8"]).await;
    // Another client, another connection.
    let clients = ["198.51.100.1", "198.51.100.1", "2001:db8::1"];
    let said = ask(guarded.address, &clients.map(|client| from(client, "/")).concat()).await;
    assert_eq!(statuses(&said), ["200"; 3]);
    let streams = server.streams();
    let port = guarded.address.port();
    assert_eq!(
        String::from_utf8_lossy(&streams[0]),
        format!("PROXY TCP4 198.51.100.1 127.0.0.1 0 {port}\r\n{}", from("198.51.100.1", "/").repeat(2))
    );
    assert_eq!(
        String::from_utf8_lossy(&streams[1]),
        format!("PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 0 {port}\r\n{}", from("2001:db8::1", "/"))
    );
}

#[tokio::test]
async fn a_blocked_client_is_known_behind_a_proxy() {
    let server = answering().await;
    let strikes = "[[rule]]\nname = \"s\"\npath = \"/s\"\naction = \"limit\"\nrate = \"1/h\"\nblock_after = \"1/h\"\nblock_time = \"1h\"";
    let guarded = guarded(server.address, strikes, |settings| {
        settings.from_clients = FromClients::XForwardedFor;
        settings.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let said = ask(guarded.address, &from("198.51.100.1", "/s").repeat(2)).await;
    assert_eq!(statuses(&said), ["200", "429"]);
    // One refusal too many, and then every request.
    for path in ["/s", "/other"] {
        let mut client = Client::to(guarded.address).await;
        client.send(from("198.51.100.1", path)).await;
        assert_eq!(client.rest().await, (String::new(), false), "{path}");
    }
    assert_eq!(statuses(&ask(guarded.address, &from("198.51.100.2", "/other")).await), ["200"]);
    assert_eq!(guarded.proxy.process().ledger().blocked(), 1);
}
