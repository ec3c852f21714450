//! The program that the agent runs to enter what its proxy does into the tables of the stack ([`http_fastpath::ledger`]).

use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use http_fastpath::ledger::{self, Entry};

use crate::KernelTables;

const BYTES: u32 = size_of::<Entry>() as u32;

/// A classifier, since those may take locks; its packet is an [`Entry`]. 0: it was carried out.
#[classifier]
fn http_ledger(ctx: TcContext) -> i32 {
    let mut entry = Entry::EMPTY;
    let skb = ctx.skb.skb;
    // SAFETY: as many bytes as the entry has, which may be any.
    if unsafe { helper::bpf_skb_load_bytes(skb.cast(), 0, (&raw mut entry).cast(), BYTES) } != 0 {
        return 1;
    }
    ledger::run(&KernelTables, &mut entry);
    // SAFETY: as many bytes as the entry has.
    i32::from(unsafe { helper::bpf_skb_store_bytes(skb, 0, (&raw const entry).cast(), BYTES, 0) } != 0)
}
