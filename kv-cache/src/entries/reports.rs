//! What the handler reports to the agent: through the programs' ring, or a queue within the process.

use std::io;

use kv_fastpath::abi::{self, KEY_BYTES_MAX, event};
use tokio::sync::mpsc;
use xps_runtime::events::Events;

/// Reports that wait at most on the user path; more are lost, which costs nothing but time.
pub const QUEUE: usize = 4096;

/// A key that was asked for and not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Hash of database and key.
    pub id: u64,
    /// The database.
    pub database: u32,
    /// The key.
    pub key: Vec<u8>,
    /// How many misses it stands for.
    pub weight: u32,
}

/// Where reports come from.
pub enum Reports {
    /// The programs' ring of events.
    Ring(Box<Events>),
    /// The handler in this process.
    Queue(mpsc::Receiver<Miss>),
}

impl Reports {
    /// Waits for reports and adds up to `max` of them to `misses`. Whether a new check is asked for, too. May be cancelled
    /// without losing reports.
    ///
    /// # Errors
    /// If none will come any more.
    pub async fn read(&mut self, max: usize, misses: &mut Vec<Miss>) -> io::Result<bool> {
        match self {
            Self::Ring(events) => {
                let mut recheck = false;
                let each = |kind, record: &[u8]| match kind {
                    event::MISS => misses.extend(parse(record)),
                    event::RECHECK => recheck = true,
                    _ => {}
                };
                events.read(max, each).await?;
                Ok(recheck)
            }
            Self::Queue(queue) => match queue.recv_many(misses, max).await {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(false),
            },
        }
    }
}

/// A record of the ring.
fn parse(record: &[u8]) -> Option<Miss> {
    let word = |at: usize| Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    let id = u64::from_ne_bytes(*record.get(std::mem::offset_of!(abi::Miss, id)..)?.first_chunk()?);
    let database = word(std::mem::offset_of!(abi::Miss, database))?;
    let length = word(std::mem::offset_of!(abi::Miss, key_len))? as usize;
    let weight = word(std::mem::offset_of!(abi::Miss, weight))?;
    let key_at = std::mem::offset_of!(abi::Miss, key);
    let key = record.get(key_at..key_at + length).filter(|key| key.len() <= KEY_BYTES_MAX)?;
    Some(Miss { id, database, key: key.to_vec(), weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_within_its_bounds() {
        let mut record = vec![0u8; size_of::<abi::Miss>()];
        let key_at = std::mem::offset_of!(abi::Miss, key);
        record[8..16].copy_from_slice(&7u64.to_ne_bytes());
        record[16..20].copy_from_slice(&3u32.to_ne_bytes());
        record[20..24].copy_from_slice(&2u32.to_ne_bytes());
        record[24..28].copy_from_slice(&4u32.to_ne_bytes());
        record[key_at..key_at + 2].copy_from_slice(b"ab");
        assert_eq!(parse(&record), Some(Miss { id: 7, database: 3, key: b"ab".to_vec(), weight: 4 }));
        assert_eq!(parse(&record[..key_at + 1]), None);
        record[20..24].copy_from_slice(&251u32.to_ne_bytes());
        assert_eq!(parse(&record), None);
    }
}
