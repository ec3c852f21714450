//! Array maps as memory: the agent reads and writes values without a system call. On the user path the same values lie in
//! memory of the process ([`Mapping::in_process`]).
//!
//! Programs change the same memory at the same time, so every access here is an atomic of the width that is asked for;
//! nothing is ever borrowed as a plain reference. Bytes are copied one by one as relaxed atomics: a reader of a value
//! that changes meanwhile needs a protocol of its own above this (a version word, or a word published last).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use aya::maps::{Map, MapData};

/// `BPF_F_MMAPABLE`: the flag an array map needs at its creation.
const MMAPABLE: u32 = 1 << 10;

/// Why a map could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The map is not an array with the flag `BPF_F_MMAPABLE`; the object file needs it.
    #[error("map {name} is not an array map with BPF_F_MMAPABLE (1024): declare it so in the object file")]
    NotMappable {
        /// The map's name.
        name: String,
    },
    /// The kernel refused.
    #[error("cannot map {name} ({bytes} bytes): {source}")]
    Refused {
        /// The map's name.
        name: String,
        /// How many bytes were to be mapped.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not tell what the map is.
    #[error("cannot read the properties of a map: {0}")]
    Unknown(#[from] aya::maps::MapError),
}

/// An array map's memory, shared with the programs. Unmapped when dropped; the map itself lives on.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    element_bytes: usize,
    elements: u32,
}

// SAFETY: the memory is shared with the kernel anyway, and all access goes through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all elements of `map`, readable and writable.
    ///
    /// # Errors
    /// If the map is not a mappable array, or the kernel refuses.
    pub fn of(map: &Map) -> Result<Self, MappingError> {
        match map {
            Map::Array(data) => Self::of_data(data),
            _ => Err(MappingError::NotMappable { name: format!("{map:?}").chars().take(24).collect() }),
        }
    }

    /// As [`Mapping::of`], from the map's data.
    ///
    /// # Errors
    /// See [`Mapping::of`].
    pub fn of_data(data: &MapData) -> Result<Self, MappingError> {
        let info = data.info()?;
        let name = info.name_as_str().unwrap_or_default().to_owned();
        let array = matches!(info.map_type(), Ok(aya::maps::MapType::Array));
        if !array || info.map_flags() & MMAPABLE == 0 {
            return Err(MappingError::NotMappable { name });
        }
        // The kernel rounds each element up to 8 bytes (array_map_alloc).
        let element_bytes = (info.value_size() as usize).next_multiple_of(8);
        let elements = info.max_entries();
        let bytes = element_bytes * elements as usize;
        // SAFETY: a fresh mapping at an address of the kernel's choice; the descriptor is open.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Self { base, bytes, element_bytes, elements })
            }
            _ => Err(MappingError::Refused { name, bytes, source: io::Error::last_os_error() }),
        }
    }

    /// Memory of this process alone in the form of a map, all zero.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub fn in_process(elements: u32, value_bytes: usize) -> io::Result<Self> {
        let element_bytes = value_bytes.next_multiple_of(8);
        let bytes = (element_bytes * elements as usize).max(1);
        // SAFETY: fresh anonymous memory at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Self { base, bytes, element_bytes, elements })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Where the bytes from `offset` on lie, for readers that bring a protocol of their own against concurrent writers.
    ///
    /// # Panics
    /// If `offset` lies outside.
    #[must_use]
    pub fn pointer(&self, offset: usize) -> *const u8 {
        self.at::<u8>(offset).as_ptr()
    }

    /// Bytes in all.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes from one element to the next: the value's size rounded up to 8.
    #[must_use]
    pub const fn element_bytes(&self) -> usize {
        self.element_bytes
    }

    /// Number of elements.
    #[must_use]
    pub const fn elements(&self) -> u32 {
        self.elements
    }

    /// The word of 64 bits at `offset` bytes from the map's start.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 8 or lies outside.
    #[must_use]
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `at` checked bounds and alignment; atomics may alias, and the memory lives as long as `self`.
        unsafe { self.at::<AtomicU64>(offset).as_ref() }
    }

    /// The word of 32 bits at `offset` bytes from the map's start.
    ///
    /// # Panics
    /// If `offset` is not a multiple of 4 or lies outside.
    #[must_use]
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as in `u64`.
        unsafe { self.at::<AtomicU32>(offset).as_ref() }
    }

    /// The byte at `offset` from the map's start.
    ///
    /// # Panics
    /// If `offset` lies outside.
    #[must_use]
    pub fn u8(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: as in `u64`.
        unsafe { self.at::<AtomicU8>(offset).as_ref() }
    }

    /// Copies `bytes` to `offset`. Whole words where both allow it, else bytes; see the module about concurrent readers.
    ///
    /// # Panics
    /// If the bytes do not lie within the map.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.bytes && bytes.len() <= self.bytes - offset, "write outside of the map");
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            if at.is_multiple_of(8)
                && let Some((word, tail)) = rest.split_first_chunk::<8>()
            {
                self.u64(at).store(u64::from_ne_bytes(*word), Ordering::Relaxed);
                (at, rest) = (at + 8, tail);
            } else {
                self.u8(at).store(rest[0], Ordering::Relaxed);
                (at, rest) = (at + 1, &rest[1..]);
            }
        }
    }

    /// Copies the bytes at `offset` into `bytes`.
    ///
    /// # Panics
    /// If the bytes do not lie within the map.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset <= self.bytes && bytes.len() <= self.bytes - offset, "read outside of the map");
        let mut at = 0;
        while at < bytes.len() {
            if (offset + at).is_multiple_of(8) && bytes.len() - at >= 8 {
                let word = self.u64(offset + at).load(Ordering::Relaxed);
                bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
                at += 8;
            } else {
                bytes[at] = self.u8(offset + at).load(Ordering::Relaxed);
                at += 1;
            }
        }
    }

    fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset.is_multiple_of(align_of::<T>()), "offset {offset} is not aligned");
        assert!(offset < self.bytes && size_of::<T>() <= self.bytes - offset, "offset {offset} is outside");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.base.add(offset).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and nobody holds a reference that outlives `self`.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(elements: u32) -> Mapping {
        Mapping::in_process(elements, 16).unwrap()
    }

    #[test]
    fn bytes_come_back_at_any_alignment() {
        let mapping = memory(4);
        for offset in 0..17 {
            for len in 0..40 {
                let data: Vec<u8> = (0..len).map(|i| i as u8 ^ offset as u8).collect();
                mapping.write(offset, &data);
                let mut back = vec![0; len];
                mapping.read(offset, &mut back);
                assert_eq!(data, back);
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn writing_beyond_the_end_is_refused() {
        memory(1).write(9, &[0; 8]);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn a_word_beyond_the_end_is_refused() {
        let _ = memory(1).u64(16);
    }

    #[test]
    #[should_panic(expected = "aligned")]
    fn an_unaligned_word_is_refused() {
        let _ = memory(1).u64(4);
    }
}
