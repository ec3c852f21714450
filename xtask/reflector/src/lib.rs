//! The limit of the method: what `cargo xtask bench kv` measures as `reflector`.
//!
//! A request to the port is answered with constant bytes, in place and by the runtime's way out, with sequence numbers
//! straight from the packet. No flow table, no parser, no lock, nothing kept: what a real handler costs is the distance to
//! this. Not a service: a lost reply is lost, and the server's side of the connection learns nothing of it. IPv4 only.
//!
//! `program.rs` is the kernel program, `main.rs` the agent, and this what they share.
#![no_std]

use xps_core::handler::{REPLY_MAX, REPLY_SLACK};

/// Name of the program.
pub const PROGRAM: &str = "xps_reflect";

/// Name of the map with one [`Settings`].
pub const SETTINGS: &str = "SETTINGS";

/// Name of the map that leads from an interface's index to its [`xps_core::abi::Redirect`].
pub const DEVICES: &str = "DEVICES";

/// First bytes of the requests that are answered: in RESP, a command with one argument. Others go to the server, so that
/// a client that asks for its configuration first gets an answer.
pub const PREFIX: [u8; 4] = *b"*2\r\n";

/// What is reflected.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Settings {
    /// The reply; only `..reply_len` is sent.
    pub reply: [u8; REPLY_MAX + REPLY_SLACK],
    /// Length of the reply, at most [`REPLY_MAX`].
    pub reply_len: u32,
    /// Sum of the reply's bytes as big-endian words.
    pub reply_sum: u32,
    /// Port whose requests are answered.
    pub port: u32,
    /// Zero.
    pub padding: u32,
}

impl Settings {
    /// Constant `reply` to requests to `port`; `None` if it is empty or too long.
    #[must_use]
    pub fn new(port: u16, reply: &[u8]) -> Option<Self> {
        let mut settings = Self {
            reply: [0; REPLY_MAX + REPLY_SLACK],
            reply_len: u32::try_from(reply.len()).ok()?,
            reply_sum: 0,
            port: u32::from(port),
            padding: 0,
        };
        if reply.is_empty() || reply.len() > REPLY_MAX {
            return None;
        }
        settings.reply[..reply.len()].copy_from_slice(reply);
        let words =
            settings.reply.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        settings.reply_sum = words.sum();
        Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_summed_and_bounded() {
        let settings = Settings::new(80, &[1, 2, 3]).expect("a reply");
        assert_eq!((settings.reply_len, settings.reply_sum), (3, 0x0102 + 0x0300));
        assert!(Settings::new(80, &[]).is_none());
        assert!(Settings::new(80, &[0; REPLY_MAX + 1]).is_none());
        assert!(Settings::new(80, &[0; REPLY_MAX]).is_some());
    }
}
