//! What only the user path does: whose word about clients is believed, and what the server is told of them.

use xps_runtime::config::Section;

use crate::rules::prefix::{self, Prefix};

/// The section `[proxy]`. Each of its keys puts the configuration on the user path (G6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Peers whose word about their clients is believed.
    pub trusted: Vec<Prefix>,
    /// How they tell it.
    pub from_clients: FromClients,
    /// How the server is told of clients.
    pub to_server: ToServer,
    /// Which keys are given.
    pub given: Vec<&'static str>,
}

/// How a trusted peer tells whose connection or request it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FromClients {
    /// Not at all: the peer is the client.
    #[default]
    Nothing,
    /// By the PROXY protocol, version 1 or 2.
    ProxyProtocol,
    /// By the header `X-Forwarded-For`.
    ForwardedFor,
}

/// How the server is told whose connection or request it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToServer {
    /// By the header `X-Forwarded-For`.
    #[default]
    ForwardedFor,
    /// By the PROXY protocol in its first version.
    ProxyProtocolV1,
    /// By the PROXY protocol in its second version.
    ProxyProtocolV2,
    /// Not at all: to it the proxy is the client.
    Nothing,
}

impl Proxy {
    /// Asks for the section's keys.
    pub(super) fn ask(section: &mut Section<'_>) -> Self {
        let given = ["trusted", "from_clients", "to_server"];
        let given = given.into_iter().filter(|key| section.is_given(key)).collect();
        let from = [
            ("none", FromClients::Nothing),
            ("proxy_protocol", FromClients::ProxyProtocol),
            ("x_forwarded_for", FromClients::ForwardedFor),
        ];
        let to = [
            ("x_forwarded_for", ToServer::ForwardedFor),
            ("proxy_protocol_v1", ToServer::ProxyProtocolV1),
            ("proxy_protocol_v2", ToServer::ProxyProtocolV2),
            ("none", ToServer::Nothing),
        ];
        Self {
            trusted: section.parsed_list("trusted", Vec::new(), prefix::EXPECTED),
            from_clients: section.choice("from_clients", FromClients::Nothing, &from),
            to_server: section.choice("to_server", ToServer::ForwardedFor, &to),
            given,
        }
    }
}
