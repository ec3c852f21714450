//! A packet as [`Stack`].

use std::boxed::Box;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::vec::Vec;

use super::frame::{Checksum, Frame, number};
use super::{Machine, Outcome};
use crate::abi::{Bypass, Control, Local};
use crate::binding;
use crate::checksum::{fold, of_bytes};
use crate::flow::{Flow, FlowKey};
use crate::handler::{Handler, REPLY_MAX, Reply, Scan, WINDOW, Window};
use crate::handshake::Mark;
use crate::packet::{ETHERNET, Layout, Skb, Tcp};
use crate::path::arrival::{SERVICE_VLAN, VLAN};
use crate::path::{Action, Direction, Scratch, Socket, Stack, Target, headers, ingress, local};
use crate::predicate::Predicate;
use crate::verdict::Reason;

/// A packet that a program was called with, on a CPU of its own.
pub(super) struct Packet<'a, H: Handler> {
    machine: &'a Machine<H>,
    frame: RefCell<Frame>,
    linear: Cell<u32>,
    scratch: Box<UnsafeCell<Scratch<H::Scratch>>>,
    target: Cell<Option<Target>>,
    via: Cell<u32>,
    copies: RefCell<Vec<(Target, Frame)>>,
}

impl<'a, H: Handler> Packet<'a, H> {
    pub(super) fn new(
        machine: &'a Machine<H>,
        frame: Frame,
        scratch: Scratch<H::Scratch>,
        linear: u32,
    ) -> Self {
        let frame = RefCell::new(frame);
        let scratch = Box::new(UnsafeCell::new(scratch));
        Self {
            machine,
            frame,
            linear: Cell::new(linear),
            scratch,
            target: Cell::new(None),
            via: Cell::new(0),
            copies: RefCell::default(),
        }
    }

    pub(super) fn outcome(self, action: Action) -> Outcome {
        let copies = self.copies.into_inner();
        Outcome {
            action,
            frame: self.frame.into_inner(),
            target: self.target.get(),
            via: self.via.get(),
            copies,
        }
    }

    fn size(&self) -> u32 {
        self.frame.borrow().bytes.len() as u32
    }

    /// Overwrites bytes, and keeps a complete checksum right if they are at `layout`'s TCP header.
    fn replace(&self, layout: &Layout, offset: u32, old: &[u8], new: &[u8]) -> bool {
        if !self.machine.write_succeeds() {
            return false;
        }
        let mut frame = self.frame.borrow_mut();
        let field = (layout.tcp + 16) as usize;
        let at = (layout.tcp + offset) as usize;
        assert_eq!(&frame.bytes[at..at + old.len()], old, "what is replaced is not what is there");
        if frame.checksum == Checksum::Complete {
            // RFC 1624 §3, equation 3.
            let sum = u64::from(!(number(&frame.bytes, field) as u16));
            let sum = sum + u64::from(!fold(of_bytes(old))) + of_bytes(new);
            frame.bytes[field..field + 2].copy_from_slice(&(!fold(sum)).to_be_bytes());
        }
        frame.bytes[at..at + new.len()].copy_from_slice(new);
        true
    }

    /// `refill` of the kernel's glue.
    fn refill(&self, scratch: *mut Scratch<H::Scratch>) -> Result<bool, ()> {
        // SAFETY: this CPU's working memory.
        let (reading, window) = unsafe { (&mut (*scratch).reading, &mut (*scratch).window) };
        if reading.position >= reading.end {
            reading.skip = reading.position - reading.end;
            return Ok(false);
        }
        Stack::<H>::settle_shown(self, scratch);
        // SAFETY: this CPU's working memory.
        let to_cut = unsafe { (*scratch).shown.to_cut(reading.position) };
        let len = (reading.end - reading.position).min(WINDOW as u32).min(to_cut);
        let from = (reading.payload + reading.position) as usize;
        let frame = self.frame.borrow();
        let part = frame.bytes.get(from..from + len as usize).ok_or(())?;
        window.bytes[..part.len()].copy_from_slice(part);
        window.at = 0;
        window.len = len;
        window.base = reading.position;
        // SAFETY: this CPU's working memory.
        unsafe { (*scratch).shown.take(reading.position, len) };
        Ok(true)
    }
}

impl<H: Handler> Skb for Packet<'_, H> {
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // As in the kernel's glue: offsets are masked.
        let at = (offset & 0x1ff) as usize;
        if at + N > self.linear.get() as usize {
            return None;
        }
        self.frame.borrow().bytes.get(at..at + N)?.try_into().ok()
    }

    fn reach(&self, len: u32) {
        let len = len & 0x1ff;
        if len > self.linear.get() {
            self.linear.set(len.min(self.size()));
        }
    }

    fn protocol(&self) -> u16 {
        number(&self.frame.borrow().bytes, 12) as u16
    }

    fn uncut_len(&self) -> u32 {
        let size = self.size();
        if size > ETHERNET + u32::from(u16::MAX) { size } else { 0 }
    }

    fn completed_later(&self, _: u32) -> bool {
        self.frame.borrow().checksum == Checksum::Partial
    }
}

impl<H: Handler> Stack<H> for Packet<'_, H> {
    fn len(&self) -> u32 {
        self.size()
    }

    fn vlan(&self) -> Option<u16> {
        self.frame.borrow().tag.map(|tag| tag & 0xfff)
    }

    fn priority_tags_off(&self) -> bool {
        local::priority_tags_off::<H, _>(self)
    }

    fn pop_tag(&self) -> bool {
        let mut frame = self.frame.borrow_mut();
        frame.tag = None;
        if [VLAN, SERVICE_VLAN].contains(&(number(&frame.bytes, 12) as u16)) {
            frame.tag = Some(number(&frame.bytes, 14) as u16);
            frame.bytes.drain(12..16);
        }
        true
    }

    fn for_this_host(&self) -> bool {
        self.frame.borrow().for_this_host
    }

    fn ifindex(&self) -> u32 {
        self.frame.borrow().ifindex
    }

    fn vrf(&self) -> Option<u32> {
        self.machine.vrfs.borrow().get(&self.frame.borrow().ifindex).copied()
    }

    fn local(&self, address: &[u8; 16]) -> Option<*const Local> {
        self.machine.locals.borrow().get(address).map(|local| core::ptr::from_ref(&**local))
    }

    fn role(&self, scratch: *mut Scratch<H::Scratch>, asked: local::Asked) -> u32 {
        local::role::<H, _>(self, scratch, asked)
    }

    fn seen(&self) -> u32 {
        self.frame.borrow().seen
    }

    fn set_seen(&self, word: u32) {
        self.frame.borrow_mut().seen = word;
    }

    fn sender_port(&self) -> u16 {
        self.frame.borrow().sender_port
    }

    fn packet_mark(&self) -> u32 {
        self.frame.borrow().mark
    }

    fn port(&self, port: u16) -> u8 {
        self.machine.ports.borrow()[usize::from(port)]
    }

    fn predicate(&self, index: u8) -> Option<*const Predicate> {
        self.machine.predicates.get(usize::from(index)).map(core::ptr::from_ref)
    }

    fn control(&self) -> Option<*const Control> {
        Some(self.machine.control.get())
    }

    fn now_ns(&self) -> u64 {
        self.machine.now_ns.get()
    }

    fn count(&self, reason: Reason, n: u64) {
        self.machine.counters.borrow_mut()[reason as usize] += n;
    }

    fn flows(&self, n: i64) -> u64 {
        let flows = self.machine.number_of_flows.get() + n;
        self.machine.number_of_flows.set(flows);
        flows as u64
    }

    fn foreign(&self) {
        self.machine.foreign.set(self.machine.foreign.get() + 1);
    }

    fn unseen(&self, _: &FlowKey, _: Bypass) {
        self.machine.foreign.set(self.machine.foreign.get() + 1);
    }

    fn scratch(&self) -> Option<*mut Scratch<H::Scratch>> {
        Some(self.scratch.get())
    }

    fn flow(&self, key: &FlowKey) -> Option<*mut Flow<H::State>> {
        self.machine.yield_now();
        self.machine.flows.borrow().get(key).map(|flow| flow.get())
    }

    fn insert_flow(&self, key: &FlowKey) -> bool {
        let mut flows = self.machine.flows.borrow_mut();
        if flows.contains_key(key) || flows.len() >= self.machine.flows_room.get() {
            return false;
        }
        flows.insert(*key, Box::new(UnsafeCell::new(self.machine.new_flow())));
        true
    }

    fn remove_flow(&self, key: &FlowKey) -> bool {
        let removed = self.machine.flows.borrow_mut().remove(key);
        // Its memory stays while programs run.
        let there = removed.is_some();
        self.machine.removed.borrow_mut().extend(removed);
        there
    }

    fn mark(&self, slot: u32) -> Option<*mut Mark> {
        self.machine.marks.get(slot as usize).map(UnsafeCell::get)
    }

    fn socket(&self, key: &FlowKey, v6: bool) -> Socket {
        assert_eq!(v6, key.client[..12] != [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        self.machine.sockets.borrow().get(key).copied().unwrap_or(Socket::Free)
    }

    fn answers_cookie(&self, _: bool) -> bool {
        self.machine.cookies.get()
    }

    fn is_own(&self, key: &FlowKey) -> bool {
        self.machine.own.borrow().contains(key)
    }

    fn listens(&self, key: &FlowKey, _: bool, _: u16) -> bool {
        // A server that is not there has no socket for the key either.
        self.machine.sockets.borrow().get(key) != Some(&Socket::Absent)
    }

    fn lock(&self, flow: *mut Flow<H::State>) {
        self.machine.yield_now();
        assert!(!self.machine.locked.replace(true), "two locks are held");
        // SAFETY: a flow's memory stays while programs run.
        let val = unsafe { &mut (*flow).lock.val };
        assert_eq!(core::mem::replace(val, 1), 0, "the lock is held");
    }

    fn unlock(&self, flow: *mut Flow<H::State>) {
        assert!(self.machine.locked.replace(false), "no lock is held");
        // SAFETY: as in `lock`.
        let val = unsafe { &mut (*flow).lock.val };
        assert_eq!(core::mem::replace(val, 0), 1, "this lock is not held");
        self.machine.yield_now();
    }

    fn release(&self, claim: *mut u64) {
        self.machine.yield_now();
        // SAFETY: a field of a flow, whose memory stays while programs run.
        let claim = unsafe { &mut *claim };
        assert_eq!(core::mem::replace(claim, 0), 1, "there is no claim");
    }

    fn scan(
        &self,
        handler: &H,
        direction: Direction,
        flow: *mut Flow<H::State>,
        scratch: *mut Scratch<H::Scratch>,
    ) -> bool {
        // SAFETY: this CPU's working memory.
        unsafe {
            (*scratch).window.at = 0;
            (*scratch).window.len = 0;
        }
        for _ in 0..64 * 256 {
            // SAFETY: as above.
            if unsafe { (*scratch).window.at >= (*scratch).window.len } {
                match self.refill(scratch) {
                    Ok(true) => {}
                    Ok(false) => return true,
                    Err(()) => return false,
                }
            }
            self.machine.yield_now();
            // SAFETY: the claim on this direction of the flow; this CPU's working memory.
            let (state, window, own) =
                unsafe { (&mut (*flow).handler, &mut (*scratch).window, &mut (*scratch).handler) };
            let scan = match direction {
                Direction::Request
                    if H::REMEMBERS && window.at == 0 && handler.recall(window, state, own) =>
                {
                    window.at = window.len;
                    Scan::Settle
                }
                Direction::Request => {
                    let scan = handler.request(window, state, own);
                    if H::REMEMBERS && scan == Scan::Settle {
                        handler.remember(window, state, own);
                    }
                    scan
                }
                Direction::Response => handler.response(window, state, own),
            };
            if scan == Scan::Opaque {
                return false;
            }
            if scan == Scan::Settle {
                handler.settle(state, own);
            }
            // SAFETY: this CPU's working memory.
            unsafe { (*scratch).reading.advance(&mut (*scratch).window, scan) };
        }
        false
    }

    fn settle_shown(&self, scratch: *mut Scratch<H::Scratch>) {
        // SAFETY: this CPU's working memory, and the agent's word.
        unsafe {
            let (key, window) = ((*self.machine.control.get()).secret, &(*scratch).window);
            (*scratch).shown.settle(|offset, len| binding::digest(key, window, offset, len));
        }
    }

    fn digest(&self, _: *mut Scratch<H::Scratch>, at: u32, len: u32) -> u64 {
        // SAFETY: the agent's word.
        let key = unsafe { (*self.machine.control.get()).secret };
        let frame = self.frame.borrow();
        let windows =
            frame.bytes[at as usize..][..len as usize].chunks(WINDOW).enumerate().map(|(nth, part)| {
                let mut window = Window::EMPTY;
                window.bytes[..part.len()].copy_from_slice(part);
                binding::digest(key, &window, (nth * WINDOW) as u32, part.len() as u32)
            });
        windows.fold(0, u64::wrapping_add)
    }

    fn cut(&self) -> u32 {
        0
    }

    fn verify(&self, layout: &Layout, tcp: &Tcp) -> bool {
        if headers::partial(self, layout, tcp) {
            return true;
        }
        let Some(pseudo) = headers::pseudo_sum(self, layout, layout.end - layout.tcp) else { return false };
        let frame = self.frame.borrow();
        let Some(bytes) = frame.bytes.get(layout.tcp as usize..layout.end as usize) else { return false };
        fold(pseudo + of_bytes(bytes)) == 0xffff
    }

    fn read_options(&self, offset: u32, len: u32, scratch: *mut Scratch<H::Scratch>) -> bool {
        let frame = self.frame.borrow();
        let (at, len) = (offset as usize, len as usize);
        let Some(bytes) = frame.bytes.get(at..at + len) else { return false };
        if bytes.is_empty() || bytes.len() > 40 {
            return false;
        }
        // SAFETY: this CPU's working memory.
        let options = unsafe { &mut (*scratch).options };
        options.bytes[..len].copy_from_slice(bytes);
        options.len = len as u32;
        options.walk();
        true
    }

    fn replace_numbers(&self, layout: &Layout, old: &[u32; 2], new: &[u32; 2]) -> bool {
        let bytes = |words: &[u32; 2]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        self.replace(layout, 4, &bytes(old), &bytes(new))
    }

    fn replace_half(&self, layout: &Layout, offset: u32, old: u16, new: u16) -> bool {
        self.replace(layout, offset, &old.to_be_bytes(), &new.to_be_bytes())
    }

    fn replace_word(&self, offset: u32, checksum: u32, old: u32, new: u32) -> bool {
        if !self.machine.write_succeeds() {
            return false;
        }
        let mut frame = self.frame.borrow_mut();
        let at = offset as usize;
        if !offset.is_multiple_of(2) || frame.bytes.get(at..at + 4) != Some(&old.to_ne_bytes()[..]) {
            return false;
        }
        frame.bytes[at..at + 4].copy_from_slice(&new.to_ne_bytes());
        let sum = number(&frame.bytes, checksum as usize) as u16;
        let sum = u64::from(!sum) + of_bytes(&(!old).to_ne_bytes()) + of_bytes(&new.to_ne_bytes());
        frame.bytes[checksum as usize..][..2].copy_from_slice(&(!fold(sum)).to_be_bytes());
        true
    }

    fn send_pieces(&self, scratch: *mut Scratch<H::Scratch>, flow: *mut Flow<H::State>) -> u32 {
        ingress::pieces::send::<H, _>(self, scratch, flow)
    }

    fn write(&self, scratch: *mut Scratch<H::Scratch>, reply: Option<*const Reply>) -> bool {
        self.machine.yield_now();
        headers::write::<H, _>(self, scratch, reply)
    }

    fn set_len(&self, len: u32) -> bool {
        if !self.machine.write_succeeds() {
            return false;
        }
        self.frame.borrow_mut().bytes.resize(len as usize, 0);
        self.linear.set(self.linear.get().min(len));
        true
    }

    fn store_header(&self, scratch: *const Scratch<H::Scratch>, len: u32) -> bool {
        if len == 0 || len > headers::MAX as u32 || !self.machine.write_succeeds() {
            return false;
        }
        // SAFETY: this CPU's working memory.
        let header = unsafe { &(*scratch).header };
        self.frame.borrow_mut().bytes[..len as usize].copy_from_slice(&header[..len as usize]);
        true
    }

    fn store_reply(&self, offset: u32, reply: *const Reply, piece: u32) -> bool {
        self.machine.yield_now();
        // SAFETY: a reply in a flow, whose memory stays; copied, since another CPU may write it.
        let Reply { bytes, len, .. } = unsafe { *reply };
        let (at, len) = (offset as usize, len as usize);
        if len == 0 || len > REPLY_MAX || !self.machine.write_succeeds() {
            return false;
        }
        let mut frame = self.frame.borrow_mut();
        // A helper fails beyond the packet's end.
        let (from, part) = headers::piece_of(len as u32, piece);
        let (from, part) = (from as usize, part as usize);
        let Some(to) = frame.bytes.get_mut(at..at + part) else { return false };
        to.copy_from_slice(&bytes[..len][from..from + part]);
        true
    }

    fn sum_reply(&self, reply: *const Reply, piece: u32) -> u64 {
        // SAFETY: a reply in a flow, as above.
        let Reply { bytes, len, .. } = unsafe { *reply };
        let len = (len as usize).min(REPLY_MAX);
        let whole = len.next_multiple_of(4);
        assert!(bytes[len..whole].iter().all(|byte| *byte == 0), "the reply's last word is not sealed");
        let (from, part) = headers::piece_of(len as u32, piece);
        if part == 0 {
            return 0;
        }
        assert_eq!(from % 4, 0, "a piece begins within a word");
        let end = (from + part) as usize;
        assert!(end == len || end.is_multiple_of(4), "a piece ends within a word");
        of_bytes(&bytes[from as usize..end.next_multiple_of(4)])
    }

    fn socket_mss(&self, _: &FlowKey, _: bool) -> u16 {
        self.machine.mss.get()
    }

    fn redirect(&self, target: Target, mark: u32, via: u32) -> Action {
        self.via.set(via);
        self.frame.borrow_mut().mark = mark;
        self.target.set(Some(target));
        Action::Redirected(7)
    }

    fn send_copy(&self, target: Target, mark: u32) -> bool {
        let mut frame = self.frame.borrow().clone();
        frame.mark = mark;
        self.copies.borrow_mut().push((target, frame));
        true
    }

    fn clear_packet_mark(&self) {
        self.frame.borrow_mut().mark = 0;
    }
}
