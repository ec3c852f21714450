//! GET, and whether its status is one of success. The body is not waited for.

use std::pin::pin;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::Failure;
use crate::lease::place::{Link, Url};

/// Asks on a new connection, as a client would.
pub(super) async fn ask(link: Box<dyn Link>, url: &Url) -> Result<(), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(link)).await?;
    let request = Request::get(&url.path)
        .header(HOST, &url.host)
        .header(USER_AGENT, concat!("heartbeat/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    // Its parts were parsed as those of a URL.
    let request = request.map_err(|_| Failure::Closed)?;
    let mut answer = pin!(sender.send_request(request));
    let answer: Response<_> = tokio::select! {
        biased;
        answer = &mut answer => answer?,
        ended = connection => {
            ended?;
            answer.await?
        }
    };
    match answer.status().as_u16() {
        200..=399 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}
