//! A client that speaks RESP, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::authority::Issued;
use crate::processes::PATIENCE;

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// The client.
pub(crate) struct Client(Box<dyn Both>);

/// As whom and how a client comes with TLS.
#[derive(Clone, Copy)]
pub(crate) struct Manner<'a> {
    pub(crate) trusts: &'a Path,
    pub(crate) identity: Option<&'a Issued>,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
}

impl<'a> Manner<'a> {
    pub(crate) fn trusting(trusts: &'a Path) -> Self {
        Self { trusts, identity: None, versions: rustls::ALL_VERSIONS }
    }
}

impl Client {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self(Box::new(tcp(address)))
    }

    /// With TLS; the handshake is not over before something was read.
    pub(crate) fn tls(address: SocketAddr, manner: Manner<'_>) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(manner.trusts).expect("a certificate"))
            .expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(manner.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match manner.identity {
            None => builder.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("an identity")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        Self(Box::new(StreamOwned::new(connection, tcp(address))))
    }

    /// What comes back for `line`, as a request of its words.
    pub(crate) fn command(&mut self, line: &str) -> io::Result<String> {
        let words: Vec<_> = line.split(' ').collect();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.send(request.as_bytes())?;
        self.reply()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// One line, and the bytes that it announces.
    pub(crate) fn reply(&mut self) -> io::Result<String> {
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            reply.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&reply).into_owned();
        if let Some(length) = text.strip_prefix('$').and_then(|text| text.trim_end().parse::<usize>().ok()) {
            let mut body = vec![0; length + 2];
            self.0.read_exact(&mut body)?;
            return Ok(String::from_utf8_lossy(&body[..length]).into_owned());
        }
        Ok(text.trim_end().to_owned())
    }

    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}
