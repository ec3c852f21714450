//! BFD sessions with routers, switches and other daemons (RFC 5880, 5881, 5883): configuration, sockets, and the thread that
//! they run on.
//!
//! # Layout
//!
//! - [`settings`]: the lists `[[bfd]]` of the configuration.
//! - [`key_file`]: their secrets.
//! - [`handle`]: what the rest of the agent sees: [`start`], sessions, changes.
//! - [`view`]: a session, as it is told.
//! - [`reflect`]: whose echo packets the stack sends back.
//! - `turn`: the thread. What has arrived is taken before the time is judged.
//! - `peer`: one session with its sockets; `peers`: all of them, and whose a packet is.
//! - `receiver`, `sender`, `echo`: sockets.

mod echo;
pub mod handle;
pub mod key_file;
mod peer;
mod peers;
mod receiver;
pub mod reflect;
mod sender;
pub mod settings;
mod turn;
pub mod view;

pub use handle::{Handle, StartError, start};
pub use settings::{SessionSettings, Settings};
pub use view::{SessionChange, SessionView};
