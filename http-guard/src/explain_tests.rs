use super::*;
use crate::compile::compile;

const RULES: &str = r#"
[[rule]]
name = "seen"
action = "count"

[[rule]]
name = "office"
client = "10.0.0.0/8"
path_prefix = "/admin/"
action = "allow"

[[rule]]
name = "admin"
path_prefix = "/admin/"
action = "deny"

[[rule]]
name = "robots"
header.User-Agent = { prefix = "bot" }
not_method = "HEAD"
action = "close"
dry_run = true

[[rule]]
name = "api"
host = "api.example.com"
action = "limit"
rate = "10/min"
burst = 5
key = ["address", "header:X-Key"]
"#;

fn asked(line: &str, headers: &[&str], client: &str) -> Explanation {
    let config = Config::read(Some(("guard.toml", RULES)), Vec::new(), Vec::new()).expect("rules");
    let compiled = compile(&config.rules).expect("tables");
    let question = Question {
        line: line.to_owned(),
        headers: headers.iter().map(|&header| header.to_owned()).collect(),
        client: client.parse().expect("an address"),
    };
    explain(&config, &compiled, &question)
}

#[test]
fn the_rule_that_decides_is_told() {
    for (line, headers, client, verdict) in [
        ("GET /", &[][..], "1.2.3.4", "no rule decides: it passes"),
        ("GET /x/..//admin/%61", &[], "1.2.3.4", "rule \"admin\" decides: it is refused with 403"),
        ("GET /admin/a", &[], "10.1.2.3", "rule \"office\" decides: it passes"),
        ("GET /", &["User-Agent: bot/1"], "1.2.3.4", "no rule decides: it passes"),
        (
            "GET / HTTP/1.0",
            &["Host: API.example.com:8080"],
            "::1",
            "rule \"api\" decides: it passes at a rate of 10/min",
        ),
        ("GET /../..", &[], "1.2.3.4", "refused with 400 and closed"),
        ("POST /", &["Content-Length: 1", "Transfer-Encoding: chunked"], "::1", "refused with 400"),
        ("nonsense", &[], "::1", "refused with 400"),
    ] {
        let said = asked(line, headers, client);
        assert!(said.verdict.starts_with(verdict), "{line}: {said}");
    }
}

#[test]
fn each_rule_says_which_condition_does_not_hold() {
    let said = asked("HEAD /%2e/index?q=1", &["User-Agent: bot"], "1.2.3.4").to_string();
    for line in [
        "method        HEAD\n",
        "path          /index\n",
        "host          localhost\n",
        "rule 1        \"seen\" matches; it only counts, and the search goes on\n",
        "rule 2        \"office\" does not match: client = \"10.0.0.0/8\" does not hold\n",
        "rule 3        \"admin\" does not match: path_prefix = \"/admin/\" does not hold\n",
        "rule 4        \"robots\" does not match: not_method = \"HEAD\" does not hold\n",
        "rule 5        \"api\" does not match: host = \"api.example.com\" does not hold\n",
        "verdict       no rule decides: it passes\n",
    ] {
        assert!(said.contains(line), "{line} in\n{said}");
    }
    let said = asked("GET /", &["User-Agent: bot"], "1.2.3.4").to_string();
    assert!(
        said.contains("\"robots\" matches; in its dry run it only counts (its connection is closed)"),
        "{said}"
    );
}
