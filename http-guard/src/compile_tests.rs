//! Compiled rules against what they say.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Instant;

use http_fastpath::abi::subject;
use http_fastpath::matcher::Matched;
use proptest::prelude::*;
use regex::bytes::{Regex, RegexBuilder};

use crate::rules::{self, Condition, Pattern, Test};

use super::*;

/// A request as the tests tell it.
#[derive(Clone, Debug)]
struct Request {
    client: IpAddr,
    method: &'static str,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
}

fn rules_of(text: &str) -> Vec<Rule> {
    let load = |_: &str| -> std::io::Result<String> { Err(std::io::ErrorKind::NotFound.into()) };
    rules::read("f.toml", text, &load).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}")).rules
}

fn compiled(text: &str) -> Compiled {
    compile(&rules_of(text)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn refused(text: &str) -> String {
    compile(&rules_of(text)).map(|_| ()).expect_err("a mistake").to_string()
}

/// As the handler reads a request.
fn matched(compiled: &Compiled, request: &Request) -> Matched {
    let mut matched = Matched { bits: compiled.clients.find(request.client) };
    let matcher = &compiled.matcher;
    matcher.read(subject::METHOD, request.method.as_bytes(), &mut matched);
    // Of a path nothing holds before its end, so hits must not be needed.
    let path =
        request.path.bytes().fold(matcher.start(subject::PATH), |state, byte| matcher.step(state, byte));
    matcher.end(path, &mut matched);
    matcher.read(subject::HOST, request.host.as_bytes(), &mut matched);
    for (name, value) in &request.headers {
        let subject = matcher.read_name(subject::HEADER_NAME, name.as_bytes());
        matcher.read(subject, value.as_bytes(), &mut matched);
    }
    matched
}

fn deciding(compiled: &Compiled, request: &Request) -> Option<usize> {
    compiled.rules.first(&matched(compiled, request), 0).map(|rule| rule as usize)
}

/// What the rules say, word by word.
fn said(rules: &[Rule], request: &Request) -> Option<usize> {
    rules.iter().position(|rule| rule.conditions.iter().all(|condition| holds(condition, request)))
}

fn holds(condition: &Condition, request: &Request) -> bool {
    let host = request.host.to_ascii_lowercase();
    let (name, port) = host.split_once(':').unwrap_or((&host, ""));
    let host = if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { &host };
    let host = host.strip_suffix('.').unwrap_or(host);
    let holds = match &condition.test {
        Test::Client(prefixes) => prefixes.iter().any(|prefix| prefix.holds(request.client)),
        Test::Text(subject, patterns) => patterns.iter().any(|pattern| match subject {
            Subject::Method => fits(pattern, request.method),
            Subject::Host => fits(pattern, host),
            Subject::Path => fits(pattern, &request.path),
            Subject::Header(name) => {
                let mut named = request.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
                named.any(|(_, value)| fits(pattern, value))
            }
        }),
    };
    holds != condition.negated
}

fn fits(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Any => true,
        Pattern::Exact(exact) => text == exact,
        Pattern::Prefix(prefix) => text.starts_with(prefix),
        Pattern::Suffix(suffix) => text.ends_with(suffix),
        Pattern::Below(host) => text
            .strip_suffix(host)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.is_empty()),
        Pattern::Regex(regex) => bytes_regex(regex).is_match(text.as_bytes()),
    }
}

fn bytes_regex(text: &str) -> Regex {
    RegexBuilder::new(text).unicode(false).build().expect("a regular expression")
}

fn request(client: &str, method: &'static str, host: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    Request {
        client: client.parse().expect("an address"),
        method,
        host: host.into(),
        path: path.into(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    }
}

const TABLE: &str = r#"
[[rule]]
name = "friends"
client = ["10.0.0.0/8", "2001:db8::/32"]
not_client = "10.6.6.0/24"
action = "allow"

[[rule]]
name = "hidden"
path_regex = '/\.(git|svn)(/|$)'
action = "deny"
status = 404

[[rule]]
name = "logins"
method = "POST"
path = ["/login", "/register"]
action = "limit"
rate = "10/min"
key = ["address", "cookie:Id", "header:X-Api-Key"]

[[rule]]
name = "robots"
header.User-Agent = { regex = '(?i)bot\b|crawl', not_prefix = "Goodbot/" }
not_path = "/robots.txt"
action = "close"

[[rule]]
name = "no browsers"
header.User-Agent = { present = false }
host = "*.Example.com"
action = "drop"

[[rule]]
name = "scripts"
host = "example.com"
path_prefix = "/cgi/"
path_suffix = [".php", ".cgi"]
action = "count"

[[rule]]
name = "everything"
client = "::/0"
action = "deny"
"#;

#[test]
fn the_first_rule_decides() {
    let compiled = compiled(TABLE);
    let rules = rules_of(TABLE);
    let agent = |value| vec![("uSER-aGENT", value)];
    for (request, expected) in [
        (request("10.1.1.1", "GET", "a", "/.git/x", &[]), Some("friends")),
        (request("10.6.6.1", "GET", "a", "/.git/x", &[]), Some("hidden")),
        (request("2001:db8::1", "GET", "a", "/", &[]), Some("friends")),
        (request("2001:db9::1", "GET", "a", "/", &agent("x")), Some("everything")),
        (request("1.1.1.1", "GET", "a", "/a/.svn", &[]), Some("hidden")),
        (request("1.1.1.1", "GET", "a", "/a/.svnx", &agent("x")), None),
        (request("1.1.1.1", "POST", "a", "/login", &[]), Some("logins")),
        (request("1.1.1.1", "GET", "a", "/login", &[]), None),
        (request("1.1.1.1", "POST", "a", "/login/", &[]), None),
        (request("1.1.1.1", "GET", "a", "/", &agent("Badbot/1")), Some("robots")),
        (request("1.1.1.1", "GET", "a", "/", &agent("Goodbot/1")), None),
        (request("1.1.1.1", "GET", "a", "/", &agent("a Crawler")), Some("robots")),
        (request("1.1.1.1", "GET", "a", "/", &agent("robots")), None),
        (request("1.1.1.1", "GET", "a", "/robots.txt", &agent("bot")), None),
        (request("1.1.1.1", "GET", "WWW.example.COM:8080", "/", &[]), Some("no browsers")),
        (request("1.1.1.1", "GET", "www.example.com.", "/", &[]), Some("no browsers")),
        (request("1.1.1.1", "GET", "www.example.com", "/", &agent("")), None),
        (request("1.1.1.1", "GET", "example.com", "/", &[]), None),
        (request("1.1.1.1", "GET", ".example.com", "/", &[]), None),
        (request("1.1.1.1", "GET", "example.com.:80", "/cgi/a.php", &[]), Some("scripts")),
        (request("1.1.1.1", "GET", "example.com:80x", "/cgi/a.php", &[]), None),
        (request("1.1.1.1", "GET", "example.com", "/cgi.php", &[]), None),
    ] {
        let decided = deciding(&compiled, &request);
        assert_eq!(decided.map(|rule| &*rules[rule].name), expected, "{request:?}");
        assert_eq!(decided, said(&rules, &request), "{request:?}");
    }
}

#[test]
fn actions_and_keys_are_in_the_table() {
    let compiled = compiled(TABLE);
    let actions: Vec<_> = compiled.rules.rules[..7].iter().map(|rule| (rule.action, rule.status)).collect();
    assert_eq!(actions, [(0, 0), (1, 404), (2, 429), (3, 0), (4, 0), (5, 0), (1, 403)]);
    let (header, cookie) = (KeyPart::Header("x-api-key".into()), KeyPart::Cookie("Id".into()));
    assert_eq!(compiled.slots, [header.clone(), cookie.clone()]);
    let limit = compiled.rules.rules[2].limit;
    assert_eq!(limit.key, abi::key::ADDRESS | abi::key::FIRST_SLOT | abi::key::FIRST_SLOT << 1);
    assert_eq!((limit.rate.interval_ns, limit.ipv6_prefix), (6_000_000_000, 64));
    let matcher = &compiled.matcher;
    let header = matcher.read_name(subject::HEADER_NAME, b"X-API-Key");
    assert_eq!(matcher.slot(header), 1);
    assert_eq!(matcher.read_name(subject::HEADER_NAME, b"Cookie"), matcher.cookie);
    assert_ne!(matcher.cookie, subject::NONE);
    assert_eq!(matcher.slot(matcher.cookie), 0);
    assert_eq!(matcher.slot(matcher.read_name(subject::COOKIE_NAME, b"Id")), 2);
    assert_eq!(matcher.read_name(subject::COOKIE_NAME, b"id"), subject::NONE);
    for unknown in ["", "X-Api-Keys", "X-Api-Ke", "Id"] {
        assert_eq!(matcher.read_name(subject::HEADER_NAME, unknown.as_bytes()), subject::NONE, "{unknown}");
    }
}

#[test]
fn no_rules_are_rules() {
    let compiled = compiled("");
    assert_eq!(deciding(&compiled, &request("1.1.1.1", "GET", "a", "/", &[("A", "b")])), None);
    assert!(compiled.clients.is_empty());
}

#[test]
fn equal_tests_are_one_condition() {
    let text = r#"
[[rule]]
name = "a"
path = ["/a", "/b"]
action = "deny"
[[rule]]
name = "b"
not_path = ["/b", "/a", "/b"]
host = "c"
action = "deny"
"#;
    assert_eq!(compiled(text).numbers, [vec![0], vec![1, 0]]);
}

/// Expressions that would need a state for each subset of them, if what was found had to be remembered.
#[test]
fn many_expressions_on_a_header_stay_small() {
    let mut text = String::new();
    for i in 0..100 {
        let regex = format!("word{i:02}x[a-f]+z");
        writeln!(text, "[[rule]]\nname = \"{i}\"\nheader.User-Agent.regex = '{regex}'\naction = \"deny\"")
            .unwrap();
    }
    let start = Instant::now();
    let compiled = compiled(&text);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    let all = matched(
        &compiled,
        &request("::1", "GET", "", "/", &[("User-Agent", "word07xaz word99xaaz word11xz")]),
    );
    assert_eq!(all.bits, [1 << 7, 1 << 35, 0, 0]);
}

#[test]
fn what_is_too_large_is_named() {
    let rule = |name: &str, keys: &str| format!("[[rule]]\nname = \"{name}\"\n{keys}\naction = \"deny\"\n");
    let large = rule("a", "path = \"/\"") + &rule("large", "path_regex = '[ab][^/]{24}b$'");
    assert_eq!(
        refused(&large),
        "f.toml:7: rule \"large\": path_regex = \"[ab][^/]{24}b$\" needs too many states; shorter repetitions, or an \
         anchor, make it smaller"
    );
    let boundary = rule("b", r"path_regex = '(?u:\b)'");
    assert_eq!(
        refused(&boundary),
        "f.toml:3: rule \"b\": path_regex = \"(?u:\\b)\" asks for what cannot be matched byte by byte, such as \
         (?u:\\b)"
    );
    let mut many = String::new();
    for i in 0..40 {
        many += &rule(&i.to_string(), &format!("path_regex = 'a{i:02}'"));
    }
    let message = refused(&many);
    assert!(
        message.contains("needs too many states together with what rules before it ask of the path")
            || message.starts_with("f.toml:3: all rules together need"),
        "{message}"
    );
}

#[test]
fn there_are_at_most_so_many_conditions_headers_and_slots() {
    let mut conditions = String::new();
    for i in 0..128 {
        let keys = format!("path = \"/{i}\"\nhost = \"h{i}\"\nmethod = \"M{i}\"");
        writeln!(conditions, "[[rule]]\nname = \"{i}\"\n{keys}\naction = \"deny\"").unwrap();
    }
    assert_eq!(
        refused(&conditions),
        "f.toml:514: rule \"85\": host = \"h85\" is the condition 257 that is different from all before it; at most \
         256 are possible"
    );
    let mut headers = String::new();
    for i in 0..60 {
        writeln!(headers, "[[rule]]\nname = \"{i}\"\nheader.H{i}.present = true\naction = \"deny\"").unwrap();
    }
    assert_eq!(
        refused(&headers),
        "f.toml:233: rule \"58\": all rules together look at more than 58 headers and cookies"
    );
    let mut slots = String::new();
    for i in 0..9 {
        let keys = format!("key = \"header:H{i}\"\nrate = \"1/s\"");
        writeln!(slots, "[[rule]]\nname = \"{i}\"\n{keys}\naction = \"limit\"").unwrap();
    }
    assert_eq!(
        refused(&slots),
        "f.toml:41: rule \"8\": the keys of all limits name more than 8 different headers and cookies"
    );
}

#[test]
fn an_address_has_what_all_its_prefixes_have() {
    let text = r#"
[[rule]]
name = "a"
client = ["10.0.0.0/8", "::/0"]
action = "deny"
[[rule]]
name = "b"
client = ["10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0"]
action = "deny"
[[rule]]
name = "c"
client = ["10.1.2.3", "10.2.0.0/16"]
action = "deny"
"#;
    let clients = compiled(text).clients;
    for (address, bits) in [
        ("10.1.2.3", 0b111),
        ("10.1.2.4", 0b011),
        ("10.2.0.0", 0b111),
        ("10.3.0.0", 0b011),
        ("11.0.0.0", 0b010),
        ("::ffff:11.0.0.0", 0b010),
        ("::1", 0b001),
        ("2001:db8::", 0b011),
        ("2001:db9::", 0b001),
        ("ffff::", 0b001),
    ] {
        assert_eq!(clients.find(address.parse().unwrap())[0], bits, "{address}");
    }
    let entries: Vec<_> =
        clients.entries(7).map(|(key, conditions)| (key.bits - 64, conditions[0])).collect();
    assert!(clients.entries(7).all(|(key, _)| key.generation == 7));
    assert_eq!(entries, [(0, 1), (96, 2), (104, 3), (112, 3), (128, 7), (112, 7), (32, 3)]);
}

fn words() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(vec!["a", "b", "ab", ".", "-", "x1"]), 1..4)
        .prop_map(|parts| parts.concat())
}

fn paths() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(vec!["a", "b", "ab", "x1", "a.b"]), 0..4)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn hosts() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "AB", "c-d"]);
    proptest::collection::vec(label, 1..4).prop_map(|labels| labels.join("."))
}

fn regexes() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "^/a",
        "b$",
        "^$",
        "a|b",
        "(?i)AB",
        r"\bab\b",
        "[ab]{2}",
        "a.b",
        "x[0-9]+",
        r"\.",
        "(a|ab)(b|$)",
        "",
        "^a?b*-",
        "(?:b-)+",
        r"\Aa.*b\z",
    ])
}

fn prefixes() -> impl Strategy<Value = String> {
    let v4 = (0..4u8, 0..4u8, prop::sample::select(vec![0u32, 6, 8, 15, 16, 24, 30, 32])).prop_map(
        |(a, b, bits)| {
            let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
            let address = u32::from_be_bytes([8 + a, b, 0, a]) & mask;
            format!("{}/{bits}", std::net::Ipv4Addr::from(address))
        },
    );
    let v6 = (0..4u16, 0..4u16, prop::sample::select(vec![0u32, 16, 32, 64, 80, 95, 128])).prop_map(
        |(a, b, bits)| {
            let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
            let address = std::net::Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, a).to_bits() & mask;
            format!("{}/{bits}", std::net::Ipv6Addr::from_bits(address))
        },
    );
    prop_oneof![v4, v6]
}

fn key() -> impl Strategy<Value = String> {
    let not = || prop::sample::select(vec!["", "not_"]);
    let list = |texts: Vec<String>| {
        format!("[{}]", texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", "))
    };
    let many = |one: BoxedStrategy<String>| proptest::collection::vec(one, 1..4).prop_map(list);
    let regex = || regexes().prop_map(str::to_owned).boxed();
    let below = hosts().prop_map(|host| format!("*.{host}")).boxed();
    let kinds = prop::sample::select(vec!["exact", "prefix", "suffix"]);
    prop_oneof![
        (not(), many(prefixes().boxed())).prop_map(|(not, list)| format!("{not}client = {list}")),
        not().prop_map(|not| format!("{not}method = ['GET', 'PUT']")),
        (not(), many(hosts().boxed())).prop_map(|(not, list)| format!("{not}host = {list}")),
        (not(), many(below)).prop_map(|(not, list)| format!("{not}host = {list}")),
        (not(), many(paths().boxed())).prop_map(|(not, list)| format!("{not}path = {list}")),
        (not(), many(paths().boxed())).prop_map(|(not, list)| format!("{not}path_prefix = {list}")),
        (not(), many(words().boxed())).prop_map(|(not, list)| format!("{not}path_suffix = {list}")),
        (not(), many(regex())).prop_map(|(not, list)| format!("{not}path_regex = {list}")),
        (not(), kinds, many(words().boxed()))
            .prop_map(|(not, kind, list)| format!("header.X.{not}{kind} = {list}")),
        (not(), many(regex())).prop_map(|(not, list)| format!("header.x-Y.{not}regex = {list}")),
        any::<bool>().prop_map(|present| format!("header.Z.present = {present}")),
    ]
}

fn rule_files() -> impl Strategy<Value = String> {
    let rule = proptest::collection::vec(key(), 0..4);
    proptest::collection::vec(rule, 1..8).prop_map(|rules| {
        let mut text = String::new();
        for (number, keys) in rules.into_iter().enumerate() {
            writeln!(text, "[[rule]]\nname = '{number}'\naction = 'deny'").unwrap();
            let mut names = std::collections::BTreeSet::new();
            for key in keys {
                if names.insert(key.split(" = ").next().unwrap_or_default().to_owned()) {
                    writeln!(text, "{key}").unwrap();
                }
            }
        }
        text
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let client = prefixes().prop_map(|prefix| prefix.split('/').next().unwrap().parse::<IpAddr>().unwrap());
    let names = prop::sample::select(vec!["X", "x", "X-y", "Z", "Other"]).prop_map(str::to_owned);
    let headers = proptest::collection::vec((names, words()), 0..4);
    let method = prop::sample::select(vec!["GET", "PUT", "POST"]);
    let port = prop::sample::select(vec!["", ":80", ".", ".:8080", ":", ":x"]);
    (client, method, hosts(), port, paths(), headers).prop_map(
        |(client, method, host, port, path, headers)| Request {
            client,
            method,
            host: host + port,
            path,
            headers,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_rules_say(text in rule_files(), requests in proptest::collection::vec(requests(), 50)) {
        let rules = rules_of(&text);
        let compiled = compile(&rules).map_err(|mistakes| TestCaseError::fail(mistakes.to_string()))?;
        for request in requests {
            let matched = matched(&compiled, &request);
            for (rule, numbers) in rules.iter().zip(&compiled.numbers) {
                for (condition, number) in rule.conditions.iter().zip(numbers) {
                    let bit = matched.bits[number / 64] >> (number % 64) & 1 != 0;
                    prop_assert_eq!(bit != condition.negated, holds(condition, &request), "{} {:?}", condition, request);
                }
            }
            prop_assert_eq!(deciding(&compiled, &request), said(&rules, &request));
        }
    }
}
