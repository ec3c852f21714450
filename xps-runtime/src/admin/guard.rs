//! Who may act: whoever is on this machine, and is no web page.
//!
//! What changes something, or shows keys, is answered only where others cannot come: on a unix socket, whose file is for
//! the sidecar's user alone, or on a loopback address. A browser on the same machine can come to a loopback address too,
//! sent by any page. A page of another site can send a plain POST, but a header of its own only after asking first, which
//! is never granted: so a header is demanded. A page whose name was made to lead to this machine (DNS rebinding) need not
//! ask; but its requests name that host, so only addresses and `localhost` are taken as one.

use std::net::IpAddr;

use axum::http::{self, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Owner;
use super::address::Address;

/// What is asked of a request that acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    owner: Owner,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The header: who can connect may act.
    Unix,
    /// The header, and the name of this machine.
    Loopback,
    /// It is refused: others can come here.
    Exposed(Address),
}

impl Guard {
    /// For what listens on `address`.
    #[must_use]
    pub fn of(owner: Owner, address: &Address) -> Self {
        let place = match address {
            Address::Unix(_) => Place::Unix,
            Address::Tcp(tcp) if tcp.ip().to_canonical().is_loopback() => Place::Loopback,
            Address::Tcp(_) => Place::Exposed(address.clone()),
        };
        Self { owner, place }
    }

    /// Whether a request with these headers may act.
    ///
    /// # Errors
    /// What to answer if not.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Owner { name, header, default } = self.owner;
        if let Place::Exposed(address) = &self.place {
            return Err(Refusal(format!(
                "refused: others can reach {address}, so it only shows status, metrics and health; set listen.admin to a \
                 loopback address ({default}) or a unix socket (unix:/run/{name}.sock)\n"
            )));
        }
        if headers.get(header).is_none_or(|value| value != "1") {
            return Err(Refusal(format!(
                "refused: the header \"{header}: 1\" is missing, which shows that no web page sent this; with curl: \
                 -H '{header}: 1'\n"
            )));
        }
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if self.place == Place::Loopback && !names_a_machine(host) {
            return Err(Refusal(
                "refused: the header \"Host\" must be an address or localhost, which shows that no web page sent this\n"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Whether a `Host` is an IP address or `localhost`, with or without a port.
fn names_a_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || inner.parse::<IpAddr>().is_ok()
}

/// Why a request may not act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::FORBIDDEN, self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "x-sidecar";
    const OWNER: Owner = Owner { name: "sidecar", header: "X-Sidecar", default: "127.0.0.1:9180" };

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    fn guard(address: &str) -> Guard {
        Guard::of(OWNER, &address.parse().expect("an address"))
    }

    #[test]
    fn only_who_is_here_may_act() {
        let here = headers(&[("host", "127.0.0.1:9180"), (HEADER, "1")]);
        for address in ["127.0.0.1:9180", "127.9.9.9:1", "[::1]:9180", "[::ffff:127.0.0.1]:9180", "unix:/a"] {
            assert_eq!(guard(address).check(&here), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:9180", "[::]:9180", "10.0.0.1:9180", "[::ffff:10.0.0.1]:9180"] {
            let Refusal(text) = guard(address).check(&here).expect_err("refused");
            assert!(text.contains(address) && text.contains("set listen.admin"), "{text}");
        }
    }

    #[test]
    fn no_web_page_may_act() {
        let loopback = guard("127.0.0.1:9180");
        for host in ["localhost", "LOCALHOST:9180", "127.0.0.1", "[::1]:9180", "[::1]"] {
            assert!(names_a_machine(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9180", "localhost.evil.example", "127.0.0.1.evil.example:80"]
        {
            assert!(!names_a_machine(host), "{host}");
        }
        for (list, word) in [
            (&[("host", "localhost")][..], "X-Sidecar"),
            (&[("host", "localhost"), (HEADER, "yes")], "X-Sidecar"),
            (&[("host", "evil.example:9180"), (HEADER, "1")], "Host"),
            (&[(HEADER, "1")], "Host"),
        ] {
            let Refusal(text) = loopback.check(&headers(list)).expect_err("refused");
            assert!(text.contains(word), "{list:?}: {text}");
        }
        let unix = guard("unix:/run/sidecar.sock");
        assert_eq!(unix.check(&headers(&[("host", "sidecar"), (HEADER, "1")])), Ok(()));
        assert!(unix.check(&headers(&[("host", "localhost")])).is_err());
    }
}
