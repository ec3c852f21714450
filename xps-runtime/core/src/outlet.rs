//! How the server's packets of a connection leave (T5, T7, T9): what the stack's own replies must do, too.
//!
//! Nothing of this is looked up. The kernel's own packets show which way it sends them, whatever routing tables, rules, marks,
//! or VRF made it do so; a route that has changed is seen with the next of them. So that there is one now and then, a
//! connection that only the stack answers shows the server a sign of life ([`Outlet::age`]): that also keeps conntrack's entry
//! alive, and lets a firewall's new rule reach it.

/// Units of times in an [`Outlet`], as a power of two of nanoseconds: about a millisecond.
pub const UNIT_SHIFT: u32 = 20;

/// For how long the server's last packet vouches for the way in and out: about two seconds.
pub const CONFIRMED: u32 = 2_000_000_000u64.div_ceil(1 << UNIT_SHIFT) as u32;

/// The ECN codepoints of IP (RFC 3168 §5), and the congestion that routers tell by them.
pub const ECN_MASK: u8 = 3;
/// ECT(0).
pub const ECT_0: u8 = 2;
/// Congestion experienced.
pub const CE: u8 = 3;

/// The way of the server's last packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlet {
    /// First four bytes of the link address that it went to, as a number.
    pub link_first: u32,
    /// Its last two.
    pub link_last: u16,
    /// Its IPv4 TOS or IPv6 traffic class.
    pub service: u8,
    /// Zero.
    pub padding: u8,
    /// The interface that it left by.
    pub ifindex: u32,
    /// When that was: `CLOCK_MONOTONIC` in units of 2^[`UNIT_SHIFT`] ns.
    pub heard: u32,
    /// When the server was last asked for a sign of life.
    pub asked: u32,
    /// Most bytes of payload that the server's socket sends at once, as it knows the path's MTU; 0 while that is not known.
    pub mss: u16,
    /// What is known of long replies that were lost: see [`Outlet::repeated`].
    pub repeats: u16,
}

/// The last long reply had to be repeated.
const REPEATED: u16 = 1 << 15;

/// How many replies go in pieces before one is sent whole again, on a path where two in a row were lost.
pub const NARROW: u16 = 1 << 10;

impl Outlet {
    /// Takes what a packet of the server shows that leaves now. Writes only what has changed.
    #[inline(always)]
    pub fn take(&mut self, link: (u32, u16), ifindex: u32, service: u8, now_ns: u64) {
        let now = units(now_ns);
        if self.heard != now {
            self.heard = now;
        }
        if self.service != service {
            self.service = service;
        }
        if self.ifindex != ifindex || (self.link_first, self.link_last) != link {
            self.ifindex = ifindex;
            (self.link_first, self.link_last) = link;
        }
    }

    /// A reply that is longer than a piece is sent again. Two in a row are taken for a path that is narrower than anybody has
    /// told (RFC 4821): a router that says so may be silent, or its word be filtered.
    #[inline(always)]
    pub fn repeated(&mut self) {
        if self.repeats & REPEATED == 0 {
            self.repeats = REPEATED | if self.repeats == 0 { 1 } else { NARROW };
        }
    }

    /// Whether the next reply that is longer than a piece is not sent whole, for that reason.
    #[inline(always)]
    pub fn is_narrow(&mut self) -> bool {
        let left = self.repeats & !REPEATED;
        if left > 1 {
            // The next one after the last is a trial: if that is lost, too, nothing has changed.
            self.repeats = if left == 2 { REPEATED | 1 } else { left - 1 };
            return true;
        }
        self.repeats = if self.repeats & REPEATED == 0 { 0 } else { left };
        false
    }

    /// How long ago the server's last packet was, in units.
    #[inline(always)]
    #[must_use]
    pub const fn age(&self, now_ns: u64) -> u32 {
        units(now_ns).wrapping_sub(self.heard)
    }

    /// How long ago the server was asked, in units.
    #[inline(always)]
    #[must_use]
    pub const fn asked_age(&self, now_ns: u64) -> u32 {
        units(now_ns).wrapping_sub(self.asked)
    }
}

/// A time in units.
#[inline(always)]
#[must_use]
pub const fn units(now_ns: u64) -> u32 {
    (now_ns >> UNIT_SHIFT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loss_is_none() {
        let mut outlet = Outlet::default();
        for _ in 0..3 {
            assert!(!outlet.is_narrow());
            outlet.repeated();
            outlet.repeated();
            // The next one arrives.
            assert!(!outlet.is_narrow());
            assert!(!outlet.is_narrow());
        }
    }

    #[test]
    fn after_two_in_a_row_whole_replies_are_only_trials() {
        let mut outlet = Outlet::default();
        assert!(!outlet.is_narrow());
        outlet.repeated();
        assert!(!outlet.is_narrow());
        for _ in 0..3 {
            outlet.repeated();
            for _ in 1..NARROW {
                assert!(outlet.is_narrow());
            }
            assert!(!outlet.is_narrow(), "a trial");
        }
        assert!(!outlet.is_narrow(), "it has arrived");
        outlet.repeated();
        assert!(!outlet.is_narrow());
    }
}
