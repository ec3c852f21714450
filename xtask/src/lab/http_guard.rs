//! http-guard beside Nginx.

use super::sidecar::{Start, admin_address, listen_addresses};
use super::{Lab, Mode, Nginx, Sidecar};
use anyhow::Result;
use std::path::Path;

impl Sidecar {
    /// Starts http-guard in Nginx's place, with these rules, and waits until it says that it is ready.
    pub(crate) fn http_guard(lab: &Lab<Nginx>, program: &Path, mode: Mode, rules: &str) -> Result<Self> {
        let configuration = format!("{}\n{rules}", configuration(lab, mode));
        let admin = lab.ports().admin;
        Self::launch(
            lab,
            &Start { name: "http-guard", program, configuration, admin, settings: &[], urgent: false },
        )
    }
}

fn configuration(lab: &Lab<Nginx>, mode: Mode) -> String {
    let ports = lab.ports();
    let mode = match mode {
        Mode::Auto => "auto",
        Mode::User => "user",
    };
    format!(
        "[nginx]\naddress = \"127.0.0.1:{}\"\n\n[listen]\naccelerated_port = {}\naddresses = {}\n\
         admin = \"{}\"\n\n[path]\nmode = \"{mode}\"\npin_directory = \"{}\"\n",
        ports.plain,
        ports.accelerated,
        listen_addresses(lab),
        admin_address(ports.admin),
        lab.bpf_folder().join("http-guard").display()
    )
}
