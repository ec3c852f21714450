//! The page at `/`: what the status says, drawn by a browser and refreshed each second.
//!
//! It shows what `/status` (and heartbeat's `/members`) says to whoever asks from where the browser is, and nothing else: it holds
//! no data itself. It loads nothing from elsewhere. What it asks for has names in it that come from outside, so besides that the
//! script writes text only, the policy lets run nothing but that script.

use std::sync::LazyLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Owner;

/// The page; `@service@` stands for the service's name.
const PAGE: &str = include_str!("page.html");

/// What a browser may do with it: run its own script, take its own style, and ask this sidecar
/// (<https://www.w3.org/TR/CSP3/>). Script and style are told by their hashes, so that they can stand in the page.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    )
});

/// The page of `owner`'s sidecar.
#[must_use]
pub fn show(owner: &Owner) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Another version of the sidecar may have another page.
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE.replace("@service@", owner.name)).into_response()
}

/// The content of the page's only element of this name, which has no `@service@` in it.
fn content_of(element: &str) -> &'static str {
    let rest = PAGE.split_once(&format!("<{element}>")).map_or("", |(_, rest)| rest);
    rest.split_once(&format!("</{element}>")).map_or("", |(content, _)| content)
}

/// Its hash, as a source of the policy.
fn hash_of(element: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content_of(element))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { name: "sidecar", header: "X-Sidecar", default: "127.0.0.1:1" };

    #[test]
    fn the_policy_lets_run_what_stands_in_the_page_and_nothing_else() {
        let answer = show(&OWNER);
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let policy = header(CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!((header(X_CONTENT_TYPE_OPTIONS), header(CACHE_CONTROL)), ("nosniff", "no-store"));
        // The hash of nothing would mean that there is no such element.
        for element in ["script", "style"] {
            assert!(content_of(element).len() > 1000);
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1);
            assert!(!content_of(element).contains("@service@"), "its hash would be another");
        }
    }

    #[test]
    fn the_page_loads_nothing_and_makes_no_markup_of_data() {
        for word in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"]
        {
            let elsewhere = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains(word), "{word}");
        }
        assert!(!PAGE.contains(" style=\"") && !PAGE.contains(" onload="), "the policy forbids attributes");
    }
}
