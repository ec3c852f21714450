//! One request that passes, with its response: both directions at once, each only as fast as its receiver takes it.

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::counts::{Counts, add};
use super::gate::{Gate, Met};
use super::input::Input;
use super::pace::Pace;
use super::replies::{Replies, Said};
use super::socket;

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The response is complete, and the next request may follow.
    Done,
    /// Both sides speak another protocol now. Nothing is left of the server's bytes.
    Switched,
    /// The server has ended its stream: so must the client's.
    Ended,
    /// The server has reset its connection, or a response stays torn.
    Torn,
    /// The client is gone.
    Gone,
    /// The client sends no more of the body.
    Slow,
    /// The body is refused, when so much of the response was with the client.
    Refused(Begun),
}

/// How much of a response the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    No,
    Partly,
    Whole,
}

/// What an exchange is made of.
pub(super) struct Exchange<'a> {
    pub(super) client: &'a TcpStream,
    pub(super) server: &'a TcpStream,
    pub(super) gate: &'a mut Gate,
    pub(super) replies: &'a mut Replies,
    pub(super) input: &'a mut Input,
    pub(super) counts: &'a Counts,
    /// How fast the client must send a body.
    pub(super) pace: Pace,
}

/// What became of the request.
enum Sent {
    Whole,
    /// The client has ended its stream within it.
    Cut,
    Refused,
    Slow,
    ClientGone,
    ServerGone,
}

/// What became of the response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Got {
    Whole,
    Switched,
    Ended,
    Torn,
    ClientGone,
}

impl Exchange<'_> {
    /// Sends `first`, which is the head and what is there of the body, and what follows; gives the client the response.
    pub(super) async fn run(self, first: Vec<u8>) -> Outcome {
        let Self { client, server, gate, replies, input, counts, pace } = self;
        let mut got = None;
        let sent = {
            let mut response = std::pin::pin!(download(client, server, replies, counts));
            let sent = {
                let mut request = std::pin::pin!(upload(client, server, gate, input, &first, pace, counts));
                loop {
                    tokio::select! {
                        sent = &mut request => break sent,
                        said = &mut response, if got.is_none() => match said {
                            // The server has answered early. What it asked for may still come.
                            Got::Whole | Got::Switched => got = Some(said),
                            Got::Ended => return Outcome::Ended,
                            Got::Torn => return Outcome::Torn,
                            Got::ClientGone => return Outcome::Gone,
                        },
                    }
                }
            };
            match sent {
                Sent::Refused | Sent::Slow | Sent::ClientGone => {}
                Sent::Cut | Sent::ServerGone => {
                    if matches!(sent, Sent::Cut) {
                        socket::end(server);
                    }
                    // It may have something to say.
                    let said = if got.is_some() { Got::Ended } else { response.await };
                    return match said {
                        Got::ClientGone => Outcome::Gone,
                        Got::Torn => Outcome::Torn,
                        Got::Whole | Got::Switched | Got::Ended => Outcome::Ended,
                    };
                }
                Sent::Whole => {
                    let mut watched = input.ended;
                    if watched && input.is_empty() {
                        socket::end(server);
                    }
                    while got.is_none() {
                        tokio::select! {
                            said = &mut response => got = Some(said),
                            stays = watch(client, input), if !watched => {
                                watched = true;
                                if !stays {
                                    return Outcome::Gone;
                                }
                                if input.is_empty() {
                                    socket::end(server);
                                }
                            }
                        }
                    }
                }
            }
            sent
        };
        match (sent, got) {
            (Sent::ClientGone, _) | (_, Some(Got::ClientGone)) => Outcome::Gone,
            (Sent::Refused, Some(Got::Whole)) => Outcome::Refused(Begun::Whole),
            (Sent::Refused, _) if replies.begun => Outcome::Refused(Begun::Partly),
            (Sent::Refused, _) => Outcome::Refused(Begun::No),
            (Sent::Slow, _) => Outcome::Slow,
            (_, Some(Got::Switched)) => Outcome::Switched,
            (_, Some(Got::Torn)) => Outcome::Torn,
            (_, Some(Got::Ended) | None) => Outcome::Ended,
            (_, Some(Got::Whole)) => Outcome::Done,
        }
    }
}

/// Sends a request to the server, as far as the gate lets it pass.
async fn upload(
    client: &TcpStream,
    server: &TcpStream,
    gate: &mut Gate,
    input: &mut Input,
    first: &[u8],
    mut pace: Pace,
    counts: &Counts,
) -> Sent {
    if socket::write(server, first).await.is_err() {
        return Sent::ServerGone;
    }
    add(&counts.bytes_to_server, first.len());
    while !gate.at_boundary() {
        if !input.has_unread() {
            let before = input.bytes().len();
            match timeout_at(pace.end(), input.fill(client)).await {
                Ok(Ok(true)) => pace.came(input.bytes().len() - before),
                Ok(Ok(false)) => return Sent::Cut,
                Ok(Err(_)) => return Sent::ClientGone,
                Err(_) if pace.is_kept() => {}
                Err(_) => return Sent::Slow,
            }
        }
        if let (_, Met::Refused) = input.scan(gate) {
            return Sent::Refused;
        }
        if socket::write(server, input.passed()).await.is_err() {
            return Sent::ServerGone;
        }
        add(&counts.bytes_to_server, input.passed().len());
        input.forget_passed();
    }
    Sent::Whole
}

/// Gives the client what the server says.
async fn download(client: &TcpStream, server: &TcpStream, replies: &mut Replies, counts: &Counts) -> Got {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match socket::read(server, &mut bytes).await {
            Ok(0) => return Got::Ended,
            Ok(_) => {}
            Err(_) => return Got::Torn,
        }
        replies.begun = true;
        let (read, said) = replies.read(&bytes);
        if socket::write(client, &bytes).await.is_err() {
            return Got::ClientGone;
        }
        add(&counts.bytes_to_client, bytes.len());
        match said {
            Said::End if read == bytes.len() => return Got::Whole,
            // Something came behind it that nobody asked for.
            Said::End => replies.lose(),
            Said::Switched => return Got::Switched,
            Said::More | Said::Opaque => {}
        }
    }
}

/// Passes on what the server says until it ends. Whether that was in order.
pub(super) async fn pass_on(
    client: &TcpStream,
    server: &TcpStream,
    replies: &mut Replies,
    counts: &Counts,
) -> bool {
    replies.lose();
    matches!(download(client, server, replies, counts).await, Got::Ended)
}

/// Waits until the client has ended its stream, and takes what comes until there is no room for more. False if it has reset
/// the connection.
pub(super) async fn watch(client: &TcpStream, input: &mut Input) -> bool {
    while input.has_room() {
        match input.fill(client).await {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => return false,
        }
    }
    std::future::pending().await
}
