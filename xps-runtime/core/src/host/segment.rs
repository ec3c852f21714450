//! Packets written down for tests.
