//! Packets, and their checksums.

use std::vec::Vec;

use crate::checksum::{fold, of_bytes};
use crate::packet::{ETHERNET, TCP};

/// Which of the two forms the TCP checksum has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The field holds the folded sum of the pseudo-header; the device computes the rest.
    Partial,
    /// The field holds the checksum.
    Complete,
}

/// Index of the device that frames come from if nothing else is said: any but loopback's.
pub const DEVICE: u32 = 2;

/// An Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Form of the TCP checksum.
    pub checksum: Checksum,
    /// The packet's mark.
    pub mark: u32,
    /// Port of the socket that has sent it, 0 if there is none.
    pub sender_port: u16,
    /// The VLAN tag that the device has taken off, as it stood there.
    pub tag: Option<u16>,
    /// Whether its link address is the device's.
    pub for_this_host: bool,
    /// Index of the device.
    pub ifindex: u32,
    /// What the programs have left with it.
    pub seen: u32,
}

/// Where the parts of a packet are that has no extension headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) v6: bool,
    pub(crate) tcp: usize,
    pub(crate) end: usize,
}

impl Frame {
    /// A frame around an IP packet.
    #[must_use]
    pub fn of_ip(packet: &[u8], source: [u8; 6], destination: [u8; 6], checksum: Checksum) -> Self {
        let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let mut bytes = Vec::with_capacity(packet.len() + 14);
        bytes.extend_from_slice(&destination);
        bytes.extend_from_slice(&source);
        bytes.extend_from_slice(&kind);
        bytes.extend_from_slice(packet);
        let mut frame = Self {
            bytes,
            checksum: Checksum::Complete,
            mark: 0,
            sender_port: 0,
            tag: None,
            for_this_host: true,
            ifindex: DEVICE,
            seen: 0,
        };
        if checksum == Checksum::Partial {
            frame.make_partial();
        }
        frame
    }

    pub(crate) fn parts(&self) -> Parts {
        let ip = &self.bytes[ETHERNET as usize..];
        let v6 = ip[0] >> 4 == 6;
        let header = if v6 { 40 } else { usize::from(ip[0] & 15) * 4 };
        let field = number(ip, if v6 { 4 } else { 2 });
        let len = match field {
            // What is cut into segments later, and longer than the field can tell.
            0 => ip.len(),
            _ if v6 => 40 + field,
            _ => field,
        };
        Parts { v6, tcp: ETHERNET as usize + header, end: ETHERNET as usize + len }
    }

    fn pseudo_sum(&self, parts: &Parts) -> u64 {
        let ip = &self.bytes[ETHERNET as usize..];
        let addresses = if parts.v6 { &ip[8..40] } else { &ip[12..20] };
        of_bytes(addresses) + u64::from(TCP) + (parts.end - parts.tcp) as u64
    }

    /// The TCP checksum that the packet should have in its form, whatever it has.
    #[must_use]
    pub fn right_checksum(&self) -> u16 {
        let parts = self.parts();
        let pseudo = self.pseudo_sum(&parts);
        if self.checksum == Checksum::Partial {
            return fold(pseudo);
        }
        let tcp = &self.bytes[parts.tcp..parts.end];
        let field = of_bytes(&tcp[16..18]);
        let sum = pseudo + of_bytes(tcp);
        // Without the field: one's complement subtraction.
        !fold(sum + u64::from(!(field as u16)))
    }

    /// Sets IP and TCP checksums right.
    pub fn seal(&mut self) {
        let parts = self.parts();
        if !parts.v6 {
            self.bytes[24..26].fill(0);
            let sum = !fold(of_bytes(&self.bytes[ETHERNET as usize..parts.tcp]));
            self.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let at = parts.tcp + 16;
        self.bytes[at..at + 2].fill(0);
        let sum = self.right_checksum();
        self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// Leaves the TCP checksum to the device.
    pub fn make_partial(&mut self) {
        self.checksum = Checksum::Partial;
        self.seal();
    }

    /// Does what a device does: completes the TCP checksum.
    pub fn complete(&mut self) {
        self.checksum = Checksum::Complete;
        self.seal();
    }

    /// Says what is wrong with the packet's lengths and checksums.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        let parts = self.parts();
        if parts.end != self.bytes.len() {
            return Err("IP length is not the packet's");
        }
        if !parts.v6 && fold(of_bytes(&self.bytes[ETHERNET as usize..parts.tcp])) != 0xffff {
            return Err("IP checksum is wrong");
        }
        let field = number(&self.bytes, parts.tcp + 16) as u16;
        // 0 and 0xffff are the same number.
        let right = self.right_checksum();
        if field != right && (field ^ right) != 0xffff {
            return Err("TCP checksum is wrong");
        }
        Ok(())
    }

    /// The IP packet in the frame.
    #[must_use]
    pub fn ip(&self) -> &[u8] {
        &self.bytes[ETHERNET as usize..]
    }
}

pub(crate) fn number(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}
