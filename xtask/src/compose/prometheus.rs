//! What Prometheus in the stack has, and whether dashboard and alerts find it.

use crate::lab::{Place, get};
use crate::{dashboard, workspace};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;

/// What Grafana puts in for its variables: those of the dashboard and its own.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "1m"), ("$__range", "5m"), ("$instance", ".*")];

/// An expression and where it stands.
pub(super) struct Expression {
    pub(super) place: String,
    pub(super) text: String,
}

/// All targets that are not up, and how many there are of each job.
pub(super) fn targets(prometheus: SocketAddr) -> Result<Vec<(String, bool, String)>> {
    let answer = ask(prometheus, "/api/v1/targets?state=active")?;
    let targets = answer["data"]["activeTargets"].as_array().context("Prometheus names no targets")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(targets
        .iter()
        .map(|target| {
            let instance = text(&target["scrapeUrl"]);
            (instance, target["health"] == "up", text(&target["lastError"]))
        })
        .collect())
}

/// The series that an expression gives; none is an error, and so are series that are not numbers.
pub(super) fn series(prometheus: SocketAddr, expression: &Expression) -> Result<usize> {
    let Expression { place, text } = expression;
    let answer = ask(prometheus, &format!("/api/v1/query?query={}", encoded(text)))
        .with_context(|| format!("{place}: {text}"))?;
    let result = answer["data"]["result"].as_array().context("Prometheus gives no result")?;
    let numbers =
        result.iter().filter(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"));
    let count = numbers.count();
    ensure!(count > 0, "{place}: {text} gives {} series and no number", result.len());
    Ok(count)
}

/// All expressions of the dashboard, as Grafana would ask them.
pub(super) fn of_dashboard() -> Result<Vec<Expression>> {
    let path = workspace::root().join(dashboard::FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let dashboard: Value = serde_json::from_str(&text).context("the dashboard is not JSON")?;
    let mut found = Vec::new();
    collect(&dashboard["panels"], &mut found);
    ensure!(!found.is_empty(), "the dashboard has no expressions");
    Ok(found)
}

/// Panels, and those that rows hold.
fn collect(panels: &Value, found: &mut Vec<Expression>) {
    for panel in panels.as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut text = target["expr"].as_str().unwrap_or_default().to_owned();
            for (variable, value) in VARIABLES {
                text = text.replace(variable, value);
            }
            found.push(Expression { place: format!("panel {}", panel["title"]), text });
        }
        collect(&panel["panels"], found);
    }
}

/// What the alerts look at: each expression without the bound at its end, which it passes only when something is wrong.
pub(super) fn of_alerts(prometheus: SocketAddr) -> Result<Vec<Expression>> {
    let answer = ask(prometheus, "/api/v1/rules?type=alert")?;
    let mut found = Vec::new();
    for group in answer["data"]["groups"].as_array().into_iter().flatten() {
        for rule in group["rules"].as_array().into_iter().flatten() {
            let (name, query) = (&rule["name"], rule["query"].as_str().unwrap_or_default());
            ensure!(rule["health"] != "err", "alert {name}: {}", rule["lastError"]);
            let text = bounded(query).with_context(|| format!("alert {name}: {query} ends with no bound"))?;
            found.push(Expression { place: format!("alert {name}"), text: text.to_owned() });
        }
    }
    ensure!(!found.is_empty(), "Prometheus has no alerts");
    Ok(found)
}

/// The left side of the comparison with a number that an expression ends with.
fn bounded(expression: &str) -> Option<&str> {
    let (rest, number) = expression.trim().rsplit_once(' ')?;
    number.parse::<f64>().ok()?;
    let (left, comparison) = rest.rsplit_once(' ')?;
    ["==", "!=", ">", "<", ">=", "<="].contains(&comparison).then_some(left)
}

fn ask(prometheus: SocketAddr, path: &str) -> Result<Value> {
    let text = get(&Place::here(), prometheus, path)?;
    serde_json::from_str(&text).context("Prometheus does not answer with JSON")
}

/// An expression as a part of an address (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_asked_without_their_bound() {
        assert_eq!(bounded("max by (a) (b{c=\"d > e\"}) > 0.5"), Some("max by (a) (b{c=\"d > e\"})"));
        assert_eq!(bounded("up == 0"), Some("up"));
        assert_eq!(bounded("up"), None);
        assert_eq!(bounded("a + 1"), None);
    }

    #[test]
    fn expressions_are_encoded() {
        assert_eq!(encoded("rate(a{b=\"c\"}[1m])"), "rate%28a%7Bb%3D%22c%22%7D%5B1m%5D%29");
    }

    #[test]
    fn rows_and_panels_are_searched() {
        let panels = serde_json::json!([
            { "title": "one", "targets": [{ "expr": "rate(a{instance=~\"$instance\"}[$__rate_interval])" }] },
            { "title": "row", "panels": [{ "title": "two", "targets": [{ "expr": "b" }] }] },
        ]);
        let mut found = Vec::new();
        collect(&panels, &mut found);
        let texts: Vec<_> = found.iter().map(|expression| expression.text.as_str()).collect();
        assert_eq!(texts, ["rate(a{instance=~\".*\"}[1m])", "b"]);
    }
}
