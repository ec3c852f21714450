//! What only the kernel has: contexts as packets, verdicts as return codes, access to maps.
//!
//! A service's kernel programs are one use of `service!` with its handler. Empty on other targets.
//!
//! # Layout
//!
//! - `packet`: a `__sk_buff` as `xps_core::path::Stack`.
//! - `arrival`: an `xdp_md` as `xps_core::path::arrival::Arrival`.
//! - `cookie`: answers to SYN cookies.
//! - `listen`: a `bpf_sk_lookup`: who gets a connection to the accelerated port.
//! - `linear`: the bytes of a packet that lie where the program can read them.
//! - `maps`: what a service's maps offer.
//! - `service`: the macro that makes maps and programs concrete.
//! - `atomic`: additions that several CPUs see whole.
#![no_std]
#![cfg(target_arch = "bpf")]
#![feature(asm_experimental_arch)]

pub mod arrival;
pub mod atomic;
pub mod cookie;
mod linear;
pub mod listen;
pub mod maps;
pub mod packet;
pub mod service;

pub use aya_ebpf;
pub use xps_core;
