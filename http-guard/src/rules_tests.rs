//! Rules as they are read, and what is said about wrong ones.

use std::fmt::Write;
use std::io;

use super::*;

fn files(path: &str) -> io::Result<String> {
    match path {
        "bad" => Ok("# bad ones\n10.0.0.0/8\n::1\n".into()),
        "worse" => Ok("1.2.3.4\nx\n10.1.0.0/8\n".into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn read_text(text: &str) -> Result<Rules, String> {
    read("f.toml", text, &files).map_err(|mistakes| mistakes.to_string())
}

fn one(text: &str) -> Rule {
    read_text(&format!("[[rule]]\nname = \"x\"\n{text}")).expect("a rule").rules.remove(0)
}

/// What is said about a rule with these keys, without the place; the rule is complete if `text` has an action.
fn said(text: &str) -> Vec<String> {
    let mistakes = read_text(&format!("[[rule]]\nname = \"x\"\n{text}")).expect_err("a mistake");
    mistakes.lines().map(|line| line.split_once(": ").expect("a place").1.to_owned()).collect()
}

#[test]
fn a_rule_is_read_with_all_its_parts() {
    let text = r#"
client = ["10.0.0.0/8", "2001:db8::/32"]
not_client_file = "bad"
method = ["POST", "GET"]
host = ["Example.com", "*.example.org", "[::1]"]
path_prefix = "/a/"
not_path_suffix = ".css"
path_regex = '\d+$'
header.User-Agent = { present = true, not_prefix = ["curl/", "Wget/"] }
action = "limit"
rate = "600/min"
burst = 5
key = ["cookie:Id", "address", "header:X-Api-Key", "address"]
when_full = "refuse"
ipv6_prefix = 56
dry_run = true
"#;
    let rule = one(text);
    let conditions: Vec<_> = rule
        .conditions
        .iter()
        .map(|condition| format!("{} {} {condition}", condition.place, condition.negated))
        .collect();
    assert_eq!(
        conditions,
        [
            "f.toml:4 false client = [\"10.0.0.0/8\", \"2001:db8::/32\"]",
            "f.toml:6 false method = [\"GET\", \"POST\"]",
            "f.toml:7 false host = [\"[::1]\", \"example.com\", \"*.example.org\"]",
            "f.toml:8 false path_prefix = \"/a/\"",
            "f.toml:10 false path_regex = \"\\d+$\"",
            "f.toml:5 true not_client = [\"::1/128\", \"10.0.0.0/8\"]",
            "f.toml:9 true not_path_suffix = \".css\"",
            "f.toml:11 false header.User-Agent.present = anything",
            "f.toml:11 true header.User-Agent.not_prefix = [\"Wget/\", \"curl/\"]",
        ]
    );
    assert_eq!((rule.place.as_str(), rule.dry_run, rule.needs_user_path()), ("f.toml:1", true, None));
    let Action::Limit(limit) = rule.action else { panic!("a limit") };
    assert_eq!((limit.rate.interval_ns, limit.rate.burst()), (100_000_000, 5));
    let header = KeyPart::Header("x-api-key".into());
    assert_eq!(limit.key, [KeyPart::Address, header, KeyPart::Cookie("Id".into())]);
    assert_eq!((limit.when_full, limit.ipv6_prefix, limit.status), (WhenFull::Refuse, 56, 429));
}

#[test]
fn what_is_not_given_has_a_default() {
    let Action::Limit(limit) = one("action = \"limit\"\nrate = \"10/s\"\n").action else { panic!("a limit") };
    assert_eq!((limit.rate.burst(), limit.nodelay, limit.ipv6_prefix, limit.status), (1, true, 64, 429));
    assert_eq!((limit.when_full, limit.key), (WhenFull::Pass, vec![KeyPart::Address]));
    assert_eq!(one("action = \"deny\"\n").action, Action::Deny { status: 403 });
    assert_eq!(one("action = \"deny\"\nstatus = 0x1F7\n").action, Action::Deny { status: 503 });
    for (word, action) in
        [("allow", Action::Allow), ("close", Action::Close), ("drop", Action::Drop), ("count", Action::Count)]
    {
        assert_eq!(one(&format!("action = \"{word}\"\n")).action, action);
    }
    assert_eq!(read_text(""), Ok(Rules::default()));
    assert_eq!(read_text("[listen]\nport = \"anything\"\n"), Ok(Rules::default()));
}

#[test]
fn delays_and_paths_as_keys_need_the_user_path() {
    let rule = one("action = \"limit\"\nrate = \"10/s\"\nnodelay = false\n");
    assert_eq!(rule.needs_user_path(), Some("requests that are delayed must be held somewhere"));
    let rule = one("action = \"limit\"\nrate = \"10/s\"\nkey = [\"address\", \"path\"]\n");
    assert!(rule.needs_user_path().is_some_and(|why| why.contains("path")));
}

#[test]
fn files_of_addresses_are_named_once() {
    let text = "[[rule]]\nname = \"a\"\nclient_file = \"bad\"\naction = \"deny\"\n";
    let rules = read_text(&format!("{text}{}", text.replace("\"a\"", "\"b\""))).expect("rules");
    assert_eq!(rules.files, ["bad"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = r#"[[rule]]
name = "admin"
path = ["/ok", "admin"]
pth_prefix = "/x"
client = ["10.1.2.3/8", "localhost"]
action = "deny"
status = 200

[[rule]]
path_regex = "a("
action = "deni"
rate = "1/s"

[[rule]]
name = "admin"
header.User-Agent = { prefx = "x" }
header.Host.exact = "a"
header.X = {}
header.Y = "y"
action = "limit"
rate = "0/s"
burst = 0
key = ["adress"]
client_file = ["worse", "gone"]
"#;
    let expected = [
        "f.toml:3: rule \"admin\": path is \"admin\"; it must be a path that begins with \"/\"",
        "f.toml:4: rule \"admin\": unknown key \"pth_prefix\"; did you mean \"path_prefix\"?",
        "f.toml:5: rule \"admin\": client is \"10.1.2.3/8\", whose address goes on behind the prefix; did you mean \
         \"10.0.0.0/8\"?",
        "f.toml:5: rule \"admin\": client is \"localhost\"; it must be an address or a prefix, such as \"10.0.0.0/8\" \
         or \"2001:db8::1\"",
        "f.toml:7: rule \"admin\": status is 200; it must be a whole number from 400 to 599",
        "f.toml:9: rule 2 has no name; it is needed for metrics and explanations",
        "f.toml:10: rule 2: path_regex is \"a(\"; it must be a regular expression: unclosed group",
        "f.toml:11: rule 2: action is \"deni\"; it must be one of \"allow\", \"deny\", \"limit\", \"close\", \"drop\", \
         \"count\"",
        "f.toml:15: rule \"admin\" has the name of the rule at f.toml:2",
        "f.toml:16: rule \"admin\": unknown key \"header.User-Agent.prefx\"; did you mean \"prefix\"?",
        "f.toml:17: rule \"admin\" asks for the header Host; it must ask for host instead",
        "f.toml:18: rule \"admin\" asks nothing of header X; it must be a table, such as { prefix = \"curl/\" } or \
         { present = true }",
        "f.toml:19: rule \"admin\": header.Y is \"y\"; it must be a table, such as { prefix = \"curl/\" } or \
         { present = true }",
        "f.toml:21: rule \"admin\": rate is \"0/s\"; it must be a rate of 1 to 1000000 requests",
        "f.toml:22: rule \"admin\": burst is 0; it must be a whole number from 1 to 1000000",
        "f.toml:23: rule \"admin\": key is \"adress\"; it must be \"address\", \"host\", \"path\", \"header:NAME\" or \
         \"cookie:NAME\"",
        "worse:2: this is \"x\"; it must be an address or a prefix, such as \"10.0.0.0/8\" or \"2001:db8::1\"",
        "worse:3: this is \"10.1.0.0/8\", whose address goes on behind the prefix; did you mean \"10.0.0.0/8\"?",
        "f.toml:24: rule \"admin\": client_file \"gone\" cannot be read: entity not found",
    ];
    let mistakes = read_text(text).expect_err("mistakes");
    assert_eq!(mistakes.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn paths_that_the_server_never_sees_are_mistakes() {
    let deny = |keys: &str| said(&format!("{keys}\naction = \"deny\"\n"));
    for (keys, expected) in [
        (
            "path = \"/a%20b\"",
            "path is \"/a%20b\"; it must be a path that is decoded, without percent-encoding",
        ),
        ("path = \"/a?b\"", "path is \"/a?b\"; it must be a path without query and fragment"),
        (
            "path_prefix = \"/a/../b\"",
            "path_prefix is \"/a/../b\"; it must be a path as the server sees it, without \"//\", \"/./\" and \
             \"/../\"",
        ),
        (
            "not_path = \"/a//b\"",
            "not_path is \"/a//b\"; it must be a path as the server sees it, without \"//\", \"/./\" and \"/../\"",
        ),
        (
            "path_suffix = \"\"",
            "path_suffix is \"\"; it must be the end of a path; every path ends with nothing",
        ),
        ("path_prefix = \"a\"", "path_prefix is \"a\"; it must be a path that begins with \"/\""),
        ("method = \"get\"", "method is \"get\"; it must be a method in capitals, such as \"GET\""),
        ("path = []", "path is an empty list; it must be a path, such as \"/login\", or a list of such"),
        ("path = 7", "path is 7; it must be a path, such as \"/login\", or a list of such"),
        ("path = [\"/\", 7]", "path is 7; it must be a path, such as \"/login\""),
    ] {
        assert_eq!(deny(keys), [format!("rule \"x\": {expected}")]);
    }
    for host in ["a b", "example.com:80", "*", "a.*.b", "*example.com", "[::1", ".a", "a.", ""] {
        let expected = format!(
            "rule \"x\": host is \"{host}\"; it must be a host without its port, such as \"example.com\" or \
             \"*.example.com\""
        );
        assert_eq!(deny(&format!("host = \"{host}\"")), [expected]);
    }
    one("path_prefix = \"/.\"\naction = \"deny\"\n");
}

#[test]
fn keys_of_other_actions_are_mistakes() {
    assert_eq!(
        said("action = \"allow\"\nrate = \"1/s\"\nstatus = 403\ndry_run = true\n"),
        [
            "rule \"x\": rate is of use with action = \"limit\" only",
            "rule \"x\": status is of use with action = \"deny\" and \"limit\" only",
            "rule \"x\": dry_run is of no use: the action refuses nothing",
        ]
    );
    let needs = "rule \"x\" has no rate; its action needs a rate such as \"10/s\", \"600/min\" or \"5000/h\"";
    assert_eq!(said("action = \"limit\"\n"), [needs]);
    for rate in ["10", "10/d", "ten/s", "+1/s", "1.5/s", "/s", ""] {
        let expected = format!(
            "rule \"x\": rate is \"{rate}\"; it must be a rate such as \"10/s\", \"600/min\" or \"5000/h\""
        );
        assert_eq!(said(&format!("action = \"limit\"\nrate = \"{rate}\"\n")), [expected]);
    }
    let all = "\"allow\", \"deny\", \"limit\", \"close\", \"drop\", \"count\"";
    assert_eq!(said("rate = 1\n"), [format!("rule \"x\" has no action; it must be one of {all}")]);
}

#[test]
fn rules_are_a_list() {
    let message = "each rule must be a table of its own, with [[rule]] above it";
    assert_eq!(read_text("\n[rule]\nname = \"x\"\n"), Err(format!("f.toml:2: {message}")));
    assert_eq!(read_text("rule = [1]\n"), Err(format!("f.toml:1: {message}")));
    let mut text = String::new();
    for i in 0..=RULES_MAX {
        writeln!(text, "[[rule]]\nname = \"{i}\"\naction = \"deny\"").expect("text");
    }
    let expected = "f.toml:385: there are 129 rules; at most 128 are possible";
    assert_eq!(read_text(&text), Err(expected.into()));
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let mistakes = read_text("[[rule]]\nname = \"x\naction = \"deny\"\n").expect_err("mistakes");
    assert!(mistakes.lines().any(|line| line.starts_with("f.toml:2: ")), "{mistakes}");
}
