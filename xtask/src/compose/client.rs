//! Clients of the published ports: one connection, one request, one answer.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(3);

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)
        .with_context(|| format!("{address} takes no connection"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Writes a key in Redis.
pub(super) fn set(redis: SocketAddr, key: &str, value: &str) -> Result<()> {
    let reply = ask(&mut connect(redis)?, &["SET", key, value])?;
    ensure!(reply == "OK", "SET was answered with {reply:?}");
    Ok(())
}

/// Reads a key from Redis so many times over one connection. All values must be `value`.
pub(super) fn get(redis: SocketAddr, key: &str, value: &str, times: usize) -> Result<()> {
    let mut stream = connect(redis)?;
    for _ in 0..times {
        let reply = ask(&mut stream, &["GET", key])?;
        ensure!(reply == value, "GET was answered with {reply:?} instead of {value:?}");
    }
    Ok(())
}

/// One command and its reply: a simple string or a bulk string.
fn ask(stream: &mut TcpStream, words: &[&str]) -> Result<String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).context("no reply from Redis")?;
    let line = line.trim_end();
    if let Some(text) = line.strip_prefix('+') {
        return Ok(text.to_owned());
    }
    let Some(Ok(length)) = line.strip_prefix('$').map(str::parse::<usize>) else {
        bail!("Redis answered {line:?}");
    };
    let mut value = vec![0; length + 2];
    reader.read_exact(&mut value)?;
    value.truncate(length);
    Ok(String::from_utf8_lossy(&value).into_owned())
}

/// The status of the answer to a GET by HTTP.
pub(super) fn http_status(server: SocketAddr, path: &str) -> Result<u16> {
    let mut stream = connect(server)?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("no response by HTTP")?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.with_context(|| format!("the response begins with {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers its first connection and says what it was asked.
    fn server(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        (address, asked)
    }

    #[test]
    fn values_are_compared() {
        let (redis, asked) = server("$2\r\nab\r\n");
        get(redis, "key", "ab", 1).unwrap();
        assert_eq!(asked.join().unwrap(), "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
        let (redis, _) = server("$2\r\nxy\r\n");
        assert!(get(redis, "key", "ab", 1).is_err());
        let (redis, _) = server("-LOADING\r\n");
        assert!(set(redis, "key", "ab").is_err());
    }

    #[test]
    fn the_status_is_the_responses() {
        let (server, _) = server("HTTP/1.1 403 Forbidden\r\n\r\n");
        assert_eq!(http_status(server, "/x").unwrap(), 403);
    }
}
