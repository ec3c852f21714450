//! What passes unread: where the operator lets everything pass, also what cannot be read.

use std::net::IpAddr;

use super::{Connection, Then};
use crate::proxy::counts::count;
use crate::proxy::settings::ToServer;

impl Connection {
    /// Whether what is refused by its syntax passes unread. Not where the server is told whose each request is: nobody knows
    /// where in it that would stand, and the client could say it instead.
    pub(super) fn passes_unread(&self) -> bool {
        let can_be_told = match self.settings.to_server {
            ToServer::None => true,
            ToServer::XForwardedFor => false,
            ToServer::ProxyProtocolV1 | ToServer::ProxyProtocolV2 => !self.believed,
        };
        can_be_told && self.proxy.process.is_disabled()
    }

    /// Passes what is there, and all that follows in both directions, until requests are judged again. Where the next one begins
    /// nobody knows then, so the connection ends.
    pub(super) async fn pass_unread(&mut self, client: IpAddr) -> Then {
        count(&self.proxy.counts.unread);
        if let Some(mut first) = self.reach(client).await {
            first.append(&mut self.input.take());
            let proxy = std::sync::Arc::clone(&self.proxy);
            tokio::select! {
                relayed = self.relay(first) => if relayed.is_ok() {
                    return Then::Over;
                },
                () = proxy.process.enabled() => {}
            }
        }
        self.reset();
        Then::Over
    }
}
