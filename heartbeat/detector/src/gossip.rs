//! What is told to others without their asking.
//!
//! A claim goes with the probes, so its pace is theirs; each node tells it O(log n) times, and only if it was news to it. It
//! says what its teller thinks when it tells it: a rumour that was contradicted is not told on.

use heartbeat_fastpath::wire::{Body, Health, NodeId, Subject};

use crate::detector::Detector;

/// Claims that go with one probe.
const CLAIMS_PER_PROBE: u32 = 2;

/// Claims are told so many times the logarithm of the number of members.
const TELLS_PER_DOUBLING: u32 = 3;

impl Detector {
    fn tells(&self) -> u32 {
        TELLS_PER_DOUBLING * (self.members.len() + 1).ilog2().max(1)
    }

    /// Some are told at once how a member is, and others with the next probes.
    pub(crate) fn spread(&mut self, i: usize) {
        let node = self.members[i].id;
        let tells = self.tells();
        if core::mem::replace(&mut self.members[i].tells, tells) == 0 {
            self.rumours.push_back(node);
        }
        if let Some(body) = self.claim(node) {
            for receiver in self.pick(self.config.helpers, node) {
                self.say(receiver, body);
            }
        }
    }

    /// Likewise of its own incarnation.
    pub(crate) fn spread_own(&mut self) {
        let node = self.identity.node;
        let tells = self.tells();
        if core::mem::replace(&mut self.own_tells, tells) == 0 {
            self.rumours.push_back(node);
        }
    }

    /// Tells a member what is thought of it, so that it can contradict; not oftener than it could answer.
    pub(crate) fn confront(&mut self, i: usize, now_ns: u64) {
        let member = &mut self.members[i];
        let pause_ns = self.config.wait_min_ns;
        if member.confronted_ns.is_some_and(|at_ns| now_ns < at_ns.saturating_add(pause_ns)) {
            return;
        }
        member.confronted_ns = Some(now_ns);
        let node = member.id;
        if let Some(body) = self.claim(node) {
            self.say(node, body);
        }
    }

    /// A probe goes to this member, and rumours with it.
    pub(crate) fn gossip(&mut self, i: usize) {
        let receiver = self.members[i].id;
        if !self.members[i].is_up() {
            return;
        }
        for _ in 0..CLAIMS_PER_PROBE.min(self.rumours.len() as u32) {
            let Some(node) = self.rumours.pop_front() else { return };
            let body = if node == receiver { None } else { self.rumour(node) };
            if let Some(body) = body {
                self.say(receiver, body);
            }
            if self.tells_of(node).is_some_and(|tells| *tells > 0) {
                self.rumours.push_back(node);
            }
        }
    }

    /// What is to be told of a node, once less from now on.
    fn rumour(&mut self, node: NodeId) -> Option<Body> {
        let tells = self.tells_of(node)?;
        *tells = tells.saturating_sub(1);
        // A suspect is nobody's business yet.
        self.claim(node).filter(|body| !matches!(body, Body::Claim { health: Health::Suspect, .. }))
    }

    fn tells_of(&mut self, node: NodeId) -> Option<&mut u32> {
        if node == self.identity.node {
            return Some(&mut self.own_tells);
        }
        let i = self.find(node)?;
        Some(&mut self.members[i].tells)
    }

    /// What this detector thinks of a node; nothing while it has to find out.
    pub(crate) fn claim(&self, node: NodeId) -> Option<Body> {
        let (incarnation, health) = if node == self.identity.node {
            (self.identity.incarnation, Health::Alive)
        } else {
            let member = &self.members[self.find(node)?];
            if member.contradicted {
                return None;
            }
            (member.incarnation, member.health)
        };
        Some(Body::Claim { subject: Subject { node, incarnation }, health })
    }
}
