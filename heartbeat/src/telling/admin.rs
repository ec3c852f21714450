//! Status, members, events, metrics and health by HTTP; what operators may do, and applications.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use heartbeat_fastpath::wire::NodeId;
use tokio::sync::watch;
use xps_runtime::admin::address::Address;
use xps_runtime::admin::guard::Guard;
use xps_runtime::admin::listener::Listener;
use xps_runtime::admin::{self, Outcome, page};

use crate::config::reload::Reloader;
use crate::here::Here;
use crate::prober::Prober;
use crate::sessions::Sessions;
use crate::telling::report::Report;
use crate::telling::{OWNER, events};

/// What requests are answered from.
pub struct Served {
    /// What is said.
    pub report: Arc<Report>,
    /// Reads the configuration again.
    pub reloader: Arc<Reloader>,
    /// Who knows the members.
    pub prober: Arc<Prober>,
    /// The sessions of BFD, if there are some.
    pub sessions: Option<Arc<Sessions>>,
    /// Whose applications call.
    pub here: Arc<Here>,
}

/// The same, with what decides who may act.
struct Guarded {
    guard: Guard,
    served: Served,
    stop: watch::Receiver<bool>,
}

/// Serves what listens at `address` until `stop` turns true.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: Listener,
    address: Address,
    served: Served,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let guarded = Guarded { guard: Guard::of(OWNER, &address), served, stop: stop.clone() };
    let routes = Router::new()
        .route("/", get(async || page::show(&OWNER)))
        .route("/status", get(status))
        .route("/members", get(members))
        .route("/events", get(changes))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/reload", post(reload))
        .route("/lease/{node}", post(renew))
        .route(
            "/bfd/{peer}/down",
            post(async |guarded, peer, headers| hold(guarded, peer, headers, true).await),
        )
        .route(
            "/bfd/{peer}/up",
            post(async |guarded, peer, headers| hold(guarded, peer, headers, false).await),
        )
        .with_state(Arc::new(guarded));
    admin::serve(listener, routes, stop).await
}

async fn status(State(guarded): State<Arc<Guarded>>) -> Response {
    match guarded.served.report.status().await.map(|status| serde_json::to_string(&status)) {
        Ok(Ok(text)) => admin::show(admin::JSON, move || Ok::<_, ()>(text)).await,
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn members(State(guarded): State<Arc<Guarded>>) -> Response {
    match guarded.served.prober.view().await.map(|members| serde_json::to_string(&members)) {
        Ok(Ok(text)) => admin::show(admin::JSON, move || Ok::<_, ()>(text)).await,
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn changes(State(guarded): State<Arc<Guarded>>) -> Response {
    events::stream(&guarded.served.prober, guarded.served.sessions.as_deref(), guarded.stop.clone())
        .into_response()
}

async fn metrics(State(guarded): State<Arc<Guarded>>) -> Response {
    match guarded.served.report.metrics().await {
        Ok(text) => admin::show(admin::METRICS, move || Ok::<_, ()>(text)).await,
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
    }
}

async fn ready(State(guarded): State<Arc<Guarded>>) -> Response {
    match guarded.served.prober.view().await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn reload(State(guarded): State<Arc<Guarded>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = guarded.guard.check(&headers) {
        return refusal.into_response();
    }
    match guarded.served.reloader.reload().await {
        Outcome::Done(text) => format!("{text}\n").into_response(),
        Outcome::Refused(text) => (StatusCode::CONFLICT, format!("{text}\n")).into_response(),
    }
}

/// An application says that it is alive.
async fn renew(State(guarded): State<Arc<Guarded>>, Path(node): Path<u32>, headers: HeaderMap) -> Response {
    if let Err(refusal) = guarded.guard.check(&headers) {
        return refusal.into_response();
    }
    let renewed = NodeId::new(node).map(|id| guarded.served.here.renew(id));
    match renewed {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(error)) => (StatusCode::CONFLICT, format!("{error}\n")).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no node 0\n").into_response(),
    }
}

/// Sessions of BFD are held down for maintenance, or no longer.
async fn hold(
    State(guarded): State<Arc<Guarded>>,
    Path(peer): Path<IpAddr>,
    headers: HeaderMap,
    held_down: bool,
) -> Response {
    if let Err(refusal) = guarded.guard.check(&headers) {
        return refusal.into_response();
    }
    let count = match &guarded.served.sessions {
        Some(sessions) => sessions.hold_down(peer, held_down).await,
        None => 0,
    };
    match count {
        0 => (StatusCode::CONFLICT, format!("there is no BFD session with {peer}\n")).into_response(),
        _ if held_down => {
            format!("{count} with {peer} are held down, until `up` or a restart\n").into_response()
        }
        _ => format!("{count} with {peer} may come up\n").into_response(),
    }
}
