//! Reading the keys.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use heartbeat_fastpath::respond::WhenLapsed;
use socket2::SockAddr;
use xps_runtime::config::Section;

use super::{By, Check, How, LEASE_MAX, LEASE_MIN, Settings, SharedFile, Way, owner};
use crate::lease::place::{self, Place, Url};
use crate::lease::secret::Secret;

/// Ways that check.
const CHECKS: &[By] = &[By::Tcp, By::Http, By::Redis, By::Command];

/// Keys that go with some ways only.
const ONLY_WITH: [(&str, &[By]); 10] = [
    ("lease_file", &[By::Shared]),
    ("lease_owner", &[By::Shared]),
    ("lease_mode", &[By::Shared]),
    ("lease_address", &[By::Tcp, By::Redis]),
    ("lease_url", &[By::Http]),
    ("lease_username", &[By::Redis]),
    ("lease_password_file", &[By::Redis]),
    ("lease_command", &[By::Command]),
    ("lease_interval", CHECKS),
    ("lease_timeout", CHECKS),
];

/// What a word must be that says who may touch.
const MODE_EXPECTED: &str = "an octal mode such as \"0600\" or \"0660\", with which the owner may read and write and not everybody may write";

impl Settings {
    /// Asks for the keys of a node's table. What is wrong is told by the section's reader at the end.
    pub fn ask(section: &mut Section<'_>) -> Self {
        let lease = section.duration("lease", Self::default().lease, LEASE_MIN..=LEASE_MAX);
        let by = section.choice("lease_by", By::Always, &By::ALL);
        let lapsed = [("silent", WhenLapsed::Silent), ("degraded", WhenLapsed::Degraded)];
        let when_lapsed = section.choice("when_lapsed", WhenLapsed::Silent, &lapsed);
        for (key, ways) in ONLY_WITH {
            if section.is_given(key) && !ways.contains(&by) {
                let ways: Vec<_> = ways.iter().map(|way| format!("\"{way}\"")).collect();
                let message =
                    format!("{key} goes with lease_by = {}; here lease_by is \"{by}\"", ways.join(" or "));
                section.mistake(key, message);
            }
        }
        // All are asked for whatever the way, or they would be unknown to the reader.
        let file = shared(section);
        let address = section.optional::<Place>("lease_address", place::EXPECTED);
        let url = section.optional::<Url>("lease_url", place::URL_EXPECTED);
        let username = section.string("lease_username", "");
        let password = password(section, &username);
        let command = command(section);
        let (interval, timeout) = times(section, lease);
        let check = |how| Way::Check(Check { how, interval, timeout });
        let (way, needs) = match by {
            By::Always => (Some(Way::Always), ""),
            By::Call => (Some(Way::Call), ""),
            By::Shared => (file.map(Way::Shared), "lease_file"),
            By::Tcp => (address.map(How::Tcp).map(check), "lease_address"),
            By::Redis => {
                (address.map(|place| check(How::Redis { place, username, password })), "lease_address")
            }
            By::Http => (url.map(How::Http).map(check), "lease_url"),
            By::Command => (command.map(How::Command).map(check), "lease_command"),
        };
        if way.is_none() && !section.is_given(needs) {
            section.mistake("lease_by", format!("lease_by = \"{by}\" needs {needs}"));
        }
        Self { lease, way: way.unwrap_or(Way::Always), when_lapsed }
    }
}

/// Asks for the socket for calls, `socket` of the section; `None` if there is to be none.
pub fn socket(section: &mut Section<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(section.string("socket", ""));
    if path.as_os_str().is_empty() {
        return None;
    }
    if !path.is_absolute() || SockAddr::unix(&path).is_err() {
        let message =
            "socket must be a whole path that is not too long, such as \"/run/xps/heartbeat/lease.sock\"";
        section.mistake("socket", message);
    }
    Some(path)
}

fn shared(section: &mut Section<'_>) -> Option<SharedFile> {
    let path = PathBuf::from(section.string("lease_file", ""));
    let owner = section.optional("lease_owner", owner::EXPECTED).unwrap_or_default();
    let Mode(mode) = section.parsed("lease_mode", Mode(0o600), MODE_EXPECTED);
    if path.is_absolute() && path.file_name().is_some() {
        return Some(SharedFile { path, owner, mode });
    }
    if section.is_given("lease_file") {
        let message = "lease_file must be a whole path, such as \"/run/xps/heartbeat/orders.lease\"";
        section.mistake("lease_file", message);
    }
    None
}

/// Who may read and write a file.
struct Mode(u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mode = u32::from_str_radix(text, 8).map_err(|_| MODE_EXPECTED)?;
        // The owner reads and writes, nobody executes, and not everybody writes.
        if mode & !0o664 == 0 && mode & 0o600 == 0o600 { Ok(Self(mode)) } else { Err(MODE_EXPECTED) }
    }
}

fn password(section: &mut Section<'_>, username: &str) -> Option<Secret> {
    let path = section.string("lease_password_file", "");
    if path.is_empty() {
        if !username.is_empty() {
            section.mistake("lease_username", "lease_username needs lease_password_file");
        }
        return None;
    }
    match Secret::read(Path::new(&path)) {
        Ok(secret) => Some(secret),
        Err(error) => {
            section.mistake("lease_password_file", format!("lease_password_file: {error}"));
            None
        }
    }
}

fn command(section: &mut Section<'_>) -> Option<Vec<String>> {
    let words = section.strings("lease_command", &[]);
    if words.first().is_some_and(|program| !program.is_empty()) {
        return Some(words);
    }
    if section.is_given("lease_command") {
        let message =
            "lease_command must be a list that begins with a program, such as [\"pg_isready\", \"-q\"]";
        section.mistake("lease_command", message);
    }
    None
}

/// Interval and time-out of checks.
fn times(section: &mut Section<'_>, lease: Duration) -> (Duration, Duration) {
    let third = lease / 3;
    let range = Duration::from_millis(1)..=LEASE_MAX;
    let interval = section.duration("lease_interval", third, range.clone());
    let timeout = section.duration("lease_timeout", third, range);
    // The next check may begin so much later, and take so long, until it renews what this one has.
    let between = interval.max(timeout) + timeout;
    if between > lease {
        let key = if section.is_given("lease_interval") { "lease_interval" } else { "lease_timeout" };
        let message = format!(
            "with lease_interval {interval:?} and lease_timeout {timeout:?} a lease of {lease:?} would lapse between two checks that succeed; both together must be at most the lease, and a third each is good"
        );
        section.mistake(key, message);
    }
    (interval, timeout)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
