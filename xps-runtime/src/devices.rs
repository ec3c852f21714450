//! Interfaces that come and go while the agent runs.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::install::{InstallError, Installed};
use crate::interface::{self, Interface};
use crate::lock::lock;
use crate::netlink::{Message, Watch};
use crate::plan::{self, Cause, DevicePlan, Skipped, Wishes};

/// What has happened to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// It is there now and was not.
    Added(Interface),
    /// One of its properties is another: name, state, MTU, master.
    Changed(Interface),
    /// Only its queueing discipline is another, or is not known any more.
    Requeued(Interface),
    /// It is gone from this namespace.
    Removed(Interface),
}

/// Watches the interfaces of this namespace.
#[derive(Debug)]
pub struct Devices {
    watch: Watch,
    known: BTreeMap<u32, Interface>,
    events: VecDeque<DeviceEvent>,
    /// Whether something was told that is not compared yet.
    told: bool,
}

impl Devices {
    /// Starts to watch; `known` are the interfaces that the plan was made from, so nothing between is missed. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(known: Vec<Interface>) -> io::Result<Self> {
        let watch = Watch::open((libc::RTMGRP_LINK | libc::RTMGRP_TC) as u32)?;
        let known = known.into_iter().map(|interface| (interface.index, interface)).collect();
        let mut devices = Self { watch, known, events: VecDeque::new(), told: false };
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
    /// The kernel's. Then nothing more is known of queues, which the next events say; the next call goes on.
    pub async fn next(&mut self) -> io::Result<DeviceEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if !self.told {
                let changed = self.watch.changed_by(is_of_interfaces).await;
                changed.inspect_err(|_| self.doubt_queues())?;
                self.told = true;
            }
            self.compare().inspect_err(|_| self.doubt_queues())?;
            self.told = false;
        }
    }

    /// What is not watched may have a queue by now.
    fn doubt_queues(&mut self) {
        for interface in self.known.values_mut().filter(|interface| interface.discipline.is_some()) {
            interface.discipline = None;
            self.events.push_back(DeviceEvent::Requeued(interface.clone()));
        }
    }

    fn compare(&mut self) -> io::Result<()> {
        let now = interface::list()?.into_iter().map(|interface| (interface.index, interface)).collect();
        self.events.extend(differences(&self.known, &now));
        self.known = now;
        Ok(())
    }
}

/// Of what is told of traffic control, classes and filters do not matter: they may change often.
fn is_of_interfaces(message: &Message) -> bool {
    matches!(message.kind, libc::RTM_NEWLINK | libc::RTM_DELLINK | libc::RTM_NEWQDISC | libc::RTM_DELQDISC)
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
        Some(old) if interface.is_only_requeued(old) => Some(DeviceEvent::Requeued(interface.clone())),
        Some(old) if old != interface => Some(DeviceEvent::Changed(interface.clone())),
        Some(_) => None,
    });
    removed.chain(others)
}

/// An installation whose interfaces come and go.
pub trait Follows {
    /// Hooks an interface, also one that appears later; for one that is hooked already, its properties are renewed.
    /// Whether links were created (rather than taken over or there already).
    ///
    /// # Errors
    /// If the kernel refuses; then the interface is not hooked.
    fn hook(&mut self, device: &DevicePlan) -> Result<bool, InstallError>;

    /// Takes the hooks off an interface, or cleans up after one that is gone. Whether it was hooked.
    ///
    /// # Errors
    /// If a pin cannot be removed.
    fn unhook(&mut self, ifindex: u32) -> Result<bool, InstallError>;
}

/// An installation that follows interfaces.
#[derive(Debug)]
pub struct Hooks<I = Installed> {
    /// The installation; `None` once it was taken out of the stack.
    pub installed: Mutex<Option<I>>,
    /// Interfaces that are not hooked, with their causes.
    pub skipped: Mutex<Vec<Skipped>>,
}

impl<I: Follows> Hooks<I> {
    /// Of an installation, and of what its plan left out.
    #[must_use]
    pub const fn of(installed: I, skipped: Vec<Skipped>) -> Self {
        Self { installed: Mutex::new(Some(installed)), skipped: Mutex::new(skipped) }
    }

    /// Hooks interfaces that appear, unhooks those that must not be hooked any more, until `stop` turns true. After each
    /// change `changed` is called, unless it is only by which way replies leave.
    pub async fn follow(
        &self,
        wishes: &Wishes,
        mut devices: Devices,
        mut stop: watch::Receiver<bool>,
        changed: impl Fn(),
    ) {
        loop {
            let event = tokio::select! {
                event = devices.next() => event,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match event {
                Ok(event) => {
                    let known: Vec<Interface> = devices.known().cloned().collect();
                    if tokio::task::block_in_place(|| self.apply(wishes, &known, &event)) {
                        changed();
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "interfaces can no longer be watched");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Whether packets may have come or may come another way by it.
    fn apply(&self, wishes: &Wishes, known: &[Interface], event: &DeviceEvent) -> bool {
        let (DeviceEvent::Added(interface)
        | DeviceEvent::Changed(interface)
        | DeviceEvent::Requeued(interface)
        | DeviceEvent::Removed(interface)) = event;
        let mut skipped = Vec::new();
        let result = {
            let mut installed = lock(&self.installed);
            let Some(installed) = &mut *installed else { return true };
            let device = plan::device(interface, known, wishes);
            match (event, device) {
                (DeviceEvent::Removed(_), _) => installed.unhook(interface.index),
                (_, Ok(device)) => installed.hook(&device).inspect(|&new| {
                    if new {
                        tracing::info!(interface = interface.name, "hooked");
                    }
                }),
                (_, Err(cause)) => {
                    skipped.push(plan::skip(interface, cause));
                    installed.unhook(interface.index)
                }
            }
        };
        let same = matches!((event, &result), (DeviceEvent::Requeued(_), Ok(false)));
        if let Err(error) = result {
            tracing::warn!(interface = interface.name, %error, "not hooked");
            let cause = Cause::InstallFailed { reason: error.to_string() };
            if !matches!(event, DeviceEvent::Removed(_)) {
                skipped = vec![plan::skip(interface, cause)];
            }
        }
        let mut all = lock(&self.skipped);
        all.retain(|other| other.ifindex != interface.index);
        all.append(&mut skipped);
        !same
    }
}

#[cfg(test)]
mod tests {
    use xps_core::abi::Redirect;

    use super::*;

    #[test]
    fn differences_are_found() {
        let of = |index, mtu| (index, Interface { index, mtu, ..Interface::default() });
        let queue = || Interface { discipline: Some("tbf".into()), ..of(5, 10).1 };
        let before = BTreeMap::from([of(1, 10), of(2, 10), of(3, 10), of(5, 10)]);
        let now = BTreeMap::from([of(1, 10), of(3, 20), of(4, 10), (5, queue())]);
        let found: Vec<_> = differences(&before, &now).collect();
        assert_eq!(
            found,
            [
                DeviceEvent::Removed(of(2, 10).1),
                DeviceEvent::Changed(of(3, 20).1),
                DeviceEvent::Added(of(4, 10).1),
                DeviceEvent::Requeued(queue()),
            ]
        );
    }

    #[tokio::test]
    async fn what_was_there_before_the_watch_is_told() {
        let mut devices = Devices::watch(Vec::new()).unwrap();
        assert!(matches!(devices.next().await.unwrap(), DeviceEvent::Added(_)));
        assert!(devices.known().any(|interface| interface.name == "lo"));
    }

    #[tokio::test]
    async fn what_is_not_watched_any_more_may_have_a_queue() {
        let mut devices = Devices::watch(interface::list().unwrap()).unwrap();
        devices.events.clear();
        devices.doubt_queues();
        assert_eq!(devices.events.len(), devices.known().count());
        let event = devices.next().await.unwrap();
        assert!(matches!(event, DeviceEvent::Requeued(interface) if interface.queues()));
        assert!(devices.known().all(Interface::queues));
    }

    /// Interfaces that are hooked, and how replies leave.
    #[derive(Default)]
    struct Fake(BTreeMap<u32, Redirect>);

    impl Follows for Fake {
        fn hook(&mut self, device: &DevicePlan) -> Result<bool, InstallError> {
            Ok(self.0.insert(device.ifindex, device.redirect).is_none())
        }

        fn unhook(&mut self, ifindex: u32) -> Result<bool, InstallError> {
            Ok(self.0.remove(&ifindex).is_some())
        }
    }

    #[test]
    fn a_queue_changes_by_which_way_replies_leave_and_nothing_else() {
        let veth = |discipline: &str| Interface {
            index: 2,
            hardware: interface::ETHERNET,
            kind: Some("veth".into()),
            peer_elsewhere: true,
            discipline: Some(discipline.into()),
            ..Interface::default()
        };
        let hooks = Hooks::of(Fake::default(), Vec::new());
        let apply = |event| {
            let changed = hooks.apply(&Wishes::default(), &[], &event);
            (changed, lock(&hooks.installed).as_ref().and_then(|fake| fake.0.get(&2).copied()))
        };
        assert_eq!(apply(DeviceEvent::Added(veth("noqueue"))), (true, Some(Redirect::Peer)));
        assert_eq!(apply(DeviceEvent::Requeued(veth("tbf"))), (false, Some(Redirect::Egress)));
        assert_eq!(apply(DeviceEvent::Requeued(veth("noqueue"))), (false, Some(Redirect::Peer)));
        assert_eq!(apply(DeviceEvent::Removed(veth("noqueue"))), (true, None));
        // It could not be hooked before.
        assert_eq!(apply(DeviceEvent::Requeued(veth("tbf"))), (true, Some(Redirect::Egress)));
    }
}
