//! Numbers that look random and come again with the same seed.

pub(crate) use xps_testkit::random::Random;
