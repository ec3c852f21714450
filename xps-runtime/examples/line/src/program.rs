//! The kernel programs of the line service.
#![no_std]
#![no_main]

use xps_line::Line;

xps_ebpf::service! {
    handler: Line = Line,
    flows: 1024,
}
