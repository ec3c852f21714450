//! Requests that rules refuse, and connections that may not be.

use http_fastpath::limit::Rate;

use super::server::answering;
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
burst = 2

[[rule]]
name = "slow"
path = "/slow"
action = "limit"
rate = "5/s"
burst = 3
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

#[tokio::test]
async fn a_pipeline_is_answered_in_order_and_refusals_do_not_reach_the_server() {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |_| {}).await;
    let paths = ["/no", "/a", "/no/1", "/no/2", "/b", "/few", "/few", "/few", "/c"];
    let (said, ended) = Client::to(guarded.address).await.last(paths.map(get).concat()).await;
    assert!(ended);
    assert_eq!(statuses(&said), ["403", "200", "403", "403", "200", "200", "200", "429", "200"]);
    assert_eq!(server.text(), ["/a", "/b", "/few", "/few", "/c"].map(get).concat());
    assert!(said.contains("RateLimit-Policy: \"few\";q=2;w=7200\r\n"), "{said}");
    assert!(said.contains("Connection: keep-alive") && !said.contains("Connection: close"));
    let counts = guarded.proxy.counts();
    assert_eq!((counts.requests, counts.passed, counts.refused, counts.replies), (9, 5, 4, 4));
}

#[tokio::test]
async fn a_refused_body_is_forgotten_if_it_is_short_and_known() {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |_| {}).await;
    let post =
        |fields: &str, body: &str| format!("POST /no HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n{body}");
    let mut client = Client::to(guarded.address).await;
    client.send(post("Content-Length: 5\r\n", "GET")).await;
    client.until("</html>\r\n").await;
    client.send(format!(" /{}", get("/behind"))).await;
    assert!(client.until("fine").await.starts_with("HTTP/1.1 200 "));
    client.send(post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")).await;
    assert!(client.until("</html>\r\n").await.contains("keep-alive"));
    client.send(post("Transfer-Encoding: chunked\r\n", "5\r\nhello")).await;
    assert!(client.rest().await.0.contains("Connection: close"));
    for fields in [
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
        "Content-Length: 99999\r\n",
        "Connection: close\r\n",
    ] {
        let mut client = Client::to(guarded.address).await;
        client.send(post(fields, "")).await;
        let (said, ended) = client.rest().await;
        assert!(said.contains("Connection: close") && ended, "{said}");
    }
    assert_eq!(server.text(), get("/behind"));
}

#[tokio::test]
async fn heads_of_refused_requests_have_no_body() {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |_| {}).await;
    let head = get("/no").replace("GET", "HEAD");
    let (said, _) = Client::to(guarded.address).await.last(head + &get("/a")).await;
    assert_eq!(statuses(&said), ["403", "200"]);
    assert!(!said.contains("html>"), "{said}");
}

#[tokio::test]
async fn requests_of_a_burst_wait_until_their_time_has_come() {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |_| {}).await;
    let start = std::time::Instant::now();
    let (said, _) = Client::to(guarded.address).await.last(get("/slow").repeat(3)).await;
    assert_eq!(statuses(&said), ["200"; 3]);
    assert!(start.elapsed() >= Duration::from_millis(380), "{:?}", start.elapsed());
    assert!(guarded.proxy.counts().delayed >= 1);
}

#[tokio::test]
async fn connections_are_reset_or_left_silent() {
    let server = answering().await;
    let guarded = guarded(server.address, RULES, |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send(get("/a")).await;
    client.until("fine").await;
    client.send(get("/reset")).await;
    assert_eq!(client.rest().await, (String::new(), false));
    let mut client = Client::to(guarded.address).await;
    client.send(get("/silence")).await;
    let mut byte = [0];
    let silent = tokio::time::timeout(Duration::from_millis(200), client.0.read(&mut byte)).await;
    assert!(silent.is_err(), "{silent:?}");
    client.0.shutdown().await.unwrap();
    client.rest().await;
    assert_eq!(server.text(), get("/a"));
    let counts = guarded.proxy.counts();
    assert_eq!((counts.closed, counts.silenced), (1, 1));
}

#[tokio::test]
async fn a_client_has_so_many_connections() {
    let server = answering().await;
    let guarded = guarded(server.address, "", |settings| settings.per_client_max = 2).await;
    let mut first = Client::to(guarded.address).await;
    let mut second = Client::to(guarded.address).await;
    for client in [&mut first, &mut second] {
        client.send(get("/a")).await;
        client.until("fine").await;
    }
    let mut third = Client::to(guarded.address).await;
    assert!(third.rest().await.0.is_empty());
    assert_eq!(guarded.proxy.counts().over_connections, 1);
    drop(first);
    while guarded.proxy.counts().open > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(Client::to(guarded.address).await.last(get("/a")).await.0.contains("fine"));
}

#[tokio::test]
async fn a_client_opens_connections_so_often() {
    let server = answering().await;
    let rate = Rate::new(1, 3_600_000_000_000, 2).unwrap();
    let settings = ProcessSettings { connections: rate, ..ProcessSettings::default() };
    let memory = Arc::new(Memory::new(64));
    let (process, _) = Process::new(&[], &Page::default(), &settings, memory).unwrap();
    let guarded = behind(process, server.address, |_| {}).await;
    for expected in ["fine", "fine", ""] {
        let mut client = Client::to(guarded.address).await;
        let _ = client.0.write_all(get("/a").as_bytes()).await;
        let _ = client.0.shutdown().await;
        assert!(client.rest().await.0.ends_with(expected));
    }
    assert_eq!(guarded.proxy.counts().not_admitted, 1);
}
