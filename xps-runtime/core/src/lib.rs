//! What the stack and the host share: one source for packets, predicates, verdicts, the splice and the maps' layout.
//!
//! Compiled for `bpfel-unknown-none` and for the host, without `std` and without allocation.
//!
//! # Layout
//!
//! A packet's way, in the order of the modules:
//!
//! - [`packet`]: Ethernet, IPv4/IPv6 and TCP headers as values, read from anything that is a [`packet::Skb`].
//! - [`predicate`]: which packets a service may look at.
//! - [`handshake`]: what is remembered between a SYN and the connection's first ACK.
//! - [`flow`]: one connection: key, splice, the handler's state, the reply that is kept.
//! - [`outlet`]: how the server's packets of a connection leave.
//! - [`splice`]: sequence numbers of a connection in which the stack answers for the server.
//! - [`binding`]: what was read, held against what is repeated.
//! - [`handler`]: the trait of a service's code, and the windows of bytes that it reads.
//! - [`verdict`]: what becomes of a segment, each reason named.
//! - [`path`]: the two programs, tcx ingress and egress, written once over [`path::Stack`].
//! - [`abi`]: the maps between programs and agent.
//! - `host` (feature `host`): the same programs over vectors and std maps, for tests.
//! - [`seq`], [`checksum`], [`siphash`]: arithmetic; [`bound`], [`word`]: what verifier and back end need.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(any(test, feature = "host"))]
extern crate std;

pub mod abi;
pub mod binding;
pub mod bound;
pub mod checksum;
pub mod flow;
pub mod handler;
pub mod handshake;
#[cfg(any(test, feature = "host"))]
pub mod host;
pub mod outlet;
pub mod packet;
pub mod path;
pub mod predicate;
pub mod seq;
pub mod siphash;
pub mod splice;
pub mod verdict;
pub mod word;
