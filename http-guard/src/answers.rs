//! Answers to requests that are refused: each one whole, but for the date and the time after which to come again.
//!
//! They look like Nginx's pages of errors, without its name: it is not Nginx that answers.
//!
//! # Layout
//!
//! - `reason`: what statuses are called.
//! - `policy`: how limits are told to clients.

mod policy;
mod reason;

use http_fastpath::abi::{
    ANSWER_BYTES_MAX, ANSWERS_MAX, Answer, DATE_BYTES, NUMBER_BYTES, REFUSALS_MAX, RULES_MAX, answer_of,
    answer_of_refusal,
};
use http_fastpath::refusal::Refusal;
use xps_runtime::config::{Mistake, Mistakes};

use crate::rules::{Action, Rule};

use policy::Policy;
pub use reason::reason;

/// Where the answer is that the proxy gives if the server cannot be reached; it closes.
pub const BAD_GATEWAY: u32 = 2 * RULES_MAX as u32 + REFUSALS_MAX;

const _: () = assert!(BAD_GATEWAY < ANSWERS_MAX);

/// The bodies of answers: the section `[answers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The body; `{status}` and `{reason}` stand for the status and what it is called.
    pub body: String,
    /// Its type.
    pub content_type: String,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            body: "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n\
                   <center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
                .into(),
            content_type: "text/html".into(),
        }
    }
}

/// The answers of one set of tables, by [`answer_of`] and [`answer_of_refusal`] of set 0, and [`BAD_GATEWAY`].
///
/// # Errors
/// If the page cannot be sent as it is.
pub fn compile(rules: &[Rule], page: &Page) -> Result<Box<[Answer]>, Mistakes> {
    check(rules, page)?;
    let mut answers = vec![Answer::EMPTY; ANSWERS_MAX as usize].into_boxed_slice();
    for (number, rule) in (0..).zip(rules) {
        for (closes, place) in [(false, answer_of(0, number, false)), (true, answer_of(0, number, true))] {
            if let Some(draft) = of_rule(rule, page, closes) {
                answers[place as usize] = draft.finish();
            }
        }
    }
    for refusal in Refusal::ALL {
        let place = answer_of_refusal(0, *refusal as u8);
        answers[place as usize] = draft(page, refusal.status(), true, None).finish();
    }
    answers[BAD_GATEWAY as usize] = draft(page, 502, true, None).finish();
    Ok(answers)
}

/// Only the page can make an answer too long or malformed; names of rules are short.
fn check(rules: &[Rule], page: &Page) -> Result<(), Mistakes> {
    let mut mistakes = Vec::new();
    let mut mistake = |key: &str, message: String| {
        mistakes.push(Mistake { place: format!("answers.{key}"), message });
    };
    let kind = &page.content_type;
    if kind.is_empty() || kind.trim() != kind || !kind.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        mistake(
            "content_type",
            format!("{kind:?} is no type of a body; it must be one such as \"text/html\""),
        );
    }
    // The form that keeps the connection is the longer one.
    let of_rules = rules.iter().filter_map(|rule| of_rule(rule, page, false));
    let of_refusals = Refusal::ALL.iter().map(|refusal| draft(page, refusal.status(), true, None));
    let longest = of_rules.chain(of_refusals).chain([draft(page, 502, true, None)]).map(|draft| draft.len());
    let over = longest.max().unwrap_or(0).saturating_sub(ANSWER_BYTES_MAX);
    if over != 0 {
        let message = format!(
            "the longest answer is {over} bytes over the {ANSWER_BYTES_MAX} that fit one segment; shorten the body"
        );
        mistake("body", message);
    }
    if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
}

/// The answer of a rule, if it has one.
fn of_rule(rule: &Rule, page: &Page, closes: bool) -> Option<Draft> {
    match &rule.action {
        Action::Deny { status } => Some(draft(page, *status, closes, None)),
        Action::Limit(limit) => {
            Some(draft(page, limit.status, closes, Some(&Policy::new(&rule.name, &limit.rate))))
        }
        Action::Allow | Action::Close | Action::Drop | Action::Count => None,
    }
}

/// An answer of any length, with its places.
#[derive(Default)]
struct Draft {
    head: Vec<u8>,
    body: Vec<u8>,
    date_at: usize,
    retry_at: usize,
    reset_at: usize,
}

fn draft(page: &Page, status: u16, closes: bool, policy: Option<&Policy>) -> Draft {
    let reason = reason(status);
    let body = page.body.replace("{status}", &status.to_string()).replace("{reason}", reason);
    let mut draft = Draft { body: body.into_bytes(), ..Draft::default() };
    draft.text(&format!("HTTP/1.1 {status} {reason}\r\nDate: "));
    draft.date_at = draft.place(DATE_BYTES);
    draft.text(&format!("\r\nContent-Type: {}\r\n", page.content_type));
    draft.text(&format!("Content-Length: {}\r\n", draft.body.len()));
    // A client of HTTP/1.0 that asked for it must be told, too.
    draft.text(if closes { "Connection: close\r\n" } else { "Connection: keep-alive\r\n" });
    if let Some(policy) = policy {
        // Numbers stand at the end of their lines: what they do not need is white space there.
        draft.text("Retry-After: ");
        draft.retry_at = draft.place(NUMBER_BYTES);
        draft.text(&format!("\r\nRateLimit-Policy: {}\r\nRateLimit: {}", policy.policy(), policy.state()));
        draft.reset_at = draft.place(NUMBER_BYTES);
        draft.text("\r\n");
    }
    draft.text("\r\n");
    draft
}

impl Draft {
    fn text(&mut self, text: &str) {
        self.head.extend_from_slice(text.as_bytes());
    }

    /// A place for what is not known yet.
    fn place(&mut self, bytes: usize) -> usize {
        let at = self.head.len();
        self.head.resize(at + bytes, b' ');
        at
    }

    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The answer; its length was checked.
    fn finish(self) -> Answer {
        let mut answer = Answer {
            head_len: self.head.len() as u16,
            len: self.len() as u16,
            date_at: self.date_at as u16,
            retry_at: self.retry_at as u16,
            reset_at: self.reset_at as u16,
            ..Answer::EMPTY
        };
        let bytes = self.head.iter().chain(&self.body);
        answer.bytes.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        answer
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
