//! The table of probes: streams of a client, and what is to become of them.
//!
//! It depends on nothing, so every test that has a way to send bytes can use it by path: the parsers here, both paths of
//! the guard, and Nginx itself, which must parse what passes as the guard did.

mod bodies;
mod fields;
mod lines;
mod paths;

/// A request that passes, as the server is to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The method.
    pub(crate) method: &'static str,
    /// The normalised path.
    pub(crate) path: &'static [u8],
    /// The host.
    pub(crate) host: &'static str,
    /// Bytes of the body, without a chunked one's framing.
    pub(crate) body_bytes: u64,
}

/// What comes behind the requests that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// A request that has not ended: it is neither passed nor refused.
    Incomplete,
    /// A request that is refused with this status, and the connection closed.
    Refused(u16),
}

/// A stream and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// What it is about.
    pub(crate) name: &'static str,
    /// The client's bytes.
    pub(crate) bytes: &'static [u8],
    /// Requests that pass, in order.
    pub(crate) passed: &'static [Passed],
    /// What comes behind them.
    pub(crate) then: Then,
    /// Whether Nginx refuses what passes.
    pub(crate) origin_refuses: bool,
}

/// All probes.
pub(crate) fn all() -> impl Iterator<Item = &'static Probe> {
    [lines::PROBES, paths::PROBES, fields::PROBES, bodies::PROBES].into_iter().flatten()
}

const fn get(path: &'static [u8]) -> Passed {
    request("GET", path, 0)
}

const fn request(method: &'static str, path: &'static [u8], body_bytes: u64) -> Passed {
    Passed { method, path, host: "a.example", body_bytes }
}

const fn at_host(host: &'static str) -> Passed {
    Passed { method: "GET", path: b"/", host, body_bytes: 0 }
}

const fn pass(name: &'static str, bytes: &'static [u8], passed: &'static [Passed]) -> Probe {
    Probe { name, bytes, passed, then: Then::Nothing, origin_refuses: false }
}

/// Passes here, and Nginx refuses it.
const fn pass_to_refusal(name: &'static str, bytes: &'static [u8], passed: &'static [Passed]) -> Probe {
    Probe { name, bytes, passed, then: Then::Nothing, origin_refuses: true }
}

const fn incomplete(name: &'static str, bytes: &'static [u8], passed: &'static [Passed]) -> Probe {
    Probe { name, bytes, passed, then: Then::Incomplete, origin_refuses: false }
}

const fn refuse(name: &'static str, bytes: &'static [u8], status: u16) -> Probe {
    Probe { name, bytes, passed: &[], then: Then::Refused(status), origin_refuses: false }
}

/// Requests pass, the one behind them does not.
const fn refuse_after(
    name: &'static str,
    bytes: &'static [u8],
    passed: &'static [Passed],
    status: u16,
) -> Probe {
    Probe { name, bytes, passed, then: Then::Refused(status), origin_refuses: false }
}
