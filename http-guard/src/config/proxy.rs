//! What only the user path does: whose word about clients is believed, and what the server is told of them.

use xps_runtime::config::Section;

use crate::proxy::{FromClients, ToServer};
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

impl Proxy {
    /// Asks for the section's keys.
    pub(super) fn ask(section: &mut Section<'_>) -> Self {
        let given = ["trusted", "from_clients", "to_server"];
        let given = given.into_iter().filter(|key| section.is_given(key)).collect();
        let from = [
            ("none", FromClients::None),
            ("proxy_protocol", FromClients::ProxyProtocol),
            ("x_forwarded_for", FromClients::XForwardedFor),
        ];
        let to = [
            ("x_forwarded_for", ToServer::XForwardedFor),
            ("proxy_protocol_v1", ToServer::ProxyProtocolV1),
            ("proxy_protocol_v2", ToServer::ProxyProtocolV2),
            ("none", ToServer::None),
        ];
        Self {
            trusted: section.parsed_list("trusted", Vec::new(), prefix::EXPECTED),
            from_clients: section.choice("from_clients", FromClients::None, &from),
            to_server: section.choice("to_server", ToServer::XForwardedFor, &to),
            given,
        }
    }
}
