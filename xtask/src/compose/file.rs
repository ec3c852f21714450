//! `docker-compose.yml` as Compose reads it.

use super::daemon::Daemon;
use crate::workspace;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// What it says.
pub(super) struct File {
    content: Value,
}

impl File {
    /// Reads it, with all profiles.
    pub(super) fn read(daemon: &Daemon) -> Result<Self> {
        let mut config = daemon.docker();
        config.args(["compose", "--profile", "*", "config", "--format", "json"]);
        let text = workspace::output(&mut config).context("docker-compose.yml is not valid")?;
        Ok(Self { content: serde_json::from_str(&text)? })
    }

    /// The image of a service.
    pub(super) fn image(&self, service: &str) -> Result<String> {
        let image = self.content["services"][service]["image"].as_str();
        Ok(image
            .with_context(|| format!("docker-compose.yml has no service {service} with an image"))?
            .to_owned())
    }

    /// The images that are built, each once.
    pub(super) fn builds(&self) -> Result<BTreeSet<Build>> {
        let services = self.content["services"].as_object().context("docker-compose.yml has no services")?;
        let built = services.values().filter(|service| service["build"].is_object());
        built
            .map(|service| {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let image = text(&service["image"]).context("what is built needs a name")?;
                let dockerfile = text(&service["build"]["dockerfile"]);
                let target = text(&service["build"]["target"]);
                let (dockerfile, target) = dockerfile
                    .zip(target)
                    .with_context(|| format!("{image} needs a Dockerfile and a target"))?;
                Ok(Build { image, dockerfile, target })
            })
            .collect()
    }
}

/// An image that is built here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Build {
    /// Its name.
    pub(super) image: String,
    /// Where the file is that says how.
    pub(super) dockerfile: String,
    /// Its stage.
    pub(super) target: String,
}
