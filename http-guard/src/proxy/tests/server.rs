//! Servers of the tests.

use std::sync::{Arc, Mutex};

use http_fastpath::head::Settings;
use http_fastpath::host::requests;
use tokio::sync::mpsc;

use super::*;

/// A server that remembers what it was sent.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    streams: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    /// What came, by connection.
    pub(super) fn streams(&self) -> Vec<Vec<u8>> {
        self.streams.lock().unwrap().clone()
    }

    /// All that came.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.streams().concat()).into_owned()
    }
}

/// A server that answers each request with its number, and ends the connection when the client does, or asks for it.
pub(super) async fn answering() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let streams = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let all = Arc::clone(&streams);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = {
                let mut all = all.lock().unwrap();
                all.push(Vec::new());
                all.len() - 1
            };
            tokio::spawn(answer(stream, Arc::clone(&all), number));
        }
    });
    Server { address, streams }
}

async fn answer(mut stream: TcpStream, all: Arc<Mutex<Vec<Vec<u8>>>>, number: usize) {
    let mut answered = 0;
    let mut bytes = vec![0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        let so_far = {
            let mut all = all.lock().unwrap();
            all[number].extend_from_slice(&bytes[..read]);
            all[number].clone()
        };
        // A header of the PROXY protocol comes first, if any.
        let start = if so_far.starts_with(b"PROXY ") {
            so_far.windows(2).position(|pair| pair == b"\r\n").map_or(so_far.len(), |end| end + 2)
        } else {
            0
        };
        let reading = requests(&so_far[start..], &[], &Settings::DEFAULT);
        for seen in reading.seen.iter().filter(|seen| seen.complete).skip(answered) {
            answered += 1;
            let body = if seen.method == b"HEAD" { "" } else { "fine" };
            let response =
                format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Number: {answered}\r\n\r\n{body}");
            if stream.write_all(response.as_bytes()).await.is_err() || !seen.keeps_alive {
                return;
            }
        }
    }
}

/// A server whose connections are given to the test.
pub(super) async fn by_hand() -> (SocketAddr, mpsc::Receiver<Client>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if sender.send(Client(stream)).await.is_err() {
                return;
            }
        }
    });
    (address, receiver)
}
