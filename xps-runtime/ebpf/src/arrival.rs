//! An `xdp_md` as [`Arrival`].

use core::marker::PhantomData;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::XdpContext;
use xps_core::abi::Control;
use xps_core::handler::Handler;
use xps_core::packet::Skb;
use xps_core::path::Action;
use xps_core::path::arrival::{self, Arrival, Blocks};
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;
use xps_core::word::{load_u16, load_u32};

use crate::linear;
use crate::maps::Maps;

/// The program: drops what opens a connection of a client that the service with the handler `H` and the maps `M` has
/// blocked.
#[inline(always)]
pub fn run<H: Handler, M: Maps<H>>(ctx: &XdpContext, blocks: &impl Blocks) -> u32 {
    match arrival::run(&Packet::<H, M>::new(ctx), blocks) {
        Action::Drop => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// The packet that a program was called with.
pub struct Packet<H, M> {
    ctx: *mut xdp_md,
    maps: PhantomData<(H, M)>,
}

impl<H, M> Packet<H, M> {
    /// The packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx, maps: PhantomData }
    }

    /// The place of `len` bytes at `offset`, which must be less than 512, in the linear part. `len` is to be a constant.
    #[inline(always)]
    pub fn place(&self, offset: u32, len: usize) -> Option<*mut u8> {
        // SAFETY: the program's own context.
        unsafe { linear::place(self.ctx, offset, len) }.map(<*const u8>::cast_mut)
    }

    /// The place of `N` bytes at `offset`. Headers lie in the linear part, also of a packet of several buffers.
    #[inline(always)]
    fn within<const N: usize>(&self, offset: u32) -> Option<*const u8> {
        // SAFETY: the program's own context.
        unsafe { linear::within::<N, _>(self.ctx, offset) }
    }
}

impl<H, M> Skb for Packet<H, M> {
    #[inline(always)]
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: any bytes are an array of bytes.
        self.within::<N>(offset).map(|at| unsafe { at.cast::<[u8; N]>().read() })
    }

    #[inline(always)]
    fn half(&self, offset: u32) -> Option<u16> {
        // SAFETY: two bytes are there.
        self.within::<2>(offset).map(|at| u16::from_be(unsafe { load_u16(at) }))
    }

    #[inline(always)]
    fn word(&self, offset: u32) -> Option<u32> {
        // SAFETY: four bytes are there.
        self.within::<4>(offset).map(|at| u32::from_be(unsafe { load_u32(at) }))
    }

    /// What is not there cannot be reached for.
    #[inline(always)]
    fn reach(&self, _: u32) {}

    #[inline(always)]
    fn protocol(&self) -> u16 {
        self.half(12).unwrap_or(0)
    }

    /// What comes from a device has been cut already.
    #[inline(always)]
    fn uncut_len(&self) -> u32 {
        0
    }

    /// What comes from a device has its checksum.
    #[inline(always)]
    fn completed_later(&self, _: u32) -> bool {
        false
    }
}

impl<H: Handler, M: Maps<H>> Arrival for Packet<H, M> {
    #[inline(always)]
    fn port(&self, port: u16) -> u8 {
        let Some(ports) = M::ports() else { return 0 };
        // SAFETY: the table has a byte for each value of `port`.
        unsafe { *ports.cast::<u8>().add(port as usize) }
    }

    #[inline(always)]
    fn predicate(&self, index: u8) -> Option<*const Predicate> {
        M::predicate(u32::from(index))
    }

    #[inline(always)]
    fn control(&self) -> Option<*const Control> {
        M::control()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { helper::bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn local(&self, address: &[u8; 16]) -> Option<bool> {
        // SAFETY: a map's value, which stays while the program runs.
        M::local(address).map(|local| unsafe { (*local).accelerated } != 0)
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(counter) = M::counter(reason as u32) {
            // SAFETY: this CPU's counter; programs of this kind do not interrupt each other there.
            unsafe { *counter += 1 };
        }
    }
}
