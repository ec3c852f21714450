//! Who has no connection, and who has one and says nothing that makes sense: others are served as before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::capture::{ACK, PSH, SYN};
use super::super::forged::Forged;
use super::super::{Place, Service, Talk, on_each_port};

/// Requests that are counted.
const REQUESTS: u64 = 400;

/// Pause between two segments.
const PAUSE: Duration = Duration::from_millis(10);

/// Requests that may miss for other reasons.
const TOLERATED: u64 = REQUESTS * 3 / 100;

/// How often is counted: a machine that is busy for a moment may cost hits as well.
const TRIES: u32 = 3;

/// Requests of [`REQUESTS`] that are answered in the stack while something goes on, in the best of some tries. Each takes a
/// second or more.
pub(crate) fn answered_beside<S: Service>(service: &S, talk: &mut dyn Talk) -> Result<u64> {
    let mut most = 0;
    for _ in 0..TRIES {
        most = most.max(count(service, talk, REQUESTS)?);
        if most + TOLERATED >= REQUESTS {
            break;
        }
    }
    Ok(most)
}

/// Requests of so many that are answered in the stack.
pub(crate) fn count<S: Service>(service: &S, talk: &mut dyn Talk, requests: u64) -> Result<u64> {
    let before = service.answered()?;
    for _ in 0..requests {
        talk.answer()?;
        sleep(Duration::from_millis(3));
    }
    Ok(service.answered()? - before)
}

/// Others are served as much as before.
pub(crate) fn as_before(quiet: u64, beside: u64, what: &str) -> Result<()> {
    println!("{what}: {beside} of {REQUESTS} requests were answered in the stack, {quiet} before");
    ensure!(quiet + TOLERATED >= REQUESTS, "before: only {quiet} of {REQUESTS} were answered in the stack");
    ensure!(beside + TOLERATED >= quiet, "{what}: {beside} of {REQUESTS} were answered in the stack");
    Ok(())
}

/// Segments of nobody, to both ports: bytes, half a request, acknowledgements, a SYN with data.
pub(crate) fn forged_segments<S: Service>(service: &S) -> Result<()> {
    let accelerated = service.ports()[1];
    on_each_port(service, |to| {
        let mut talk = service.connect_to((to.ip(), accelerated).into())?;
        talk.answer()?;
        let quiet = answered_beside(service, &mut *talk)?;
        let over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            let place = service.client();
            let flood = scope.spawn(|| flood(place, to, &over));
            let beside = answered_beside(service, &mut *talk);
            over.store(true, Ordering::Relaxed);
            let sent = flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            ensure!(sent > 20, "only {sent} segments were sent");
            beside
        })?;
        as_before(quiet, beside, &format!("forged segments to {to}"))?;
        as_before(quiet, answered_beside(service, &mut *talk)?, "afterwards")?;
        talk.pass()
    })
}

/// Sends until it is over, and says how much.
fn flood(place: &Place, to: SocketAddr, over: &AtomicBool) -> Result<u32> {
    let payloads: [&[u8]; 4] =
        [b"x", b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n", b"", b"GET / HTTP/1.1\r\nHost: a"];
    let mut sent = 0u32;
    while !over.load(Ordering::Relaxed) {
        let last = 10 + (sent % 200) as u8;
        let source: IpAddr = if to.is_ipv4() {
            Ipv4Addr::new(10, 78, 7, last).into()
        } else {
            Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 7, last.into()).into()
        };
        let source = SocketAddr::new(source, 2_000 + (sent % 50_000) as u16);
        let payload = payloads[sent as usize % payloads.len()];
        let flags = if sent % 16 == 15 { SYN } else { ACK | PSH };
        let seq = sent.wrapping_mul(0x9e37_79b9);
        Forged { source, destination: to, seq, ack: !seq, flags, payload }.send(place)?;
        sent += 1;
        sleep(PAUSE);
    }
    Ok(sent)
}
