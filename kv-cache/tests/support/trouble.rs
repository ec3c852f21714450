//! Links that lose packets.

use anyhow::Result;

pub(crate) use super::laboratory::nft as rules;
use super::{ACCELERATED, Lab, PLAIN, Place, Side};

/// Loss is noticed after milliseconds instead of 200, so that a test sees much of it.
pub(crate) fn hurry(lab: &Lab) -> Result<()> {
    for side in [Side::Server, Side::Client] {
        let change = ["route", "change", "10.78.0.0/30", "dev", "veth0", "rto_min", "10ms"];
        lab.place(side).run_program("ip", &change)?;
    }
    Ok(())
}

/// One of `one_in` packets of the connections is lost in a hook of this place.
pub(crate) fn lose(place: &Place, hook: &str, one_in: u32) -> Result<()> {
    let [from, to] = ["sport", "dport"].map(|port| {
        format!("oifname != \"lo\" iifname != \"lo\" tcp {port} {{ {PLAIN}, {ACCELERATED} }} numgen random mod {one_in} == 0 drop")
    });
    rules(
        place,
        &format!(
            "table inet lossy {{\nchain lossy {{\ntype filter hook {hook} priority 0;\n{from}\n{to}\n}}\n}}"
        ),
    )
}
