//! Packets written down for tests.

use std::vec::Vec;

use super::frame::{Checksum, Frame};
use crate::flow::FlowKey;
use crate::packet::mapped;
use crate::splice::tcp_flag::{ACK, SYN};

/// Where clients of XPS connect in these packets.
pub const ACCELERATED_PORT: u16 = 6380;
/// Where the server listens in these packets.
pub const PLAIN_PORT: u16 = 6379;
/// The client's port.
pub const CLIENT_PORT: u16 = 40_000;

/// The server's addresses in these packets.
pub const SERVERS: [[u8; 16]; 2] = [mapped([10, 0, 0, 2]), v6(2)];

/// A TCP segment between the client (10.0.0.1 or fd00::1) and the server (10.0.0.2 or fd00::2).
#[derive(Clone, Debug)]
pub struct Text {
    /// Whether the server sends it.
    pub from_server: bool,
    /// Over IPv6.
    pub v6: bool,
    /// The server's port.
    pub port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// TCP flags.
    pub flags: u8,
    /// Window field.
    pub window: u16,
    /// TCP options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv4 options, likewise.
    pub ip_options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
    /// IPv4 fragment field, or for IPv6 whether there is a fragment header.
    pub fragment: u16,
    /// Time to live.
    pub hops: u8,
    /// IPv4 identification.
    pub id: u16,
    /// IPv4's TOS or IPv6's traffic class.
    pub service: u8,
}

/// A client's segment to the accelerated port.
#[must_use]
pub fn client(seq: u32, ack: u32, payload: &[u8]) -> Text {
    Text {
        from_server: false,
        v6: false,
        port: ACCELERATED_PORT,
        seq,
        ack,
        flags: if payload.is_empty() { ACK } else { ACK | crate::splice::tcp_flag::PSH },
        window: 1000,
        options: Vec::new(),
        ip_options: Vec::new(),
        payload: payload.to_vec(),
        fragment: 0x4000,
        hops: 64,
        id: 0x1234,
        service: 0,
    }
}

/// A server's segment from the accelerated port.
#[must_use]
pub fn server(seq: u32, ack: u32, payload: &[u8]) -> Text {
    Text { from_server: true, window: 500, ..client(seq, ack, payload) }
}

impl Text {
    /// With other flags.
    #[must_use]
    pub fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// With another TOS or traffic class.
    #[must_use]
    pub fn service(self, service: u8) -> Self {
        Self { service, ..self }
    }

    /// With another port of the server.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// With TCP options.
    #[must_use]
    pub fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// With timestamps as Linux lays them out.
    #[must_use]
    pub fn timestamps(self, tsval: u32, tsecr: u32) -> Self {
        let mut options = std::vec![1, 1, 8, 10];
        options.extend(tsval.to_be_bytes());
        options.extend(tsecr.to_be_bytes());
        options.extend_from_slice(&self.options);
        Self { options, ..self }
    }

    /// As the SYN or SYN-ACK that opens the connection, with a segment size of 1460 bytes.
    #[must_use]
    pub fn opening(self) -> Self {
        let flags = if self.from_server { SYN | ACK } else { SYN };
        let options = if self.options.is_empty() { std::vec![2, 4, 5, 180] } else { self.options.clone() };
        Self { flags, options, ..self }
    }

    /// Over IPv6, or not.
    #[must_use]
    pub fn over(self, v6: bool) -> Self {
        Self { v6, ..self }
    }

    /// The key of the packet's flow.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        let address = |last| if self.v6 { v6(last) } else { mapped([10, 0, 0, last]) };
        FlowKey {
            client: address(1),
            server: address(2),
            client_port: CLIENT_PORT,
            server_port: self.port,
            padding: 0,
        }
    }

    /// The packet, with a complete checksum.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let (source, destination, source_port, destination_port) =
            if self.from_server { (2, 1, self.port, CLIENT_PORT) } else { (1, 2, CLIENT_PORT, self.port) };
        let tcp_header = 20 + self.options.len();
        let tcp_len = tcp_header + self.payload.len();
        let mut ip = Vec::new();
        if self.v6 {
            let extension = if self.fragment & 0x3fff == 0 { 0 } else { 8 };
            ip.extend([0x60 | self.service >> 4, self.service << 4, 0, 0]);
            ip.extend(length_field(tcp_len + extension));
            ip.extend([if extension == 0 { 6 } else { 44 }, self.hops]);
            ip.extend(v6(source));
            ip.extend(v6(destination));
            if extension != 0 {
                ip.extend([6, 0, 0, 1, 0, 0, 0, 7]);
            }
        } else {
            let header = 20 + self.ip_options.len();
            ip.extend([0x40 | (header / 4) as u8, self.service]);
            ip.extend(length_field(header + tcp_len));
            ip.extend(self.id.to_be_bytes());
            ip.extend(self.fragment.to_be_bytes());
            ip.extend([self.hops, 6, 0, 0]);
            ip.extend([10, 0, 0, source]);
            ip.extend([10, 0, 0, destination]);
            ip.extend_from_slice(&self.ip_options);
        }
        ip.extend(source_port.to_be_bytes());
        ip.extend(destination_port.to_be_bytes());
        ip.extend(self.seq.to_be_bytes());
        ip.extend(self.ack.to_be_bytes());
        ip.extend([((tcp_header / 4) << 4) as u8, self.flags]);
        ip.extend(self.window.to_be_bytes());
        ip.extend([0; 4]);
        ip.extend_from_slice(&self.options);
        ip.extend_from_slice(&self.payload);
        let mac = |last| [2, 0, 0, 0, 0, last];
        let mut frame = Frame::of_ip(&ip, mac(source), mac(destination), Checksum::Complete);
        if !(self.v6 && self.fragment & 0x3fff != 0) {
            frame.seal();
        }
        frame
    }
}

/// A length as an IP header has it: 0 if it is larger than the field can tell.
fn length_field(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(0).to_be_bytes()
}

const fn v6(last: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}
