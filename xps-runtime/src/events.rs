//! The records that programs send through the ring `EVENTS`.

use std::io;
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use xps_core::abi::Event;

/// How long a record may lie unread after busy times and after idle ones. Programs do not wake the agent for each record:
/// that would cost the packet's path more than the record itself.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// The reading end of the ring. There must be one only.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    pause: Duration,
}

impl Events {
    /// Reads from the map `EVENTS`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the map is not a ring buffer or cannot be mapped.
    pub fn of(map: Map) -> Result<Self, EventsError> {
        let ring = RingBuf::try_from(map)?;
        // SAFETY: the ring owns the map's descriptor and gives the same one each time.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self { ring: ring.map_err(io::Error::from)?, pause: PAUSE.0 })
    }

    /// Waits until there are records and gives up to `max` of them to `each`: the kind, and the whole record with its
    /// head, so it can be read as the service's type. How many there were. May be cancelled without losing records.
    ///
    /// # Errors
    /// If the ring can no longer be polled.
    pub async fn read(&mut self, max: usize, mut each: impl FnMut(u32, &[u8])) -> io::Result<usize> {
        loop {
            let read = self.take(max, &mut each);
            if read != 0 {
                self.pause = PAUSE.0;
                return Ok(read);
            }
            // The kernel's notice, where a program asked for one, or the pause.
            match tokio::time::timeout(self.pause, self.ring.readable()).await {
                Ok(ready) => ready?.clear_ready(),
                Err(_) => self.pause = (self.pause * 2).min(PAUSE.1),
            }
        }
    }

    /// Gives up to `max` records that are there now to `each`; how many there were.
    pub fn take(&mut self, max: usize, each: &mut impl FnMut(u32, &[u8])) -> usize {
        let ring = self.ring.get_mut();
        let mut read = 0;
        while read < max
            && let Some(record) = ring.next()
        {
            read += 1;
            if let Some(kind) = kind_of(&record) {
                each(kind, &record);
            }
        }
        read
    }
}

/// The kind in a record's head; `None` if it is shorter than a head.
fn kind_of(record: &[u8]) -> Option<u32> {
    let head = record.get(..size_of::<Event>())?;
    Some(u32::from_ne_bytes(*head.first_chunk()?))
}

/// Why the ring cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The map is no ring buffer.
    #[error("the map EVENTS cannot be read: {0}")]
    Map(#[from] MapError),
    /// It cannot be polled.
    #[error("the map EVENTS cannot be polled: {0}")]
    Poll(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_its_kind() {
        assert_eq!(kind_of(&[17, 0, 0, 0, 8, 0, 0, 0, 1]), Some(17));
        assert_eq!(kind_of(&[17, 0, 0, 0]), None);
    }
}
