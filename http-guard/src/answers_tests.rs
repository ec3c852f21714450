use httparse::{EMPTY_HEADER, Response, Status};

use super::*;
use crate::rules;

const RULES: &str = r#"
[[rule]]
name = "wave through"
path = "/open"
action = "allow"

[[rule]]
name = "no"
path = "/no"
action = "deny"
status = 404

[[rule]]
name = "a \"quick\" größe"
action = "limit"
rate = "10/min"
burst = 5
"#;

fn rules() -> Vec<Rule> {
    rules::read("test", RULES, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap().rules
}

fn compiled() -> Box<[Answer]> {
    compile(&rules(), &Page::default()).unwrap()
}

/// The status and fields of an answer, which has the right lengths.
fn parsed(answer: &Answer) -> (u16, Vec<(String, String)>) {
    let mut headers = [EMPTY_HEADER; 16];
    let mut response = Response::new(&mut headers);
    let bytes = &answer.bytes[..usize::from(answer.len)];
    assert_eq!(response.parse(bytes).unwrap(), Status::Complete(usize::from(answer.head_len)));
    let fields: Vec<_> = response
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), String::from_utf8(field.value.to_vec()).unwrap()))
        .collect();
    let length = value(&fields, "Content-Length").unwrap().parse::<usize>().unwrap();
    assert_eq!(length, usize::from(answer.len - answer.head_len));
    let status = response.code.unwrap();
    assert_eq!(response.reason, Some(reason(status)));
    (status, fields)
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = fields.iter().filter(|(other, _)| other == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert_eq!(found.next(), None, "{name} twice");
    value
}

/// What stands on the line before a place, and behind it.
fn around(answer: &Answer, at: u16, bytes: usize) -> (&str, &str) {
    let head = std::str::from_utf8(&answer.bytes[..usize::from(answer.head_len)]).unwrap();
    let (before, rest) = head.split_at(usize::from(at));
    let (place, behind) = rest.split_at(bytes);
    assert!(place.bytes().all(|byte| byte == b' '), "{place:?}");
    (before.rsplit("\r\n").next().unwrap(), &behind[..2])
}

#[test]
fn each_answer_is_one_and_its_places_end_their_lines() {
    let answers = compiled();
    let mut count = 0;
    for answer in answers.iter().filter(|answer| answer.len != 0) {
        let (_, fields) = parsed(answer);
        assert_eq!(value(&fields, "Content-Type"), Some("text/html"));
        assert_eq!(value(&fields, "Server"), None);
        assert_eq!(around(answer, answer.date_at, DATE_BYTES), ("Date: ", "\r\n"));
        count += 1;
    }
    assert_eq!(count, 2 * 2 + Refusal::ALL.len() + 1);
}

#[test]
fn rules_have_two_forms() {
    let answers = compiled();
    assert_eq!(answers[answer_of(0, 0, false) as usize].len, 0, "nothing is refused by it");
    for (rule, status) in [(1, 404), (2, 429)] {
        for (closes, connection) in [(false, "keep-alive"), (true, "close")] {
            let (found, fields) = parsed(&answers[answer_of(0, rule, closes) as usize]);
            assert_eq!((found, value(&fields, "Connection")), (status, Some(connection)));
        }
    }
    let deny = &answers[answer_of(0, 1, false) as usize];
    assert_eq!((deny.retry_at, deny.reset_at), (0, 0));
    let page = std::str::from_utf8(&deny.bytes[usize::from(deny.head_len)..usize::from(deny.len)]).unwrap();
    assert!(page.contains("<title>404 Not Found</title>"), "{page}");
}

#[test]
fn limits_are_told() {
    let answers = compiled();
    let answer = &answers[answer_of(0, 2, false) as usize];
    let (_, fields) = parsed(answer);
    let name = r#""a \"quick\" gr??e""#;
    assert_eq!(value(&fields, "RateLimit-Policy"), Some(format!("{name};q=5;w=30").as_str()));
    assert_eq!(around(answer, answer.retry_at, NUMBER_BYTES), ("Retry-After: ", "\r\n"));
    let before = format!("RateLimit: {name};r=0;t=");
    assert_eq!(around(answer, answer.reset_at, NUMBER_BYTES), (before.as_str(), "\r\n"));
}

#[test]
fn what_is_refused_by_its_syntax_closes() {
    let answers = compiled();
    for refusal in Refusal::ALL {
        let (status, fields) = parsed(&answers[answer_of_refusal(0, *refusal as u8) as usize]);
        assert_eq!((status, value(&fields, "Connection")), (refusal.status(), Some("close")));
    }
    assert_eq!(parsed(&answers[BAD_GATEWAY as usize]).0, 502);
}

#[test]
fn pages_are_replaced() {
    let page = Page { body: "{reason}: {status}, {other}".into(), content_type: "text/plain".into() };
    let answers = compile(&rules(), &page).unwrap();
    let answer = &answers[answer_of(0, 2, true) as usize];
    let (_, fields) = parsed(answer);
    assert_eq!(value(&fields, "Content-Type"), Some("text/plain"));
    let body = &answer.bytes[usize::from(answer.head_len)..usize::from(answer.len)];
    assert_eq!(body, b"Too Many Requests: 429, {other}");
    let empty = compile(&rules(), &Page { body: String::new(), ..page }).unwrap();
    parsed(&empty[answer_of(0, 1, true) as usize]);
}

#[test]
fn pages_that_cannot_be_sent_are_mistakes() {
    let body = "x".repeat(ANSWER_BYTES_MAX);
    let Err(Mistakes(mistakes)) = compile(&[], &Page { body, content_type: "text/\nhtml".into() }) else {
        panic!("it compiles");
    };
    let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    assert_eq!(places, ["answers.content_type", "answers.body"]);
    // Just as long as it may be.
    let over = |len: usize| compile(&rules(), &Page { body: "x".repeat(len), ..Page::default() });
    let fits = (0..ANSWER_BYTES_MAX).rev().find(|len| over(*len).is_ok()).unwrap();
    let longest = over(fits).unwrap().iter().map(|answer| answer.len).max();
    assert_eq!(longest, Some(ANSWER_BYTES_MAX as u16));
}
