//! Which rule a request meets, and why: without a server, by the configuration alone.
//!
//! The request is read by the same parsers as in the stack, and judged by the same tables; what differs is that nothing is
//! counted, so of a limit it is said what it lets pass.

use std::fmt;
use std::net::IpAddr;

use http_fastpath::abi::subject;
use http_fastpath::host;
use http_fastpath::matcher::Matched;
use http_fastpath::refusal::Refusal;

use crate::compile::Compiled;
use crate::config::Config;
use crate::rules::{Action, Condition, KeyPart, Limit, Rule};

/// A request as it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The request line, whose version may be left out: `GET /x`.
    pub line: String,
    /// Header fields: `Name: value`.
    pub headers: Vec<String>,
    /// The client.
    pub client: IpAddr,
}

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was read of the request, or why it is refused.
    pub read: Result<Read, Refusal>,
    /// The rules up to the one that decides.
    pub steps: Vec<Step>,
    /// What follows.
    pub verdict: String,
}

/// A request as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The method.
    pub method: String,
    /// The path, normalised.
    pub path: String,
    /// The host.
    pub host: String,
    /// The client.
    pub client: IpAddr,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule's name.
    pub name: String,
    /// What it does, and whether it holds; if not, the condition that does not.
    pub said: String,
}

/// The bytes of a request.
fn bytes_of(question: &Question) -> Vec<u8> {
    let mut text = question.line.trim().to_owned();
    if !text.rsplit(' ').next().is_some_and(|word| word.starts_with("HTTP/")) {
        text += " HTTP/1.1";
    }
    text += "\r\n";
    let is_host = |header: &String| header.to_ascii_lowercase().starts_with("host:");
    if !question.headers.iter().any(is_host) {
        text += "Host: localhost\r\n";
    }
    for header in &question.headers {
        text += header;
        text += "\r\n";
    }
    (text + "\r\n").into_bytes()
}

/// Explains what becomes of a request.
#[must_use]
pub fn explain(config: &Config, compiled: &Compiled, question: &Question) -> Explanation {
    let reading = host::requests(&bytes_of(question), &[], &config.heads.settings(0));
    let Some(seen) = reading.seen.into_iter().next() else {
        // A head that does not end is not one, whatever it lacks.
        let refusal = reading.refusal.unwrap_or(Refusal::BadRequestLine);
        let verdict = format!(
            "refused with {} and closed: it can be read in two ways, or not at all ({})",
            refusal.status(),
            refusal.label()
        );
        return Explanation { read: Err(refusal), steps: Vec::new(), verdict };
    };
    let matched = matched(compiled, &seen, question.client);
    let (steps, verdict) = judge(&config.rules, compiled, &matched);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let read = Read {
        method: text(&seen.method),
        path: text(&seen.path),
        host: text(&seen.host),
        client: question.client,
    };
    Explanation { read: Ok(read), steps, verdict }
}

/// The conditions that hold.
fn matched(compiled: &Compiled, seen: &host::Seen, client: IpAddr) -> Matched {
    let mut matched = Matched::NONE;
    matched.add(&compiled.clients.find(client));
    let matcher = &compiled.matcher;
    matcher.read(subject::METHOD, &seen.method, &mut matched);
    matcher.read(subject::PATH, &seen.path, &mut matched);
    matcher.read(subject::HOST, &seen.host, &mut matched);
    for (name, value) in &seen.fields {
        let own = matcher.read_name(subject::HEADER_NAME, name);
        if own != subject::NONE {
            matcher.read(own, value, &mut matched);
        }
    }
    matched
}

fn judge(rules: &[Rule], compiled: &Compiled, matched: &Matched) -> (Vec<Step>, String) {
    let mut steps = Vec::new();
    for (rule, numbers) in rules.iter().zip(&compiled.numbers) {
        let holds = |number: usize| matched.bits[number / 64] & 1 << (number % 64) != 0;
        let mut failing = rule.conditions.iter().zip(numbers);
        let failing = failing.find(|(condition, number)| holds(**number) == condition.negated);
        let name = rule.name.clone();
        if let Some((condition, _)) = failing {
            steps.push(Step { name, said: missed(condition) });
            continue;
        }
        let verdict = verdict(rule);
        let decides = !matches!(rule.action, Action::Count) && !rule.dry_run;
        let said = match (decides, &rule.action) {
            (true, _) => "matches, and decides".to_owned(),
            (false, Action::Count) => "matches; it only counts, and the search goes on".to_owned(),
            (false, _) => {
                format!("matches; in its dry run it only counts ({verdict}), and the search goes on")
            }
        };
        steps.push(Step { name, said });
        if decides {
            return (steps, format!("rule \"{}\" decides: {verdict}", rule.name));
        }
    }
    (steps, "no rule decides: it passes".to_owned())
}

fn missed(condition: &Condition) -> String {
    format!("does not match: {condition} does not hold")
}

fn verdict(rule: &Rule) -> String {
    match &rule.action {
        Action::Allow => "it passes".to_owned(),
        Action::Deny { status } => format!("it is refused with {status}"),
        Action::Limit(limit) => limited(limit),
        Action::Close => "its connection is closed".to_owned(),
        Action::Drop => "its connection is left without an answer".to_owned(),
        Action::Count => "it is counted".to_owned(),
    }
}

fn limited(limit: &Limit) -> String {
    let parts: Vec<_> = limit.key.iter().map(part).collect();
    let burst = limit.rate.burst();
    format!(
        "it passes at a rate of {} for each {}, of which {burst} may come at once; above, it is refused with {}",
        limit.written,
        parts.join(" and "),
        limit.status
    )
}

fn part(part: &KeyPart) -> String {
    match part {
        KeyPart::Address => "address".to_owned(),
        KeyPart::Host => "host".to_owned(),
        KeyPart::Path => "path".to_owned(),
        KeyPart::Header(name) => format!("value of header {name}"),
        KeyPart::Cookie(name) => format!("value of cookie {name}"),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(Read { method, path, host, client }) = &self.read {
            writeln!(
                f,
                "method        {method}\npath          {path}\nhost          {host}\nclient        {client}"
            )?;
        }
        for (number, Step { name, said }) in self.steps.iter().enumerate() {
            writeln!(f, "rule {:<9}\"{name}\" {said}", number + 1)?;
        }
        writeln!(f, "verdict       {}", self.verdict)
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
