//! Load that redis-benchmark cannot make: a given hit share, mixed pipelines, checked replies.

use super::request::{Expected, Mix, Random};
use crate::bench::generator::closed_loop::{self, Tally};
use crate::bench::generator::{Dialogue, Heard, Shape};
use crate::lab::Place;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What to send, and how.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) mix: Mix,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) pipeline: usize,
}

impl Load {
    /// Sends for `duration`. A wrong reply or a lost connection is an error.
    pub(super) fn run(self, place: &Place, server: SocketAddr, duration: Duration) -> Result<Tally> {
        let Self { mix, connections, threads, pipeline } = self;
        closed_loop::run(&Shape { place, connections, threads, duration }, |index| {
            let stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
            let random = Random::new(index as u64 + 1);
            Ok((stream, Pipeline { mix, length: pipeline, random, due: VecDeque::new() }))
        })
    }
}

/// Pipelines of a mix, one after the other.
struct Pipeline {
    mix: Mix,
    length: usize,
    random: Random,
    due: VecDeque<Expected>,
}

impl Dialogue for Pipeline {
    fn ask(&mut self, output: &mut Vec<u8>) {
        for _ in 0..self.length {
            self.due.push_back(self.mix.next(&mut self.random, output));
        }
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let mut used = 0;
        while let Some(expected) = self.due.front() {
            match expected.check(&input[used..]).map_err(anyhow::Error::msg)? {
                Some(length) => used += length,
                None => break,
            }
            self.due.pop_front();
        }
        Ok(Heard { used, answered: self.due.is_empty().then_some(self.length as u64) })
    }
}
