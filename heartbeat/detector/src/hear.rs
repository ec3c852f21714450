//! What others say.
//!
//! Of two statements about a node the one with the higher incarnation counts, and with the same one the worse. Only the node
//! itself raises its incarnation: that is how it contradicts.

use heartbeat_fastpath::wire::{Body, Health, Incarnation, Message, NodeId, SendTime, Sequence, Subject};

use crate::detector::{Detector, Output};
use crate::mistake::Mistake;

/// Probes for others that are remembered; the oldest is forgotten for one more.
const RELAYS_MAX: usize = 256;

/// A probe that was sent because somebody asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay {
    subject: NodeId,
    /// The number of the probe.
    number: u64,
    asker: NodeId,
    /// Number and time of the message that asked.
    asked: (Sequence, SendTime),
}

impl Detector {
    /// Takes in a message whose tag is right and which has not come before.
    ///
    /// What is for somebody else, or from somebody who is no member, is not heard.
    pub fn handle(&mut self, now_ns: u64, message: &Message) {
        let now_ns = self.arrive(now_ns);
        if message.receiver != self.identity.node || message.cluster != self.identity.cluster {
            return;
        }
        let Some(i) = self.find(message.sender) else { return };
        self.learn(i, now_ns, message.incarnation);
        let asked = (message.sequence, message.sent);
        match message.body {
            Body::Probe => self.send(message.sender, asked.0, asked.1, Body::Reply { degraded: false }),
            Body::Reply { degraded } => self.hear_reply(i, now_ns, message, degraded),
            Body::Ask { subject } => self.hear_ask(message.sender, asked, subject.node),
            Body::Told { subject, health } => self.hear_told(now_ns, message.sequence.0, subject, health),
            Body::Claim { subject, health } if subject.node == self.identity.node => {
                self.hear_of_itself(i, now_ns, subject.incarnation, health);
            }
            Body::Claim { subject, health } => self.hear_claim(i, now_ns, subject, health),
        }
        self.schedule(i);
    }

    /// A member speaks, and under this incarnation.
    fn learn(&mut self, i: usize, now_ns: u64, incarnation: Incarnation) {
        let known = self.members[i].incarnation;
        if incarnation > known || (incarnation == known && self.members[i].contradicted) {
            self.members[i].incarnation = incarnation;
            if matches!(self.members[i].health, Health::Suspect | Health::Failed) {
                self.revive(i, now_ns);
            }
        } else if incarnation < known || self.members[i].health == Health::Failed {
            // It does not know what it has to contradict: it has forgotten its incarnation, or not heard.
            self.confront(i, now_ns);
        }
    }

    /// A member is alive after all.
    fn revive(&mut self, i: usize, now_ns: u64) {
        let told = core::mem::replace(&mut self.members[i].told, false);
        self.members[i].contradicted = false;
        self.members[i].suspicion = None;
        self.members[i].excuse(now_ns);
        self.change(i, Health::Alive);
        self.take_turn_within(i, now_ns, self.period_ns());
        if told {
            self.spread(i);
        }
        self.schedule(i);
    }

    fn hear_reply(&mut self, i: usize, now_ns: u64, message: &Message, degraded: bool) {
        let health = if degraded { Health::Degraded } else { Health::Alive };
        if !self.members[i].awaits(message.sequence.0) {
            return self.relay(message, health);
        }
        self.answered_ns = Some(now_ns);
        let round_trip_ns = now_ns.saturating_sub(message.sent.0);
        self.members[i].answered(now_ns, round_trip_ns);
        self.outputs.push_back(Output::Answered { node: self.members[i].id, round_trip_ns });
        let failed = self.members[i].health == Health::Failed;
        if failed && self.members[i].told && !self.members[i].contradicted {
            // It was confronted. Claim or contradiction may be lost, so it is asked again soon.
            return self.take_turn_within(i, now_ns, self.config.timeout_max_ns);
        }
        if failed {
            self.revive(i, now_ns);
        }
        self.members[i].suspicion = None;
        self.change(i, health);
        if self.members[i].due_ns <= now_ns {
            self.next_turn(i, now_ns);
        }
    }

    /// A reply to a probe that was sent for somebody else.
    fn relay(&mut self, message: &Message, health: Health) {
        let wanted = |relay: &Relay| relay.number == message.sequence.0 && relay.subject == message.sender;
        let Some(place) = self.relays.iter().position(wanted) else { return };
        let Some(Relay { asker, asked: (sequence, sent), .. }) = self.relays.remove(place) else { return };
        let subject = Subject { node: message.sender, incarnation: message.incarnation };
        self.send(asker, sequence, sent, Body::Told { subject, health });
    }

    /// Somebody asks for a probe. That it is asked is told at once, as a sign of life.
    fn hear_ask(&mut self, asker: NodeId, asked: (Sequence, SendTime), node: NodeId) {
        let Some(i) = self.find(node) else { return };
        let subject = Subject { node, incarnation: self.members[i].incarnation };
        self.send(asker, asked.0, asked.1, Body::Told { subject, health: Health::Suspect });
        let number = self.say(node, Body::Probe);
        if self.relays.len() == RELAYS_MAX {
            self.relays.pop_front();
        }
        self.relays.push_back(Relay { subject: node, number, asker, asked });
    }

    fn hear_told(&mut self, now_ns: u64, number: u64, subject: Subject, health: Health) {
        let Some(i) = self.find(subject.node) else { return };
        let member = &mut self.members[i];
        if !member.awaits(number) || member.health != Health::Suspect {
            return;
        }
        self.answered_ns = Some(now_ns);
        if matches!(health, Health::Alive | Health::Degraded) {
            member.incarnation = member.incarnation.max(subject.incarnation);
            self.revive(i, now_ns);
        }
    }

    /// What is said of this node. What is wrong is contradicted, by an incarnation that was never heard of.
    fn hear_of_itself(&mut self, i: usize, now_ns: u64, incarnation: Incarnation, health: Health) {
        let own = self.identity.incarnation;
        let wrong = incarnation == own && matches!(health, Health::Suspect | Health::Failed);
        if incarnation < own || (incarnation == own && !wrong) || self.makes(Mistake::KeepingQuiet) {
            return;
        }
        self.identity.incarnation = Incarnation(incarnation.0.saturating_add(1));
        self.outputs.push_back(Output::Incarnation(self.identity.incarnation));
        if health == Health::Failed {
            // Whoever is taken for failed has been slow, or was not heard.
            self.local.worsen_once(now_ns, self.config.confirmation_ns);
            self.spread_own();
        }
        let node = self.identity.node;
        if let Some(body) = self.claim(node) {
            self.say(self.members[i].id, body);
        }
    }

    /// What is said of somebody else. Whoever is taken for failed himself may be the one who is cut off.
    fn hear_claim(&mut self, i: usize, now_ns: u64, subject: Subject, health: Health) {
        if self.members[i].health == Health::Failed {
            return;
        }
        let Some(of) = self.find(subject.node) else { return };
        let known = self.members[of].incarnation;
        let seen = self.members[of].health;
        match health {
            Health::Alive | Health::Degraded if subject.incarnation > known => {
                self.members[of].incarnation = subject.incarnation;
                // It may have failed since: were it taken for alive, waiting for it would begin anew, and again for each
                // who has heard so late. So it is asked itself. A suspect is being asked.
                if seen == Health::Failed {
                    self.members[of].contradicted = true;
                    self.members[of].round = None;
                    self.take_turn_within(of, now_ns, self.config.timeout_max_ns);
                    self.schedule(of);
                }
            }
            Health::Failed if subject.incarnation >= known => {
                self.members[of].incarnation = subject.incarnation;
                self.members[of].contradicted = false;
                // It is believed when the member does not answer this detector either.
                if matches!(seen, Health::Alive | Health::Degraded) {
                    self.members[of].round = None;
                    self.suspect(of, now_ns, true);
                    self.schedule(of);
                }
            }
            // Its teller has not heard the contradiction.
            Health::Failed => {
                if let Some(body) = self.claim(subject.node) {
                    self.say(self.members[i].id, body);
                }
            }
            Health::Alive | Health::Degraded | Health::Suspect => {}
        }
    }
}
