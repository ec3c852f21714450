//! A port that netfilter redirects to the guarded one is guarded too.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::DENIED;
use crate::client::Client;
use crate::lab::{Lab, PAGE, PLAIN};
use crate::laboratory::{Network, SERVER, SERVERS, Service, Way, both_paths};

const REDIRECTED: u16 = 7001;

/// What a client waits for that is not to be connected.
const SHORT: Duration = Duration::from_millis(1500);

both_paths! {
    what_is_denied_is_denied_by_a_redirected_port_too: Network::direct, denied;
}

/// In place nobody reads what comes so; so nobody comes.
fn stays_out(lab: &Lab) -> Result<()> {
    for server in SERVERS {
        let way = Way::new(Service::client(lab), SocketAddr::new(server, REDIRECTED)).within(SHORT);
        ensure!(way.open().is_err(), "a client is connected to {server}");
    }
    ensure!(lab.status()?.segments["unseen"] > 0, "it is not counted");
    lab.network().rules(SERVER, "")?;
    let log = lab.log("seen.log")?;
    ensure!(!log.contains(DENIED), "Nginx had it: {log}");
    Ok(())
}

fn denied(lab: &Lab) -> Result<()> {
    let rules = format!(
        "table inet redirects {{\nchain prerouting {{\ntype nat hook prerouting priority -100\n\
         tcp dport {REDIRECTED} redirect to :{}\n}}\n}}",
        lab.accelerated_port()
    );
    lab.network().rules(SERVER, &rules)?;
    if lab.accelerated_port() == PLAIN {
        return stays_out(lab);
    }
    for server in SERVERS {
        let way = Way::new(Service::client(lab), SocketAddr::new(server, REDIRECTED));
        let mut client = Client::over(way.open()?)?;
        for _ in 0..3 {
            let passed = client.get("/index.html")?;
            ensure!(passed.status == 200 && passed.body == PAGE, "{passed:?}");
            let denied = client.get(DENIED)?;
            ensure!(denied.status == 403, "{denied:?}");
        }
        // A connection of its own, whose first request is denied.
        let mut client = Client::over(way.open()?)?;
        let denied = client.get(DENIED)?;
        ensure!(denied.status == 403, "{denied:?}");
    }
    lab.network().rules(SERVER, "")?;
    let log = lab.log("seen.log")?;
    ensure!(!log.contains(DENIED), "Nginx had it: {log}");
    Ok(())
}
