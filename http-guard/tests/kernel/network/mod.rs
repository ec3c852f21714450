//! Nginx and http-guard in networks as they are: routers, narrow links, firewalls, other programs. On the plain port
//! and on the accelerated one the outcome must be the same, on both paths, but for what is denied. The situations are
//! those of all services (`xps-runtime/tests/support/laboratory/situations`); what only a guard can do wrong stands
//! here.

#[path = "../../../../xps-runtime/tests/support/laboratory/everywhere.rs"]
mod everywhere;
mod mtu;
mod other_programs;
mod redirects;
mod strangers;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::lab::{Lab, Mode, PAGE, PLAIN};
use crate::laboratory;
use crate::laboratory::{Network, Plan, Service, Talk, Way};
use crate::site::{MUCH_BYTES, Site, UNGUARDED_BYTES};

/// Bytes of what is sent.
const SENT_BYTES: usize = 150_000;

/// What is refused. Nginx would serve it.
const DENIED: &str = "/files/unguarded";

fn configuration() -> String {
    // With its head a refusal is nearly a segment.
    let body = "-".repeat(UNGUARDED_BYTES);
    format!(
        "[answers]\nbody = \"{body}\"\n[[rule]]\nname = \"denied\"\npath = \"{DENIED}\"\naction = \"deny\"\n"
    )
}

/// Runs a test in a network, on the kernel path.
pub(crate) fn on_the_kernel_path(network: Plan, test: impl Fn(&Lab) -> Result<()>) {
    Lab::run_in(network, Mode::Kernel, Site::Logging, &configuration(), |lab| test(lab));
}

/// Runs a test in a network, on the kernel path and Nginx's own port.
pub(crate) fn in_place(network: Plan, test: impl Fn(&Lab) -> Result<()>) {
    Lab::run_in(network, Mode::InPlace, Site::Logging, &configuration(), |lab| test(lab));
}

/// Runs a test in a network, on the user path.
pub(crate) fn on_the_user_path(network: Plan, test: impl Fn(&Lab) -> Result<()>) {
    Lab::run_in(network, Mode::User, Site::Logging, &configuration(), |lab| test(lab));
}

impl Service for Lab {
    fn ports(&self) -> [u16; 2] {
        [PLAIN, self.accelerated_port()]
    }

    fn network(&self) -> &Network {
        self.network()
    }

    fn open(&self, way: Way<'_>) -> Result<Box<dyn Talk>> {
        let client = Client::over(way.open()?)?;
        client.stream().set_read_timeout(Some(way.limit))?;
        client.stream().set_write_timeout(Some(way.limit))?;
        // Nginx itself denies nothing.
        Ok(Box::new(Session {
            client,
            denied: if way.to.port() == self.accelerated_port() { 403 } else { 200 },
        }))
    }

    fn answered(&self) -> Result<u64> {
        Ok(self.status()?.refused_total)
    }
}

/// A client of Nginx.
struct Session {
    client: Client,
    /// The status of what is denied.
    denied: u16,
}

impl Session {
    fn ask(&mut self, path: &str) -> Result<()> {
        self.client.send(&format!("GET {path} HTTP/1.1\r\nHost: guard.test\r\n\r\n"))
    }

    fn hear(&mut self, status: u16) -> Result<String> {
        let response = self.client.response()?;
        ensure!(response.status == status, "{response:?}");
        Ok(response.body)
    }
}

impl Talk for Session {
    fn ask_server(&mut self) -> Result<()> {
        self.ask("/index.html")
    }

    fn hear_server(&mut self) -> Result<()> {
        let body = self.hear(200)?;
        ensure!(body == PAGE, "another page: {body:?}");
        Ok(())
    }

    fn ask_stack(&mut self) -> Result<()> {
        self.ask(DENIED)
    }

    fn hear_stack(&mut self) -> Result<()> {
        let body = self.hear(self.denied)?;
        let expected = if self.denied == 200 { "u" } else { "-" }.repeat(UNGUARDED_BYTES);
        ensure!(body == expected, "another body: {body:?}");
        Ok(())
    }

    fn receive_much(&mut self) -> Result<()> {
        self.ask("/files/much")?;
        let body = self.hear(200)?;
        ensure!(body.len() == MUCH_BYTES && body.bytes().all(|byte| byte == b'm'), "{} bytes", body.len());
        Ok(())
    }

    fn send_much(&mut self) -> Result<()> {
        let body = "s".repeat(SENT_BYTES);
        self.client.send(&format!(
            "POST /sent HTTP/1.1\r\nHost: guard.test\r\nContent-Length: {SENT_BYTES}\r\n\r\n{body}"
        ))?;
        let response = self.client.response()?;
        ensure!(response.status == 200, "{response:?}");
        ensure!(response.field("x-body") == Some(&SENT_BYTES.to_string()), "{response:?}");
        Ok(())
    }

    fn set_patience(&self, limit: Duration) -> Result<()> {
        Ok(self.client.stream().set_read_timeout(Some(limit))?)
    }
}
