//! What the proxy has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters; may be read at any time.
        #[derive(Debug, Default)]
        pub(super) struct Counts {
            $(pub(super) $name: AtomicU64,)*
        }

        /// A reading of the counters.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Reading {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            pub(super) fn read(&self) -> Reading {
                Reading { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Connections that were accepted.
    connections,
    /// Connections that are open now.
    open,
    /// Requests whose heads were read, and those that were refused before their end.
    requests,
    /// Requests that went to the server.
    passed,
    /// Requests that did not.
    refused,
    /// Refused requests that were answered.
    replies,
    /// Connections that were reset by a rule, or since their client is blocked.
    closed,
    /// Connections that were left without an answer.
    silenced,
    /// Requests that were refused within their bodies, when the server had got their heads.
    bodies_refused,
    /// Connections of clients that may open no other one now.
    not_admitted,
    /// Connections of clients that have too many.
    over_connections,
    /// Connections of trusted peers without a header of the PROXY protocol.
    without_header,
    /// Connections that ended since a head or a body was not sent in time.
    slow,
    /// Requests that found no server.
    unreachable,
    /// Requests that waited, by a rule, until they passed.
    delayed,
    /// Connections whose rest passed unread, since the operator lets everything pass and it could not be read.
    unread,
    /// Connections that changed to another protocol.
    switched,
    /// Bytes sent to the server; of connections that changed their protocol, or passed unread, up to then.
    bytes_to_server,
    /// Bytes of the server sent to clients, likewise.
    bytes_to_client,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}
