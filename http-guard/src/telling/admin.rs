//! Status, metrics and health by HTTP, and what operators may do.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use xps_runtime::admin;
use xps_runtime::admin::address::Address;
use xps_runtime::admin::guard::Guard;
use xps_runtime::admin::listener::Listener;
use xps_runtime::admin::page;

use crate::config::reload::Reloader;
use crate::telling::OWNER;
use crate::telling::report::Report;

/// Clients that are told of at most.
const CLIENTS_MAX: usize = 1000;

/// What requests are answered from.
struct Served {
    guard: Guard,
    report: Arc<Report>,
    reloader: Arc<Reloader>,
}

/// Serves what listens at `address` until `stop` turns true.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: Listener,
    address: Address,
    report: Arc<Report>,
    reloader: Arc<Reloader>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/", get(async || page::show(&OWNER)))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/top", get(top))
        .route("/enable", post(enable))
        .route("/disable", post(disable))
        .route("/reload", post(reload))
        .with_state(Arc::new(Served { guard: Guard::of(OWNER, &address), report, reloader }));
    admin::serve(listener, routes, stop).await
}

async fn status(State(served): State<Arc<Served>>) -> Response {
    admin::show(admin::JSON, move || serde_json::to_string(&served.report.status())).await
}

async fn metrics(State(served): State<Arc<Served>>) -> Response {
    admin::show(admin::METRICS, move || served.report.metrics()).await
}

async fn ready(State(served): State<Arc<Served>>) -> Response {
    match served.report.not_ready().await {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Shows clients, so it asks for as much as what acts.
async fn top(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = served.guard.check(&headers) {
        return refusal.into_response();
    }
    admin::show(admin::JSON, move || serde_json::to_string(&served.report.top(CLIENTS_MAX))).await
}

async fn enable(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let report = Arc::clone(&served.report);
    admin::act(&served.guard, &headers, move || report.set_disabled(false)).await
}

async fn disable(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let report = Arc::clone(&served.report);
    admin::act(&served.guard, &headers, move || report.set_disabled(true)).await
}

async fn reload(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let reloader = Arc::clone(&served.reloader);
    admin::act(&served.guard, &headers, move || reloader.reload()).await
}
