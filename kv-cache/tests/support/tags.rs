//! A cable that puts VLAN tags on what goes one way.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::namespace::Place;

/// What is put on frames with TCP in them: tags, the outer one first.
pub(crate) type Tags = &'static [u16];

/// Largest frame, with its tags.
const FRAME_MAX: usize = 2048;

/// Where the EtherType is.
const TYPE: usize = 12;

/// Carries frames between two devices of a place as long as it lives.
#[derive(Debug)]
pub(crate) struct Tagger {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Tagger {
    /// Between `from` and `to`; what comes from `from` is tagged.
    pub(crate) fn start(place: &Place, from: &str, to: &str, tags: Tags) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (device, other, tags) in [(from, to, tags), (to, from, &[][..])] {
            let (input, output) = place.run(|| Ok((open(device)?, open(other)?)))?;
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    carry(&input, &output, tags);
                }
            }));
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for Tagger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has failed its test.
            let _ = thread.join();
        }
    }
}

/// Carries one frame, if one comes within a moment.
fn carry(input: &OwnedFd, output: &OwnedFd, tags: Tags) {
    let mut frame = [0u8; FRAME_MAX];
    // SAFETY: the buffer is valid for its length.
    let read = unsafe { libc::recv(input.as_raw_fd(), frame.as_mut_ptr().cast(), FRAME_MAX, 0) };
    let Ok(read) = usize::try_from(read) else { return };
    let mut frame = frame[..read].to_vec();
    let is_tcp = match frame.get(TYPE..TYPE + 2) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&6),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&6),
        _ => false,
    };
    if is_tcp {
        let bytes = tags.iter().flat_map(|tag| {
            let [high, low] = tag.to_be_bytes();
            [0x81, 0x00, high, low]
        });
        frame.splice(TYPE..TYPE, bytes);
    }
    // A frame that cannot be sent is lost, as on any cable.
    // SAFETY: the buffer is valid for its length.
    unsafe { libc::send(output.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
}

/// A packet socket of a device that gives what comes in there.
fn open(device: &str) -> Result<OwnedFd> {
    const ALL: u16 = libc::ETH_P_ALL as u16;
    let check = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let name = std::ffi::CString::new(device)?;
    // SAFETY: plain system calls; the descriptor is owned from here on, and each value is valid for its size.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("a packet socket");
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL.to_be();
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()).cast_signed();
        let on: libc::c_int = 1;
        let limit = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        let set = |level, option, value: *const libc::c_void, size: usize| {
            check(libc::setsockopt(fd, level, option, value, size as libc::socklen_t))
        };
        set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, (&raw const on).cast(), size_of_val(&on))?;
        set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const limit).cast(), size_of_val(&limit))?;
        let size = size_of_val(&address) as libc::socklen_t;
        check(libc::bind(fd, (&raw const address).cast(), size))?;
        Ok(socket)
    }
}
