//! Well-behaved clients: few connections, one request after the other, each response checked.

use super::response;
use super::rules::File;
use crate::bench::generator::closed_loop::{self, Tally};
use crate::bench::generator::{Dialogue, Heard, Shape};
use crate::lab::Place;
use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const CONNECTIONS: usize = 8;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Who asks whom for what.
pub(super) struct Clients<'a> {
    pub(super) place: &'a Place,
    /// The address they have.
    pub(super) source: Ipv4Addr,
    pub(super) server: SocketAddr,
    pub(super) file: File,
}

impl Clients<'_> {
    /// Asks for a time. What is not the file, with 200, is an error.
    pub(super) fn run(&self, duration: Duration) -> Result<Tally> {
        let Self { place, source, server, file } = *self;
        let request = format!("GET {} HTTP/1.1\r\nHost: {server}\r\n\r\n", file.path).into_bytes();
        let shape = Shape { place, connections: CONNECTIONS, threads: 1, duration };
        closed_loop::run(&shape, |_| {
            let stream = connect(source, server)
                .with_context(|| format!("cannot connect from {source} to {server}"))?;
            Ok((stream, Exchange { request: request.clone(), body_bytes: file.bytes }))
        })
    }
}

fn connect(source: Ipv4Addr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&server.into(), CONNECT_LIMIT)?;
    Ok(socket.into())
}

/// A request and its one right response.
struct Exchange {
    request: Vec<u8>,
    body_bytes: usize,
}

impl Dialogue for Exchange {
    fn ask(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.request);
    }

    fn hear(&mut self, input: &[u8]) -> Result<Heard> {
        let Some(head) = response::head(input)? else { return Ok(Heard { used: 0, answered: None }) };
        ensure!(head.status == 200, "a client that may have the file was answered with {}", head.status);
        let expected = self.body_bytes;
        ensure!(
            head.body_bytes == expected,
            "the file has {expected} bytes, the response {}",
            head.body_bytes
        );
        Ok(head.heard(input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_file_is_an_answer() {
        let response = b"HTTP/1.1 200 OK\r\nServer: nginx\r\ncontent-length: 5\r\n\r\nhello";
        let mut exchange = Exchange { request: b"GET".to_vec(), body_bytes: 5 };
        for cut in 0..response.len() {
            let heard = exchange.hear(&response[..cut]).unwrap();
            assert_eq!((heard.used, heard.answered), (0, None), "{cut}");
        }
        let heard = exchange.hear(response).unwrap();
        assert_eq!((heard.used, heard.answered), (response.len(), Some(1)));
        exchange.body_bytes = 6;
        assert!(exchange.hear(response).is_err());
        let refused = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 6\r\n\r\n";
        assert!(exchange.hear(refused).err().unwrap().to_string().contains("429"));
    }
}
