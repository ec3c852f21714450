//! Leases with real applications: processes that touch, call or are asked, that hang and go on again.
//!
//! No time is measured: what is to become so is waited for, and what must not be is asked for after something that comes
//! later.

mod calls;
mod checks;
mod redis;
mod reload;
mod shared;
mod support;
