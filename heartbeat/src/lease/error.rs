//! What may go wrong with leases.

use std::io;
use std::path::PathBuf;

use heartbeat_fastpath::wire::NodeId;

pub use super::file::FileError;
use super::settings::By;

/// Why leases are not as they were asked for. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A node stands twice in the list.
    #[error("node {} is there twice; give each node of this host a number of its own", .0.number())]
    Twice(NodeId),
    /// Two nodes with one file: the application of one would keep the other alive.
    #[error("nodes {} and {} share the lease_file {}; give each its own", .nodes[0].number(), .nodes[1].number(), path.display())]
    SameFile {
        /// Which nodes.
        nodes: [NodeId; 2],
        /// The file.
        path: PathBuf,
    },
    /// A node's file cannot be had.
    #[error("node {}: {source}", .node.number())]
    File {
        /// Which node.
        node: NodeId,
        /// Why.
        source: FileError,
    },
    /// The socket for calls cannot be had.
    #[error("cannot listen for calls at {}; stop what listens there or set lease.socket: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that renews leases: {0}")]
    Thread(io::Error),
}

/// Why a call renewed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// No such node here.
    #[error("node {} is not on this host", .0.number())]
    Unknown(NodeId),
    /// Something else keeps it alive.
    #[error("the lease of node {} is not renewed by calls: lease_by is \"{by}\" there", .node.number())]
    NotByCall {
        /// Which node.
        node: NodeId,
        /// How its lease is renewed.
        by: By,
    },
    /// The agent is about to end.
    #[error("heartbeat is stopping")]
    Stopping,
}
