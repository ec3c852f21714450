//! Asks a running sidecar by its admin interface: what `kv-cache status` and the other commands do.

use anyhow::Result;
use xps_runtime::admin::address::Address;
use xps_runtime::admin::client::Answer;

use crate::telling::OWNER;
use crate::telling::status::Status;
use crate::telling::top::View;

/// Asks a running sidecar for its status.
///
/// # Errors
/// If there is none at `address`, or it answers something else.
pub fn status(address: impl Into<Address>) -> Result<Status> {
    Ok(OWNER.get_as(&address.into(), "/status", |text| serde_json::from_str(text))?)
}

/// Asks a running sidecar whether it is ready; what it says of it.
///
/// # Errors
/// If there is none at `address`, or it is not ready; with what is missing.
pub fn health(address: &Address) -> Result<String> {
    Ok(OWNER.get(address, "/readyz")?)
}

/// Asks a running sidecar for the keys that are asked for most. Takes a moment if nobody asked just before.
///
/// # Errors
/// Like [`status`].
pub fn top(address: &Address) -> Result<View> {
    Ok(OWNER.get_as(address, "/top", |text| serde_json::from_str(text))?)
}

/// Asks a running sidecar to do something: `flush`, `enable`, `disable`, `reload`. What it says of it.
///
/// # Errors
/// If there is none at `address`, or it refuses; with its reasons.
pub fn act(address: &Address, action: &str) -> Result<String> {
    Ok(OWNER.act(address, action)?)
}

/// One request and its answer.
///
/// # Errors
/// If nobody answers at `address`, or not by HTTP.
pub fn ask(address: &Address, method: &str, path: &str) -> Result<Answer> {
    Ok(OWNER.ask(address, method, path)?)
}
