//! kv-cache beside Redis.

use super::sidecar::{Start, admin_address, listen_addresses};
use super::{Lab, Mode, Redis, Sidecar};
use anyhow::Result;
use std::path::Path;

impl Sidecar {
    /// Starts kv-cache in Redis's place and waits until it says that it is ready. Its settings are the defaults, but for
    /// ports, path and pin folder, and `settings`, as `section.key=value`.
    pub(crate) fn kv_cache(lab: &Lab<Redis>, program: &Path, mode: Mode, settings: &[&str]) -> Result<Self> {
        let (configuration, admin) = (configuration(lab, mode), lab.ports().admin);
        Self::launch(lab, &Start { name: "kv-cache", program, configuration, admin, settings, urgent: false })
    }
}

fn configuration(lab: &Lab<Redis>, mode: Mode) -> String {
    let ports = lab.ports();
    // On the user path only bounded coherence caches.
    let (mode, coherence) = match mode {
        Mode::Auto => ("auto", "strict"),
        Mode::User => ("user", "bounded"),
    };
    format!(
        "[redis]\naddress = \"127.0.0.1:{}\"\n\n[listen]\naccelerated_port = {}\naddresses = {}\n\
         admin = \"{}\"\n\n[path]\nmode = \"{mode}\"\npin_directory = \"{}\"\n\n\
         [coherence]\nmode = \"{coherence}\"\n",
        ports.plain,
        ports.accelerated,
        listen_addresses(lab),
        admin_address(ports.admin),
        lab.bpf_folder().join("kv-cache").display()
    )
}
