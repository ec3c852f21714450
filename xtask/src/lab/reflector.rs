//! The reflector, and the Redis that its connections are made to.

use super::process::Process;
use super::{Lab, Redis, START_LIMIT, redis};
use anyhow::Result;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A running reflector, and the Redis that its connections are made to.
pub(crate) struct Reflector {
    _agent: Process,
    _redis: Process,
}

impl Lab<Redis> {
    /// Starts the reflector on the relay port, with a Redis there for the handshakes. Both end when it is dropped.
    pub(crate) fn start_reflector(&self, program: &Path, value_bytes: usize) -> Result<Reflector> {
        let place = self.server();
        let open = self.has_namespaces();
        let redis = redis::start(&place, self.folder(), "redis-relay", self.ports().relay, open, &[])?;
        let arguments = [self.ports().relay.to_string(), value_bytes.to_string()];
        let mut agent = Process::start(&place, self.folder(), "reflector", program, &arguments)?;
        let server = self.address(self.ports().relay);
        // Redis itself has no such key.
        let answered = || {
            let mut stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"*2\r\n$3\r\nGET\r\n$7\r\nmissing\r\n")?;
            let mut reply = vec![0; format!("${value_bytes}\r\n\r\n").len() + value_bytes];
            stream.read_exact(&mut reply)?;
            anyhow::ensure!(reply.starts_with(format!("${value_bytes}\r\n").as_bytes()), "not reflected");
            Ok(())
        };
        agent.wait_until(START_LIMIT, || self.client().run(answered).is_ok())?;
        Ok(Reflector { _agent: agent, _redis: redis })
    }
}
