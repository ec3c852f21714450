//! The table of probes through the proxy, and random requests.

#[path = "../../../fastpath/tests/probes/mod.rs"]
#[expect(dead_code, reason = "what the server would say to it is no matter here")]
mod table;

use http_fastpath::head::Settings;
use http_fastpath::host::{requests, responses};
use http_fastpath::response::{Asked, Outstanding};
use proptest::prelude::*;
use table::{Probe, Then};
use tokio::task::JoinSet;

use super::server::answering;
use super::*;

/// What is wrong with what became of a probe, if something is.
async fn fault(probe: &'static Probe, cuts: Vec<usize>) -> Option<String> {
    let server = answering().await;
    let guarded = guarded(server.address, "", |_| {}).await;
    let mut client = Client::to(guarded.address).await;
    client.send_cut(probe.bytes, &cuts).await;
    let _ = client.0.shutdown().await;
    let (said, _) = client.rest().await;
    let came = server.streams().concat();
    let told = |what: String| Some(format!("{} cut at {cuts:?}: {what}", probe.name));
    if !probe.bytes.starts_with(&came) {
        return told("it was changed".into());
    }
    let reading = requests(&came, &[], &Settings::DEFAULT);
    let passed = reading.seen.iter().filter(|seen| seen.complete).count();
    if passed != probe.passed.len() || reading.refusal.is_some() {
        return told(format!("{passed} requests passed: {reading:?}"));
    }
    // With no cut in it, a request that is refused for its body was never begun.
    let refused = matches!(probe.then, Then::Refused(_));
    let begun = reading.seen.len() > passed;
    if refused && (if begun { cuts.is_empty() } else { !reading.at_boundary }) {
        return told(format!("a part of what is refused passed: {reading:?}"));
    }
    let mut outstanding = Outstanding::NONE;
    let mut asked = Asked::NONE;
    probe.passed.iter().for_each(|passed| asked.push(passed.method == "HEAD"));
    asked.push(false);
    assert!(outstanding.passed(&asked));
    let mut expected = vec![200; passed];
    if let Then::Refused(status) = probe.then {
        expected.push(status);
    }
    let answers = responses(said.as_bytes(), &[], &mut outstanding);
    if answers.statuses != expected || !answers.at_boundary {
        return told(format!("{answers:?}: {said}"));
    }
    (refused && !said.contains("Connection: close")).then(|| format!("{}: it stays", probe.name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_are_those_of_the_table_wherever_it_is_cut() {
    let mut runs = JoinSet::new();
    let mut faults = Vec::new();
    for probe in table::all() {
        let len = probe.bytes.len();
        let mut all = vec![vec![]];
        for cut in [1, len / 3, len / 2, len - 1] {
            if (1..len).contains(&cut) {
                all.push(vec![cut]);
            }
        }
        for cuts in all {
            if runs.len() >= 32 {
                faults.extend(runs.join_next().await.and_then(|fault| fault.unwrap()));
            }
            runs.spawn(fault(probe, cuts));
        }
    }
    while let Some(fault) = runs.join_next().await {
        faults.extend(fault.unwrap());
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// A request that passes.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..3000);
    let name = "[a-z0-9/._~-]{0,40}";
    (0..4u8, name, prop::collection::vec(any::<u8>(), 0..40), body).prop_map(|(kind, path, value, body)| {
        let value: Vec<u8> =
            value.into_iter().map(|byte| byte.max(b'!')).filter(|byte| *byte != 0x7f).collect();
        // Without dots: some would climb above the root.
        let path = path.replace('.', "x");
        let method = if kind == 0 { "GET" } else { "POST" };
        let mut bytes = format!("{method} /{path} HTTP/1.1\r\nHost: a.example\r\nX-Value: ").into_bytes();
        bytes.extend(value);
        bytes.extend(b"\r\n");
        match kind {
            0 => bytes.extend(b"\r\n"),
            1 => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend(body);
            }
            _ => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(997) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_arrives_byte_for_byte(
        all in prop::collection::vec(request(), 1..6),
        parts in prop::collection::vec(1..3000usize, 0..8),
    ) {
        let bytes = all.concat();
        let cuts: Vec<_> = parts
            .iter()
            .scan(0, |at, part| {
                *at += part;
                Some(*at)
            })
            .take_while(|at| *at < bytes.len())
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (came, said) = runtime.block_on(async {
            let server = answering().await;
            let guarded = guarded(server.address, "", |_| {}).await;
            let mut client = Client::to(guarded.address).await;
            client.send_cut(&bytes, &cuts).await;
            client.0.shutdown().await.unwrap();
            let (said, ended) = client.rest().await;
            assert!(ended);
            (server.streams(), said)
        });
        prop_assert_eq!(said.matches("X-Number").count(), all.len());
        prop_assert!(came == [bytes]);
    }
}
