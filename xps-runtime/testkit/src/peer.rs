//! One connection's numbers, as its client has them: what an honest segment looks like now.

use std::net::IpAddr;

use xps_core::splice::tcp_flag;

use crate::heard::Segment;
use crate::options::{self, Layout};
use crate::packet::{Checksum, Packet};

/// The client's side of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Link addresses: the client's and the server's.
    pub link: [[u8; 6]; 2],
    /// The client's address and port.
    pub client: (IpAddr, u16),
    /// The server's address and port.
    pub server: (IpAddr, u16),
    /// The number of the SYN.
    pub isn: u32,
    /// The next byte to send.
    pub next: u32,
    /// The next byte of the server.
    pub ack: u32,
    /// The server's initial number, once it is known.
    pub server_isn: Option<u32>,
    /// Whether timestamps are offered, or in use.
    pub timestamps: bool,
    /// The next timestamp.
    pub tsval: u32,
    /// The server's last one.
    pub tsecr: u32,
    /// The window that is offered.
    pub window: u16,
    /// The shift that is offered, or in use.
    pub shift: Option<u8>,
    /// The server's shift.
    pub server_shift: u8,
    /// The server's last acknowledgement.
    pub acked: u32,
    /// Where the server's receive window ends.
    pub edge: u32,
    /// Whether the server has reset the connection.
    pub reset: bool,
    id: u16,
}

impl Peer {
    /// A connection that is not opened yet.
    #[must_use]
    pub fn new(
        client: IpAddr,
        client_port: u16,
        server: IpAddr,
        server_port: u16,
        isn: u32,
        link_client: [u8; 6],
        link_server: [u8; 6],
    ) -> Self {
        Self {
            link: [link_client, link_server],
            client: (client, client_port),
            server: (server, server_port),
            isn,
            next: isn,
            ack: 0,
            server_isn: None,
            timestamps: true,
            tsval: isn.rotate_left(7),
            tsecr: 0,
            window: 60_000,
            shift: Some(2),
            server_shift: 0,
            acked: isn,
            edge: isn,
            reset: false,
            id: isn as u16,
        }
    }

    /// An honest acknowledgement, which payload may be put into.
    pub fn packet(&mut self) -> Packet {
        self.id = self.id.wrapping_add(1);
        self.tsval = self.tsval.wrapping_add(1);
        Packet {
            link_source: self.link[0],
            link_destination: self.link[1],
            tags: Vec::new(),
            ether_type: None,
            source: self.client.0,
            destination: self.server.0,
            first_byte: None,
            traffic_class: 0,
            length_error: 0,
            id: self.id,
            fragment: 0x4000,
            hops: 64,
            protocol: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            ip_checksum: Checksum::Right,
            source_port: self.client.1,
            destination_port: self.server.1,
            seq: self.next,
            ack: self.ack,
            data_offset: None,
            flags: u16::from(tcp_flag::ACK),
            window: self.window,
            urgent: 0,
            options: if self.timestamps { Layout::Usual.write(self.tsval, self.tsecr) } else { Vec::new() },
            tcp_checksum: Checksum::Right,
            payload: Vec::new(),
            trailer: Vec::new(),
            cut: None,
        }
    }

    /// The SYN.
    pub fn syn(&mut self) -> Packet {
        let timestamps = self.timestamps.then(|| self.tsval.wrapping_add(1));
        Packet {
            seq: self.isn,
            ack: 0,
            flags: u16::from(tcp_flag::SYN),
            options: options::of_syn(1460, self.shift, timestamps, true),
            ..self.packet()
        }
    }

    /// Takes a segment of the server. Whether it brought new bytes, or a FIN, that want to be acknowledged.
    pub fn hear(&mut self, segment: &Segment) -> bool {
        let has = |flag: u8| segment.flags & flag != 0;
        if has(tcp_flag::RST) {
            self.reset = true;
            return false;
        }
        if has(tcp_flag::SYN) {
            // Of several SYNs the one that is answered is the connection's.
            if self.server_isn.is_none() && has(tcp_flag::ACK) {
                self.isn = segment.ack.wrapping_sub(1);
                self.server_isn = Some(segment.seq);
                self.ack = segment.seq.wrapping_add(1);
                self.next = segment.ack;
                self.acked = segment.ack;
                self.timestamps &= segment.options.timestamp.is_some();
                self.tsecr = segment.options.timestamp.unwrap_or(0);
                match segment.options.shift {
                    Some(shift) if self.shift.is_some() => self.server_shift = shift,
                    _ => self.shift = None,
                }
                self.edge = segment.ack.wrapping_add(u32::from(segment.window));
            }
            return false;
        }
        let new = segment.payload.len() as u32 + u32::from(has(tcp_flag::FIN));
        let fresh = new != 0 && segment.seq == self.ack;
        if fresh {
            self.ack = self.ack.wrapping_add(new);
        }
        if let Some(timestamp) = segment.options.timestamp {
            self.tsecr = timestamp;
        }
        if has(tcp_flag::ACK) {
            self.acked = segment.ack;
            self.edge = segment.ack.wrapping_add(u32::from(segment.window) << self.server_shift.min(14));
        }
        fresh
    }
}
