//! Status, metrics and health by HTTP, and what operators may do.
//!
//! - `listener`: on an address or a unix socket.
//! - `guard`: who may act.

mod guard;
mod listener;

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;

use crate::telling::actions::{Actions, Outcome};
use crate::telling::address::Address;
use crate::telling::report::Report;

pub use crate::telling::client::status as ask;
pub use guard::{Guard, HEADER, Refusal};
pub use listener::{Listener, SocketFile, listen};

/// What requests are answered from.
struct Served {
    guard: Guard,
    report: Arc<Report>,
    actions: Arc<Actions>,
}

/// Serves what listens at `address` until `stop` turns true.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: Listener,
    address: Address,
    report: Arc<Report>,
    actions: Arc<Actions>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/flush", post(flush))
        .route("/enable", post(enable))
        .route("/disable", post(disable))
        .route("/reload", post(reload))
        .route("/top", get(top))
        .with_state(Arc::new(Served { guard: Guard::of(&address), report, actions }));
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    match listener {
        Listener::Tcp(listener) => axum::serve(listener, routes).with_graceful_shutdown(stopped).await?,
        Listener::Unix(listener, _file) => {
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await?;
        }
    }
    Ok(())
}

async fn status(State(served): State<Arc<Served>>) -> Response {
    // Reads maps: not for a thread that others wait for.
    let status = tokio::task::spawn_blocking(move || serde_json::to_string(&served.report.status())).await;
    match status {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(served): State<Arc<Served>>) -> Response {
    let text = tokio::task::spawn_blocking(move || served.report.metrics()).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(served): State<Arc<Served>>) -> Response {
    match served.report.not_ready().await {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn flush(served: State<Arc<Served>>, headers: HeaderMap) -> Response {
    act(served, &headers, Actions::flush).await
}

async fn enable(served: State<Arc<Served>>, headers: HeaderMap) -> Response {
    act(served, &headers, Actions::enable).await
}

async fn disable(served: State<Arc<Served>>, headers: HeaderMap) -> Response {
    act(served, &headers, Actions::disable).await
}

async fn reload(served: State<Arc<Served>>, headers: HeaderMap) -> Response {
    act(served, &headers, Actions::reload).await
}

/// Shows keys, so it asks for as much as what acts.
async fn top(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = served.guard.check(&headers) {
        return refusal.into_response();
    }
    match served.actions.cache().top.look().await.as_deref().map(serde_json::to_string) {
        Some(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Some(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        None => {
            (StatusCode::SERVICE_UNAVAILABLE, "counting takes longer than usual; ask again\n").into_response()
        }
    }
}

/// Acts, if the request may.
async fn act(
    State(served): State<Arc<Served>>,
    headers: &HeaderMap,
    action: impl FnOnce(&Actions) -> Outcome + Send + 'static,
) -> Response {
    if let Err(refusal) = served.guard.check(headers) {
        return refusal.into_response();
    }
    // May wait for locks that are held while maps are changed.
    match tokio::task::spawn_blocking(move || action(&served.actions)).await {
        Ok(Outcome::Done(text)) => format!("{text}\n").into_response(),
        Ok(Outcome::Refused(text)) => (StatusCode::CONFLICT, format!("{text}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
