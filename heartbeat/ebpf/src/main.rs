//! heartbeat's kernel programs: the responder over maps, for packets at XDP and at tcx.
#![no_std]
#![no_main]

mod arrived;
mod tables;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use heartbeat_fastpath::datagram::{Action, run};
use xps_ebpf::packet::redirect;
use xps_ebpf::xps_core::path::Target;

use arrived::{AtTcx, AtXdp};
use tables::Maps;

/// What a tcx program returns so that the next one sees the packet (include/uapi/linux/bpf.h).
const TCX_NEXT: i32 = -1;
/// What it returns so that nobody does.
const TCX_DROP: i32 = 2;

/// Answers before the stack has seen the packet. Those of several buffers ("frags") have their headers in the first one.
#[xdp(frags)]
fn heartbeat_xdp(ctx: XdpContext) -> u32 {
    match run(&AtXdp::new(&ctx), &Maps) {
        Action::Next => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Back => xdp_action::XDP_TX,
    }
}

/// Answers where a device cannot be asked earlier, or where others are to see the packet before.
#[classifier]
fn heartbeat_tcx(ctx: TcContext) -> i32 {
    let packet = AtTcx::new(&ctx);
    match run(&packet, &Maps) {
        Action::Next => TCX_NEXT,
        Action::Drop => TCX_DROP,
        Action::Back => {
            let device = packet.device();
            redirect(device, Target::Client, tables::way(device))
        }
    }
}

/// No program can panic: what could is not verified.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
