//! The table of packets.
