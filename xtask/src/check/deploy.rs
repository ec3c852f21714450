//! What `deploy/` holds for systemd, Kubernetes and Grafana: units, manifests, the configurations among them and the dashboard, each
//! asked of the program that will read it, or of its schema.

use super::step::{self, Counts, Outcome};
use crate::{dashboard, setup, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Systemd's measure of what a unit could do to its machine, in tenths: from 0 (nothing) to 100.
const EXPOSURE_MAX: u32 = 25;

/// What `kubectl apply -k` takes.
const OVERLAYS: [&str; 3] = ["sidecar/redis", "sidecar/nginx", "daemonset"];

/// The oldest version of Kubernetes that has sidecars without a feature gate, and one of today.
const KUBERNETES: [&str; 2] = ["1.29.1", "1.37.0"];

/// Whose configuration lies where, below `deploy/kubernetes`.
const CONFIGURATIONS: [(&str, &str); 3] =
    [("kv-cache", "sidecar/redis"), ("http-guard", "sidecar/nginx"), ("heartbeat", "daemonset")];

/// Runs all of them.
pub(super) fn run() -> Vec<Outcome> {
    let folder = workspace::root().join("deploy");
    vec![
        counted("systemd units", || units(&folder.join("systemd"))),
        counted("Kubernetes manifests", || manifests(&folder.join("kubernetes"))),
        counted("configurations for Kubernetes", || configurations(&folder.join("kubernetes"))),
        counted("Grafana's dashboard", || {
            println!("{}", dashboard::fits_schema()?);
            Ok(1)
        }),
    ]
}

/// A step whose checks are counted until one fails.
fn counted(name: &str, checks: impl FnOnce() -> Result<u64>) -> Outcome {
    step::counted(name, || checks().map(|passed| Counts { passed, failed: 0, note: None }))
}

fn units(folder: &Path) -> Result<u64> {
    let scratch = workspace::target().join("xps-units");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let mut passed = 0;
    for (name, _) in CONFIGURATIONS {
        let unit = folder.join(format!("{name}.service"));
        let text = fs::read_to_string(&unit).with_context(|| format!("cannot read {}", unit.display()))?;
        // Programs must be there to be verified, and these are not installed.
        let copy = scratch.join(format!("{name}.service"));
        fs::write(&copy, text.replace(&format!("/usr/local/bin/{name}"), "/bin/true"))
            .with_context(|| format!("cannot write {}", copy.display()))?;
        // Misspelt settings are warnings, and warnings do not change how it exits.
        let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output();
        let said =
            output.context("cannot run systemd-analyze; `cargo xtask setup --tests` installs it")?.stderr;
        if !said.is_empty() {
            bail!("{name}.service: {}", String::from_utf8_lossy(&said).trim());
        }
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", &format!("--threshold={EXPOSURE_MAX}")]).arg(&copy);
        let table = workspace::output(&mut security)?;
        println!("{}", workspace::tail(&table, 1));
        passed += 2;
    }
    workspace::output(Command::new("systemd-sysusers").arg("--dry-run").arg(folder.join("sysusers.conf")))?;
    Ok(passed + 1)
}

fn manifests(folder: &Path) -> Result<u64> {
    let bin = setup::KUBERNETES.programs()?;
    let mut passed = 0;
    for overlay in OVERLAYS {
        let built =
            workspace::output(Command::new(bin.join("kubectl")).arg("kustomize").arg(folder.join(overlay)))?;
        let file = workspace::target().join(format!("xps-{}.yaml", overlay.replace('/', "-")));
        fs::write(&file, built).with_context(|| format!("cannot write {}", file.display()))?;
        for version in KUBERNETES {
            // Strict: a misspelt key is one that the schema does not know.
            let mut validate = Command::new(bin.join("kubernetes-validate"));
            validate.args(["--strict", "--quiet", "-k", version]).arg(&file);
            workspace::output(&mut validate)?;
            println!("{overlay}: Kubernetes {version} would take it");
            passed += 1;
        }
    }
    Ok(passed)
}

fn configurations(folder: &Path) -> Result<u64> {
    let mut passed = 0;
    for (name, overlay) in CONFIGURATIONS {
        let program = workspace::build(name, "dev")?;
        let file = folder.join(overlay).join(format!("{name}.toml"));
        let mut check = Command::new(&program);
        check.arg("check").arg("--config").arg(&file);
        if name == "heartbeat" {
            check.env("HEARTBEAT_CLUSTER_KEY_FILE", key(&program)?);
        }
        workspace::output(&mut check)?;
        println!("{overlay}/{name}.toml: OK");
        passed += 1;
    }
    Ok(passed)
}

/// A key in the place of the one that operators make.
fn key(heartbeat: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;

    let file = workspace::target().join("xps-heartbeat-key");
    let key = workspace::output(Command::new(heartbeat).arg("key"))?;
    fs::write(&file, key)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o600)))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
