//! An application that is alive while its loop goes round: `worker FILE`.

use std::time::Duration;

use heartbeat_lease::{Lease, OpenError};

fn main() -> Result<(), OpenError> {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: worker FILE");
        std::process::exit(2);
    };
    let lease = Lease::open(path)?;
    loop {
        // The work.
        std::thread::sleep(lease.longest() / 8);
        // No longer than the next round will take, with room for a busy host.
        lease.touch_for(lease.longest().min(Duration::from_secs(1)));
    }
}
