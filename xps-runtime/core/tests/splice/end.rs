//! One end of the connection: smoltcp over a queue of packets.

use std::cell::Cell;
use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

thread_local! {
    static MILLISECONDS: Cell<u32> = const { Cell::new(0) };
}

/// Sets the clock that timestamps are taken from.
pub fn set_clock(now_us: u64) {
    MILLISECONDS.set((now_us / 1000) as u32);
}

/// Packets in and out, from the IP header on.
pub struct Queue {
    pub received: VecDeque<Vec<u8>>,
    pub sent: Vec<Vec<u8>>,
    mss: u16,
}

pub struct Received(Vec<u8>);
pub struct Sending<'a>(&'a mut Vec<Vec<u8>>, u16);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push(as_linux_sends(&bytes, self.1));
        result
    }
}

impl Device for Queue {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Sending(&mut self.sent, self.mss)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent, self.mss))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // It would send segments with options beyond a tight one. What bounds them here is the other's segment size.
        capabilities.max_transmission_unit = 9000;
        capabilities
    }
}

/// What makes the ends of one run differ from those of another.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// The segment size that it asks for.
    pub mss: u16,
    pub receive_buffer: usize,
    pub send_buffer: usize,
    pub timestamps: bool,
    pub delayed_ack: bool,
    pub nagle: bool,
    pub keep_alive: bool,
}

pub struct End {
    pub queue: Queue,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub handle: SocketHandle,
    manners: Manners,
}

impl End {
    pub fn new(address: IpAddress, manners: Manners, seed: u64) -> Self {
        let mut queue = Queue { received: VecDeque::new(), sent: Vec::new(), mss: manners.mss };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut queue, Instant::ZERO);
        let prefix = if matches!(address, IpAddress::Ipv6(_)) { 64 } else { 24 };
        interface
            .update_ip_addrs(|all| all.push(IpCidr::new(address, prefix)).expect("room for one address"));
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket(manners));
        Self { queue, interface, sockets, handle, manners }
    }

    /// A socket that nothing is known of.
    pub fn renew(&mut self) {
        self.sockets.remove(self.handle);
        self.handle = self.sockets.add(socket(self.manners));
    }

    pub fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Lets the stack work. What it sends is in the queue.
    pub fn poll(&mut self, now_us: u64) {
        let now = Instant::from_micros(now_us as i64);
        self.interface.poll(now, &mut self.queue, &mut self.sockets);
    }

    /// When it wants to work again.
    pub fn wakes_at(&mut self, now_us: u64) -> Option<u64> {
        let now = Instant::from_micros(now_us as i64);
        let at = self.interface.poll_at(now, &self.sockets)?;
        Some((at.total_micros() as u64).max(now_us))
    }
}

fn socket(manners: Manners) -> tcp::Socket<'static> {
    let receive = tcp::SocketBuffer::new(vec![0; manners.receive_buffer]);
    let send = tcp::SocketBuffer::new(vec![0; manners.send_buffer]);
    let mut socket = tcp::Socket::new(receive, send);
    if manners.timestamps {
        socket.set_tsval_generator(Some(|| MILLISECONDS.get()));
    }
    if !manners.delayed_ack {
        socket.set_ack_delay(None);
    }
    socket.set_nagle_enabled(manners.nagle);
    if manners.keep_alive {
        socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(2)));
    }
    socket
}

/// Lays TCP options out as Linux does (RFC 7323 appendix A): timestamps first, behind two bytes of padding. A SYN asks for
/// segments of `mss` bytes.
fn as_linux_sends(packet: &[u8], mss: u16) -> Vec<u8> {
    let v6 = packet[0] >> 4 == 6;
    let tcp = if v6 { 40 } else { 20 };
    if packet[if v6 { 6 } else { 9 }] != 6 {
        return packet.to_vec();
    }
    if packet[tcp + 13] & 2 != 0 {
        let mut syn = packet.to_vec();
        assert_eq!(syn[tcp + 20], 2, "the segment size comes first");
        syn[tcp + 22..tcp + 24].copy_from_slice(&mss.to_be_bytes());
        return syn;
    }
    let header = usize::from(packet[tcp + 12] >> 4) * 4;
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut at = tcp + 20;
    while at < tcp + header && packet[at] != 0 {
        if packet[at] == 1 {
            at += 1;
            continue;
        }
        let option = &packet[at..at + usize::from(packet[at + 1])];
        let to = if option[0] == 8 { &mut first } else { &mut rest };
        to.extend_from_slice(&[1, 1]);
        to.extend_from_slice(option);
        at += option.len();
    }
    first.extend(rest);
    assert!(first.len().is_multiple_of(4), "{first:?}");
    let mut payload = &packet[tcp + header..];
    if payload == [0] && packet[tcp + 13] == 16 {
        // A keepalive probe. Its byte is not of the stream, but a receiver that lacks that one would take it for it.
        payload = &[];
    }
    let mut to = packet[..tcp + 20].to_vec();
    to[tcp + 12] = (((20 + first.len()) / 4) << 4) as u8;
    to.extend(first);
    to.extend_from_slice(payload);
    let len = (to.len() - if v6 { 40 } else { 0 }) as u16;
    let field = if v6 { 4 } else { 2 };
    to[field..field + 2].copy_from_slice(&len.to_be_bytes());
    to
}
