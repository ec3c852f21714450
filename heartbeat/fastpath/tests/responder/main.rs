//! The responder over tables in memory.

mod cluster;
mod datagrams;
mod time;
