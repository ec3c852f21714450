//! Input that no decent client sends: both ports must answer byte for byte alike, others must not notice, and the agent
//! must not grow.

use std::io::{ErrorKind, Read, Write};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, bulk, request, resident_bytes, shown, until};

/// How much the agent may grow by whatever clients send. On the user path tracking tells it of half a million keys at once.
const GROWTH_MAX: u64 = 24 << 20;

/// The end of a case, if the connection lives.
const END: &str = "the end of this case";

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The connection lives and is understood.
    Good,
    /// The connection lives, but its stream is not understood: nobody gets hits as long as it does (C8).
    Foreign,
    /// Redis closes it.
    Closed,
}

/// What comes back for these bytes: up to the answer to [`END`], or up to the end of the connection.
fn answer(lab: &Lab, port: u16, bytes: &[u8], ending: Ending) -> Result<(Vec<u8>, Client)> {
    let client = lab.client(port)?;
    let mut sender = client.stream().try_clone()?;
    let mut receiver = client.stream().try_clone()?;
    let end = if ending == Ending::Closed { Vec::new() } else { request(&["ECHO", END]) };
    let all = [bytes, &end].concat();
    // Replies may be so long that nobody reads on before they are read.
    let sending = thread::spawn(move || match sender.write_all(&all) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Err(error)
        }
        _ => Ok(()),
    });
    let (mut got, mut part) = (Vec::new(), vec![0; 1 << 18]);
    while !got.ends_with(&bulk(END)) {
        match receiver.read(&mut part) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            read => got.extend_from_slice(&part[..read.with_context(|| shown(&got))?]),
        }
    }
    sending.join().map_err(|_| anyhow!("the sender panicked"))??;
    Ok((got, client))
}

/// Asks both ports, on an empty server each, and compares; then another client must get hits again while the connection
/// is still open, if it is understood, or once it is closed.
fn compare(lab: &Lab, neighbour: &mut Client, what: &str, bytes: &[u8], ending: Ending) -> Result<()> {
    let mut plain = lab.client(PLAIN)?;
    plain.check("FLUSHALL", "+OK\r\n")?;
    let (expected, _) = answer(lab, PLAIN, bytes, ending)?;
    plain.check("FLUSHALL", "+OK\r\n")?;
    let (got, open) = answer(lab, ACCELERATED, bytes, ending)?;
    if got != expected {
        let at = got.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(got.len().min(expected.len()));
        let (got, expected) = (shown(&got[at..]), shown(&expected[at..]));
        return Err(anyhow!("{what}: byte {at}: {got} instead of {expected}"));
    }
    let open = (ending == Ending::Good).then_some(open);
    plain.set("neighbour", "value")?;
    lab.warm(neighbour, "neighbour", "value").with_context(|| format!("beside {what}"))?;
    // Tracking may tell of the write once more.
    until("hits", || {
        let hits = || (0..10).try_for_each(|_| neighbour.holds("neighbour", "value"));
        Ok(lab.expect_hits(10, hits).ok())
    })
    .with_context(|| format!("beside {what}"))?;
    drop(open);
    Ok(())
}

/// `SET`, `GET` and some more on this key.
fn on_key(key: &[u8], value: &[u8]) -> Vec<u8> {
    let set = request(&[b"SET", key, value]);
    let get = request(&[b"GET", key]);
    let append = request(&[b"APPEND", key, b"\r\n$1\r\n"]);
    let more = [request(&[b"STRLEN", key]), request(&[b"GETRANGE", key, b"0", b"20"])].concat();
    let delete = request(&[b"DEL", key]);
    [set, get.repeat(3), append, get.clone(), more, delete, get].concat()
}

fn well_formed() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    for length in [250, 251, 65_536, 1 << 20] {
        cases.push((format!("a key of {length} bytes"), on_key(&vec![b'k'; length], b"value")));
    }
    for length in [0, 1400, 1401, 10 << 20] {
        cases.push((format!("a value of {length} bytes"), on_key(b"key", &vec![b'v'; length])));
    }
    let every: Vec<u8> = (0..250).chain([255, 254, 253]).take(250).collect();
    let keys =
        [every.as_slice(), b"\r\n", b"", b"\0", b"*1\r\n$4\r\nPING\r\n", b"a\r\n$1\r\nb", &[0xff; 250]];
    for key in keys {
        cases.push((format!("the key {}", shown(key)), on_key(key, key)));
    }
    let many = |name: &str, count: usize| {
        let names = (0..count).map(|i| i.to_string().into_bytes());
        let all: Vec<Vec<u8>> = [name.as_bytes().to_vec()].into_iter().chain(names).collect();
        let around = |bytes: &[u8]| {
            let last = (count - 2).to_string();
            [request(&["SET", &last, "old"]), bytes.to_vec(), request(&["GET", &last])].concat()
        };
        around(&request(&all))
    };
    cases.push(("MSET with a million arguments".into(), many("MSET", 1_000_000)));
    cases.push(("DEL with a million arguments".into(), many("DEL", 1_000_000)));
    cases.push(("GET with a million arguments".into(), many("GET", 1_000_000)));
    for depth in [5, 1000] {
        let script = "local t = {1} for i = 1, tonumber(ARGV[1]) do t = {t, 'x'} end return t";
        let nested = request(&["EVAL", script, "0", &depth.to_string()]);
        let after = request(&["GET", "none"]);
        for hello in ["2", "3"] {
            // HELLO's answer holds the connection's number.
            let bytes = [request(&["SET", "other", "x"]), nested.clone(), after.clone()].concat();
            let switch =
                if hello == "3" { request(&["EVAL", "redis.setresp(3) return 1", "0"]) } else { Vec::new() };
            cases.push((format!("arrays nested {depth} times, {hello}"), [switch, bytes].concat()));
        }
    }
    cases.push(("empty requests".into(), b"*0\r\n\r\n*-1\r\n*1\r\n$4\r\nPING\r\n*1\r\n$0\r\n\r\n".to_vec()));
    cases
}

fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let noise = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    let inline = b"PING\r\nSET inline value\r\nGET inline\r\n  GET   inline  \r\n\r\n\r\nPING\n".to_vec();
    vec![
        ("inline commands", inline),
        (
            "quoted inline commands",
            b"SET \"a key\" \"va\\x41\\r\\n\"\r\nGET \"a key\"\r\nGET 'a key'\r\n".to_vec(),
        ),
        ("a string where a request should be", b"$5\r\nhallo\r\n".to_vec()),
        // Redis does not look at what stands behind a string.
        ("another end of a string", b"*1\r\n$4\r\nPINGxx*2\r\n$3\r\nGET??$1\r\nk!!".to_vec()),
        ("noise", noise.filter(|byte| !b"\"'\0".contains(byte)).chain(*b"\r\n").collect()),
    ]
}

fn closed() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("quotes without an end", b"PING\r\nGET \"a\r\n".to_vec()),
        ("an inline command that is too long", vec![b'x'; 70_000]),
        ("a number that is none", b"*abc\r\n".to_vec()),
        ("a string that is none", b"*1\r\n+PING\r\n".to_vec()),
        ("a length that is none", b"*1\r\n$abc\r\n".to_vec()),
        ("a negative length", b"*2\r\n$3\r\nGET\r\n$-1\r\n".to_vec()),
        ("a string beyond proto-max-bulk-len", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n".to_vec()),
        ("too many arguments", b"*2147483648\r\n".to_vec()),
        ("a length without an end", [b"*1\r\n$".to_vec(), vec![b'1'; 70_000]].concat()),
        // Redis looks for a line's end up to the first of them.
        ("zeros", [vec![0; 70_000], b"\r\n".to_vec()].concat()),
        ("HTTP", b"POST / HTTP/1.1\r\n".to_vec()),
    ]
}

fn answers_are_redis_own(options: Options) {
    Lab::run(options, |lab| {
        let mut neighbour = lab.client(ACCELERATED)?;
        neighbour.set("neighbour", "value")?;
        lab.warm(&mut neighbour, "neighbour", "value")?;
        let before = resident_bytes(lab.sidecar_id()?)?;
        for (what, bytes) in well_formed() {
            compare(lab, &mut neighbour, &what, &bytes, Ending::Good)?;
        }
        for (what, bytes) in foreign() {
            compare(lab, &mut neighbour, what, &bytes, Ending::Foreign)?;
        }
        for (what, bytes) in closed() {
            compare(lab, &mut neighbour, what, &bytes, Ending::Closed)?;
        }
        let growth = resident_bytes(lab.sidecar_id()?)?.saturating_sub(before);
        ensure!(growth < GROWTH_MAX, "the agent has grown by {growth} bytes");
        Ok(())
    });
}

#[test]
fn answers_are_redis_own_in_the_stack() {
    answers_are_redis_own(Options::default());
}

#[test]
fn answers_are_redis_own_on_the_user_path() {
    answers_are_redis_own(Options::user());
}
