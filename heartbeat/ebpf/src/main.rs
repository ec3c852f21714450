//! heartbeat's kernel programs: the responder over maps, for packets at XDP and at tcx.
#![no_std]
#![no_main]

mod arrived;
mod tables;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use heartbeat_fastpath::datagram::{Action, Packet, run};
use xps_core::path::{self, Target};
use xps_ebpf::packet::redirect;
use xps_ebpf::service::return_code;

use arrived::{AtTcx, AtXdp};
use tables::Maps;

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
    return_code(match run(&packet, &Maps) {
        Action::Next => path::Action::Next,
        Action::Drop => path::Action::Drop,
        Action::Back => {
            let device = packet.device();
            path::Action::Redirected(redirect(device, Target::Client, tables::way(device)))
        }
    })
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
