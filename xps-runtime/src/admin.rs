//! The admin interface that every sidecar has: status, metrics and health by HTTP, and what operators may do.
//!
//! # Layout
//!
//! - [`address`], [`listener`]: where it is.
//! - [`guard`]: who may act.
//! - [`client`]: how the commands ask there.
//! - [`page`]: the status for a browser.

pub mod address;
pub mod client;
pub mod guard;
pub mod listener;
pub mod page;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use guard::Guard;
use listener::Listener;

/// Whose admin interface it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The service, which is also the command's name.
    pub name: &'static str,
    /// The header that a request to act must have, with the value `1`.
    pub header: &'static str,
    /// Where it listens by default.
    pub default: &'static str,
}

/// What became of something that an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; what there is to know about it.
    Done(String),
    /// It was not done, and why.
    Refused(String),
}

/// Serves `routes` on `listener` until `stop` turns true.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: Listener,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    match listener {
        Listener::Tcp(listener) => axum::serve(listener, routes).with_graceful_shutdown(stopped).await,
        Listener::Unix(listener, _file) => {
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await
        }
    }
}

/// Answers with what `make` makes. It may read maps, so it does not run on a thread that others wait for.
pub async fn show<E: Send + 'static>(
    content: &'static str,
    make: impl FnOnce() -> Result<String, E> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, content)], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Acts, if a request with these headers may. The action may wait for locks that are held while maps are changed.
pub async fn act(
    guard: &Guard,
    headers: &HeaderMap,
    action: impl FnOnce() -> Outcome + Send + 'static,
) -> Response {
    if let Err(refusal) = guard.check(headers) {
        return refusal.into_response();
    }
    match tokio::task::spawn_blocking(action).await {
        Ok(Outcome::Done(text)) => format!("{text}\n").into_response(),
        Ok(Outcome::Refused(text)) => (StatusCode::CONFLICT, format!("{text}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The content type of metrics.
pub const METRICS: &str = "text/plain; version=0.0.4";
/// The content type of a status.
pub const JSON: &str = "application/json";
