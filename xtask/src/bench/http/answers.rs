//! How a server has answered.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a client that sends much has counted.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) duration_us: f64,
    /// Responses with a status of 400 or more.
    pub(super) refused: u64,
    /// Connections that were refused or broken off.
    pub(super) lost: u64,
    /// Responses by status, if they were counted.
    pub(super) statuses: BTreeMap<u16, u64>,
}

impl Answers {
    /// Counts a response of so many bytes.
    pub(super) fn count(&mut self, status: u16, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes as u64;
        self.refused += u64::from(status >= 400);
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Adds what was counted in the same time.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.lost += other.lost;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }

    /// Responses a second.
    pub(super) fn rps(&self) -> f64 {
        self.requests as f64 / (self.duration_us / 1e6)
    }

    /// Those of other statuses than 200 and this one, for people; `None` if there are none, or none was counted.
    pub(super) fn others_than(&self, wanted: u16) -> Option<String> {
        let others: Vec<String> = self
            .statuses
            .iter()
            .filter(|(status, _)| ![200, wanted].contains(status))
            .map(|(status, count)| format!("{count} with {status}"))
            .collect();
        (!others.is_empty()).then(|| others.join(", "))
    }
}
