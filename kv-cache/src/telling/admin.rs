//! Status, metrics and health by HTTP, and what operators may do.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use xps_runtime::admin;
use xps_runtime::admin::address::Address;
use xps_runtime::admin::guard::Guard;
use xps_runtime::admin::listener::Listener;
use xps_runtime::admin::page;

use crate::telling::OWNER;
use crate::telling::actions::Actions;
use crate::telling::report::Report;

pub use crate::telling::client::status as ask;

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
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/", get(async || page::show(&OWNER)))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/flush", post(flush))
        .route("/enable", post(enable))
        .route("/disable", post(disable))
        .route("/reload", post(reload))
        .route("/top", get(top))
        .with_state(Arc::new(Served { guard: Guard::of(OWNER, &address), report, actions }));
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

async fn flush(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let actions = Arc::clone(&served.actions);
    admin::act(&served.guard, &headers, move || actions.flush()).await
}

async fn enable(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let actions = Arc::clone(&served.actions);
    admin::act(&served.guard, &headers, move || actions.enable()).await
}

async fn disable(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let actions = Arc::clone(&served.actions);
    admin::act(&served.guard, &headers, move || actions.disable()).await
}

async fn reload(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    let actions = Arc::clone(&served.actions);
    admin::act(&served.guard, &headers, move || actions.reload()).await
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
