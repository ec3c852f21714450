//! Contexts as packets of the responder.

use aya_ebpf::bindings::{__sk_buff, BPF_CSUM_LEVEL_QUERY, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::{TcContext, XdpContext};
use heartbeat_fastpath::datagram::{Packet, WORDS};
use heartbeat_fastpath::wire::MESSAGE_BYTES;
use xps_core::packet::Skb;
use xps_core::word::{load_u32, store_u32};
use xps_ebpf::{arrival, packet};

/// Reads a field of the context as the one load of 32 bits that the kernel translates.
macro_rules! field {
    ($skb:expr, $name:ident) => {
        // SAFETY: a field of the program's own context.
        unsafe { core::ptr::read_volatile(&raw const (*$skb).$name) }
    };
}

/// Hands over what both kinds read in the same way.
macro_rules! reads {
    ($name:ident) => {
        impl Skb for $name<'_> {
            #[inline(always)]
            fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
                self.bytes.head(offset)
            }

            #[inline(always)]
            fn half(&self, offset: u32) -> Option<u16> {
                self.bytes.half(offset)
            }

            #[inline(always)]
            fn word(&self, offset: u32) -> Option<u32> {
                self.bytes.word(offset)
            }

            #[inline(always)]
            fn reach(&self, len: u32) {
                self.bytes.reach(len);
            }

            #[inline(always)]
            fn protocol(&self) -> u16 {
                self.bytes.protocol()
            }

            #[inline(always)]
            fn uncut_len(&self) -> u32 {
                self.bytes.uncut_len()
            }

            #[inline(always)]
            fn completed_later(&self, offset: u32) -> bool {
                self.bytes.completed_later(offset)
            }
        }
    };
}

/// A packet at XDP.
pub(crate) struct AtXdp<'a> {
    ctx: &'a XdpContext,
    bytes: arrival::Packet<(), ()>,
}

impl<'a> AtXdp<'a> {
    /// The packet of `ctx`.
    #[inline(always)]
    pub(crate) const fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx, bytes: arrival::Packet::new(ctx) }
    }
}

reads!(AtXdp);

impl Packet for AtXdp<'_> {
    const TAGS: bool = true;

    #[inline(always)]
    fn end(&self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { helper::bpf_xdp_get_buff_len(self.ctx.ctx) as u32 }
    }

    /// Tags that the device has taken off are not seen here, and nothing has been put together.
    #[inline(always)]
    fn left_alone(&self) -> bool {
        false
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        field!(self.ctx.ctx, ingress_ifindex)
    }

    /// What the device has found is not known here.
    #[inline(always)]
    fn verified(&self) -> bool {
        false
    }

    #[inline(always)]
    fn message(&self, offset: u32) -> Option<[u32; WORDS]> {
        let from = self.bytes.place(offset, MESSAGE_BYTES)?;
        let mut words = [0; WORDS];
        let mut i = 0;
        while i < WORDS {
            // SAFETY: all of the message is there.
            words[i] = unsafe { load_u32(from.add(4 * i)) };
            i += 1;
        }
        Some(words)
    }

    #[inline(always)]
    fn put<const N: usize>(&self, offset: u32, words: &[u32; N]) -> bool {
        let Some(to) = self.bytes.place(offset, 4 * N) else { return false };
        let mut i = 0;
        while i < N {
            // SAFETY: as many words are there.
            unsafe { store_u32(to.add(4 * i), words[i]) };
            i += 1;
        }
        true
    }
}

/// A packet at tcx.
pub(crate) struct AtTcx<'a> {
    skb: *mut __sk_buff,
    bytes: packet::Packet<'a, ()>,
}

impl<'a> AtTcx<'a> {
    /// The packet of `ctx`.
    #[inline(always)]
    pub(crate) const fn new(ctx: &'a TcContext) -> Self {
        Self { skb: ctx.skb.skb, bytes: packet::Packet::new(ctx) }
    }
}

reads!(AtTcx);

impl Packet for AtTcx<'_> {
    const TAGS: bool = false;

    #[inline(always)]
    fn end(&self) -> u32 {
        field!(self.skb, len)
    }

    #[inline(always)]
    fn left_alone(&self) -> bool {
        field!(self.skb, vlan_present) != 0 || field!(self.skb, gso_size) != 0
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        field!(self.skb, ifindex)
    }

    #[inline(always)]
    fn verified(&self) -> bool {
        // SAFETY: asks for the level only.
        unsafe { helper::bpf_csum_level(self.skb, u64::from(BPF_CSUM_LEVEL_QUERY)) >= 0 }
    }

    #[inline(always)]
    fn message(&self, offset: u32) -> Option<[u32; WORDS]> {
        let mut words = [0; WORDS];
        // SAFETY: as many bytes as the words have, which may be any. They need not lie in the linear part.
        let failed = unsafe {
            helper::bpf_skb_load_bytes(self.skb.cast(), offset, (&raw mut words).cast(), MESSAGE_BYTES as u32)
        };
        if failed == 0 { Some(words) } else { None }
    }

    /// A sum of the whole packet that the device gave (`CHECKSUM_COMPLETE`) follows what is written. It begins behind the
    /// Ethernet header, whose addresses change places all at once and leave a sum of words as it is.
    #[inline(always)]
    fn put<const N: usize>(&self, offset: u32, words: &[u32; N]) -> bool {
        // SAFETY: as many bytes as the words have, which the helper only reads.
        unsafe {
            helper::bpf_skb_store_bytes(
                self.skb,
                offset,
                words.as_ptr().cast_mut().cast(),
                4 * N as u32,
                u64::from(BPF_F_RECOMPUTE_CSUM),
            ) == 0
        }
    }
}
