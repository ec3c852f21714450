//! TLS on both sides of the user path, and Redis as managed services offer it: a real Redis, the real binary, loopback
//! only, no privilege.

mod authority;
mod client;
mod from_clients;
mod managed;
mod moves;
mod processes;
mod to_redis;
