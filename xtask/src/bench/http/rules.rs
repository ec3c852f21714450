//! The same rules for http-guard, for Nginx itself and for HAProxy, and the files that they are about.
//!
//! All files are there on the plain port: what a rule lets through by mistake is answered with 200, and counted.

use crate::lab::nginx::Site;
use std::net::{Ipv4Addr, SocketAddr};

/// A page as Nginx's own welcome page is.
pub(super) const PAGE: File = File { path: "/index.html", bytes: 612 };
/// What does not fit a few segments.
pub(super) const LARGE: File = File { path: "/large.bin", bytes: 100 * 1024 };
/// Nobody may have it.
pub(super) const PRIVATE: File = File { path: "/private/index.html", bytes: 612 };
/// Everybody may have it once a minute.
pub(super) const LIMITED: File = File { path: "/limited/index.html", bytes: 612 };
/// A known client may have it a million times a second, everybody else ten times.
pub(super) const FLOODED: File = File { path: "/flooded/index.html", bytes: 612 };

/// How many requests a second may pass of a client that is not known, and how many at once.
pub(super) const FLOOD_RATE: u64 = 10;

/// A file on the server.
#[derive(Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) bytes: usize,
}

const FILES: &[(&str, usize)] = &[
    (PAGE.path, PAGE.bytes),
    (LARGE.path, LARGE.bytes),
    (PRIVATE.path, PRIVATE.bytes),
    (LIMITED.path, LIMITED.bytes),
    (FLOODED.path, FLOODED.bytes),
];

/// For http-guard.
pub(super) fn http_guard(known: Ipv4Addr) -> String {
    format!(
        r#"
[[rule]]
name = "private"
path_prefix = "/private/"
action = "deny"

[[rule]]
name = "limited"
path_prefix = "/limited/"
action = "limit"
rate = "1/min"

[[rule]]
name = "flooded, known clients"
client = "{known}"
path_prefix = "/flooded/"
action = "limit"
rate = "1000000/s"
burst = 1000000

[[rule]]
name = "flooded, other clients"
path_prefix = "/flooded/"
action = "limit"
rate = "{FLOOD_RATE}/s"
burst = {FLOOD_RATE}
"#
    )
}

/// For Nginx. Refusals are not logged: neither does http-guard write a line for each.
pub(super) fn nginx(known: Ipv4Addr) -> Site<'static> {
    let zones = format!(
        "  geo $known {{ default 0; {known} 1; }}
  map $known $known_client {{ 0 ''; 1 $binary_remote_addr; }}
  map $known $other_client {{ 1 ''; 0 $binary_remote_addr; }}
  limit_req_zone $binary_remote_addr zone=limited:10m rate=1r/m;
  limit_req_zone $known_client zone=known:10m rate=1000000r/s;
  limit_req_zone $other_client zone=other:10m rate={FLOOD_RATE}r/s;
  limit_req_status 429;
  limit_req_log_level info;
"
    );
    let rules = format!(
        "    location /private/ {{ return 403; }}
    location /limited/ {{ limit_req zone=limited; }}
    location /flooded/ {{
      limit_req zone=known burst=1000000 nodelay;
      limit_req zone=other burst={FLOOD_RATE} nodelay;
    }}
"
    );
    Site { files: FILES, zones, rules }
}

/// For HAProxy, which counts by stick tables. What it refuses counts too, so that a flood never gets through.
pub(super) fn haproxy(known: Ipv4Addr, listen: &str, nginx: SocketAddr) -> String {
    format!(
        "global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
backend limited
  stick-table type ip size 100k expire 60s store http_req_rate(60s)
backend flooded
  stick-table type ip size 100k expire 1s store http_req_rate(1s)
frontend clients
  bind {listen}
  acl known src {known}
  acl limited path_beg /limited/
  acl flooded path_beg /flooded/
  http-request deny deny_status 403 if {{ path_beg /private/ }}
  http-request track-sc0 src table limited if limited
  http-request track-sc0 src table flooded if flooded
  http-request deny deny_status 429 if limited {{ sc_http_req_rate(0) gt 1 }}
  http-request deny deny_status 429 if flooded !known {{ sc_http_req_rate(0) gt {FLOOD_RATE} }}
  default_backend nginx
backend nginx
  server nginx {nginx}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_speak_of_the_same_paths_and_clients() {
        let known = Ipv4Addr::new(10, 77, 0, 3);
        let site = nginx(known);
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        for text in [http_guard(known), site.zones + &site.rules, haproxy(known, "*:8090", server)] {
            assert!(text.contains("10.77.0.3"), "{text}");
            for file in [PRIVATE, LIMITED, FLOODED] {
                let folder = file.path.strip_suffix("index.html").unwrap();
                assert!(text.contains(folder), "{folder}: {text}");
            }
        }
    }
}
