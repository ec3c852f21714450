//! Programs that are attached nowhere: the agent runs them (`BPF_PROG_TEST_RUN`) for changes to maps that only programs can make,
//! since they take a value's lock, or add to it, while other programs do.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A program that can be run. Any thread may use it.
pub struct Call {
    program: OwnedFd,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl Call {
    /// Of a program that is loaded.
    #[must_use]
    pub const fn new(program: OwnedFd) -> Self {
        Self { program }
    }

    /// Runs the program once. `words` are the bytes of its packet, of which the first 14 are a header of Ethernet, and it leaves
    /// there what became of them.
    ///
    /// # Errors
    /// The kernel's, or that the program did not return 0.
    pub fn run(&self, words: &mut [u64]) -> io::Result<()> {
        const BPF_PROG_TEST_RUN: libc::c_int = 10;
        let bytes = size_of_val(words) as u32;
        let packet = words.as_mut_ptr() as u64;
        let mut attributes = TestRun {
            program: self.program.as_raw_fd() as u32,
            bytes_in: bytes,
            bytes_out: bytes,
            packet_in: packet,
            packet_out: packet,
            repeat: 1,
            ..TestRun::default()
        };
        // SAFETY: the part of bpf_attr that belongs to the command, with its true size, which the kernel writes its answers to;
        // it reads the packet to its end before it writes there, within its bytes.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestRun>())
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        if attributes.returned != 0 {
            return Err(io::Error::other(format!("the program returned {}", attributes.returned)));
        }
        Ok(())
    }
}

/// The part of union bpf_attr that belongs to `BPF_PROG_TEST_RUN`. The kernel takes what follows as zero.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    bytes_in: u32,
    bytes_out: u32,
    packet_in: u64,
    packet_out: u64,
    repeat: u32,
    duration: u32,
    context_bytes_in: u32,
    context_bytes_out: u32,
    context_in: u64,
    context_out: u64,
}
