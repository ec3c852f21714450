//! How the proxy works.

use std::time::Duration;

use xps_runtime::endpoint::Endpoint;

use crate::rules::prefix::Prefix;

/// How peers that are trusted tell whose requests they pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FromClients {
    /// They do not: each peer is a client.
    #[default]
    None,
    /// By the PROXY protocol, version 1 or 2. Connections of theirs must begin with it.
    ProxyProtocol,
    /// By the field `X-Forwarded-For`.
    XForwardedFor,
}

/// How the server is told whose requests it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToServer {
    /// It is not; requests reach it byte for byte.
    #[default]
    None,
    /// By the field `X-Forwarded-For`.
    XForwardedFor,
    /// By version 1 of the PROXY protocol.
    ProxyProtocolV1,
    /// By version 2.
    ProxyProtocolV2,
}

impl ToServer {
    /// Whether a connection to the server is said to be of one client.
    #[must_use]
    pub const fn is_proxy_protocol(self) -> bool {
        matches!(self, Self::ProxyProtocolV1 | Self::ProxyProtocolV2)
    }
}

/// How the proxy works.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Where the server is.
    pub server: Endpoint,
    /// How long connecting to it may take.
    pub connect_timeout: Duration,
    /// How long a head may take, and a client may be silent before its first one.
    pub header_timeout: Duration,
    /// How long a client may be silent within a body, and may not take an answer.
    pub body_timeout: Duration,
    /// Bytes a second that must come of a body on average, within each such time; 0: any byte is enough.
    pub body_rate_min: u64,
    /// Connections at once; more wait in the listen queue. Fixed when the proxy is made.
    pub connections_max: usize,
    /// Connections of one client at once; 0: any number.
    pub per_client_max: u32,
    /// Peers that are believed.
    pub trusted: Vec<Prefix>,
    /// What is believed.
    pub from_clients: FromClients,
    /// What the server is told.
    pub to_server: ToServer,
}

impl ProxySettings {
    /// The defaults, with this server.
    #[must_use]
    pub fn to(server: Endpoint) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            server,
            connect_timeout: Duration::from_secs(5),
            header_timeout: minute,
            body_timeout: minute,
            body_rate_min: 0,
            connections_max: 16_384,
            per_client_max: 0,
            trusted: Vec::new(),
            from_clients: FromClients::None,
            to_server: ToServer::None,
        }
    }
}
