//! Interfaces that come and go while the agent runs.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::interface::{self, Interface};
use crate::netlink::Netlink;

/// What has happened to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// It is there now and was not.
    Added(Interface),
    /// One of its properties is another: name, state, MTU, master.
    Changed(Interface),
    /// It is gone from this namespace.
    Removed(Interface),
}

/// Watches the interfaces of this namespace.
#[derive(Debug)]
pub struct Devices {
    socket: AsyncFd<Netlink>,
    known: BTreeMap<u32, Interface>,
    events: VecDeque<DeviceEvent>,
}

impl Devices {
    /// Starts to watch; `known` are the interfaces that the plan was made from, so nothing between is missed. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(known: Vec<Interface>) -> io::Result<Self> {
        let socket = Netlink::open(libc::NETLINK_ROUTE, libc::RTMGRP_LINK as u32)?;
        // SAFETY: the socket owns its descriptor and gives the same one each time.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let known = known.into_iter().map(|interface| (interface.index, interface)).collect();
        let mut devices = Self { socket: socket?, known, events: VecDeque::new() };
        devices.compare()?;
        Ok(devices)
    }

    /// The interfaces after the events given so far.
    pub fn known(&self) -> impl Iterator<Item = &Interface> {
        self.known.values()
    }

    /// Waits for the next event. May be cancelled.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn next(&mut self) -> io::Result<DeviceEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.wait().await?;
            self.compare()?;
        }
    }

    /// Waits for messages and reads them all. Their contents do not matter: they only say that it is time to compare,
    /// which is right also when messages were lost.
    async fn wait(&self) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        loop {
            match self.socket.get_ref().receive() {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn compare(&mut self) -> io::Result<()> {
        let now = interface::list()?.into_iter().map(|interface| (interface.index, interface)).collect();
        self.events.extend(differences(&self.known, &now));
        self.known = now;
        Ok(())
    }
}

fn differences(
    before: &BTreeMap<u32, Interface>,
    now: &BTreeMap<u32, Interface>,
) -> impl Iterator<Item = DeviceEvent> {
    let removed = before
        .values()
        .filter(|interface| !now.contains_key(&interface.index))
        .map(|interface| DeviceEvent::Removed(interface.clone()));
    let others = now.values().filter_map(|interface| match before.get(&interface.index) {
        None => Some(DeviceEvent::Added(interface.clone())),
        Some(old) if old != interface => Some(DeviceEvent::Changed(interface.clone())),
        Some(_) => None,
    });
    removed.chain(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found() {
        let of = |index, mtu| (index, Interface { index, mtu, ..Interface::default() });
        let before = BTreeMap::from([of(1, 10), of(2, 10), of(3, 10)]);
        let now = BTreeMap::from([of(1, 10), of(3, 20), of(4, 10)]);
        let found: Vec<_> = differences(&before, &now).collect();
        assert_eq!(
            found,
            [
                DeviceEvent::Removed(of(2, 10).1),
                DeviceEvent::Changed(of(3, 20).1),
                DeviceEvent::Added(of(4, 10).1)
            ]
        );
    }

    #[tokio::test]
    async fn what_was_there_before_the_watch_is_told() {
        let mut devices = Devices::watch(Vec::new()).unwrap();
        assert!(matches!(devices.next().await.unwrap(), DeviceEvent::Added(_)));
        assert!(devices.known().any(|interface| interface.name == "lo"));
    }
}
