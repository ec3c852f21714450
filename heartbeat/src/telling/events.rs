//! Changes of members as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use tokio::sync::{broadcast, watch};
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use crate::prober::event::Event;

/// How often a line is sent that says nothing, so that a connection that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Each change from now on, until the sidecar stops. A reader that is too slow is told how many it has missed.
pub fn stream(
    events: broadcast::Receiver<Arc<Event>>,
    stop: watch::Receiver<bool>,
) -> Sse<impl Stream<Item = Result<Sent, Infallible>>> {
    let sent = BroadcastStream::new(events).map(|event| {
        Some(Ok(match event {
            Ok(event) => {
                Sent::default().event("change").data(serde_json::to_string(&*event).unwrap_or_default())
            }
            Err(lagged) => Sent::default().event("missed").data(lagged.to_string()),
        }))
    });
    let stopped = WatchStream::new(stop).filter(|stop| *stop).map(|_| None);
    // Ends with the first `None`: a connection that stays open would keep the sidecar from stopping.
    let both = sent.merge(stopped).take_while(Option::is_some).filter_map(|sent| sent);
    Sse::new(both).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
