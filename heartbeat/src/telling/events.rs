//! Changes of members as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use crate::prober::Prober;
use crate::sessions::Sessions;

/// How often a line is sent that says nothing, so that a connection that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Each change from now on, until the sidecar stops: `change` of a member, `bfd` of a session. A reader that is too slow is told
/// how many it has `missed`.
pub fn stream(
    prober: &Prober,
    sessions: Option<&Sessions>,
    stop: watch::Receiver<bool>,
) -> Sse<impl Stream<Item = Result<Sent, Infallible>> + use<>> {
    let members =
        BroadcastStream::new(prober.events()).map(|event| Some(Ok(sent("change", event.as_deref()))));
    let sessions = sessions.map_or_else(|| broadcast::channel(1).1, Sessions::changes);
    // Where there are no sessions this one ends at once, and the other goes on.
    let sessions = BroadcastStream::new(sessions).map(|change| Some(Ok(sent("bfd", change.as_ref()))));
    let stopped = WatchStream::new(stop).filter(|stop| *stop).map(|_| None);
    // Ends with the first `None`: a connection that stays open would keep the sidecar from stopping.
    let all = members.merge(sessions).merge(stopped).take_while(Option::is_some).filter_map(|sent| sent);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn sent<T: Serialize>(name: &str, event: Result<&T, &BroadcastStreamRecvError>) -> Sent {
    match event {
        Ok(event) => Sent::default().event(name).data(serde_json::to_string(event).unwrap_or_default()),
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Sent::default().event("missed").data(missed.to_string())
        }
    }
}
