//! Status, metrics and health by HTTP, and how `kv-cache status` asks for them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::report::Report;
use crate::status::Status;

/// Listens for the admin interface.
///
/// # Errors
/// If the address is in use or not of this machine; the error says what to do.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for status and metrics; stop what listens there or set listen.admin"
        )
    })
}

/// Serves until `stop` turns true.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    report: Arc<Report>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(report);
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await?;
    Ok(())
}

async fn status(State(report): State<Arc<Report>>) -> Response {
    // Reads maps: not for a thread that others wait for.
    let status = tokio::task::spawn_blocking(move || serde_json::to_string(&report.status())).await;
    match status {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(report): State<Arc<Report>>) -> Response {
    let text = tokio::task::spawn_blocking(move || report.metrics()).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(report): State<Arc<Report>>) -> Response {
    match report.not_ready().await {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Asks a running sidecar for its status.
///
/// # Errors
/// If there is none at `address`, or it answers something else.
pub fn ask(address: SocketAddr) -> Result<Status> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| {
        format!("no kv-cache answers at {address}; is it running in this network namespace? --admin names another address")
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("{address} does not speak HTTP") };
    if head.split(' ').nth(1) != Some("200") {
        bail!("{address} answers: {}", head.lines().next().unwrap_or_default());
    }
    serde_json::from_str(body).with_context(|| format!("{address} is not kv-cache's admin address"))
}
