//! What a sidecar answers to a browser that asks for `/`.

/// Asks for it.
pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Checks an answer of `service`: that it is the page, and what a browser may do with it.
pub(crate) fn check(service: &str, answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let fields = head.to_ascii_lowercase();
    for field in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
    ] {
        assert!(fields.contains(field), "{field} in\n{head}");
    }
    assert!(!fields.contains("unsafe") && !fields.contains("access-control"), "{head}");
    assert!(body.contains(&format!("<body data-service=\"{service}\">")), "{body}");
    assert!(!body.contains("@service@"), "{body}");
}
