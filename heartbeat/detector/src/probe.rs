//! What time brings: turns, tries, suspicion, judgement, and pauses of the detector itself.

use core::cmp::Reverse;

use heartbeat_fastpath::wire::{Body, Health, Subject};

use crate::detector::Detector;
use crate::member::{Round, Suspicion};
use crate::mistake::Mistake;

impl Detector {
    /// Does what has become due.
    pub fn tick(&mut self, now_ns: u64) {
        let now_ns = self.arrive(now_ns);
        while let Some(&Reverse((at_ns, node))) = self.timers.peek() {
            if at_ns > now_ns {
                break;
            }
            self.timers.pop();
            let Some(i) = self.find(node) else { continue };
            if self.members[i].queued_ns == at_ns {
                self.members[i].queued_ns = u64::MAX;
                self.attend(i, now_ns);
                self.schedule(i);
            }
        }
    }

    /// Each call begins here: the time does not go back, and a call that comes much too late shows that this process stood
    /// still. What it has not heard meanwhile says nothing about its peers.
    pub(crate) fn arrive(&mut self, now_ns: u64) -> u64 {
        let now_ns = now_ns.max(self.now_ns);
        self.now_ns = now_ns;
        let late = |due_ns: u64| now_ns > due_ns.saturating_add(self.config.late_ns);
        if self.next_deadline_ns().is_some_and(late) && !self.makes(Mistake::TrustingItself) {
            self.local.worsen(now_ns);
            self.wait_anew(now_ns);
        }
        if let Some(answered_ns) = self.answered_ns {
            self.local.recover(now_ns, self.period_ns(), answered_ns);
        }
        now_ns
    }

    /// Excuses everybody, and spreads the next turns evenly.
    fn wait_anew(&mut self, now_ns: u64) {
        let peers = self.members.len();
        for i in 0..peers {
            self.members[i].excuse(now_ns);
            let mut interval_ns = self.config.period_ns(peers);
            match self.members[i].health {
                Health::Suspect => {
                    self.members[i].suspicion = None;
                    self.change(i, Health::Alive);
                }
                Health::Failed => interval_ns = self.config.failed_period_ns(peers),
                Health::Alive | Health::Degraded => {}
            }
            self.take_turn_within(i, now_ns, interval_ns);
        }
        // Old entries would make every call until the next tick look late, and outlive their use.
        self.timers.clear();
        for i in 0..peers {
            self.members[i].queued_ns = u64::MAX;
            self.schedule(i);
        }
    }

    /// Sees to it that the member is attended to in time.
    pub(crate) fn schedule(&mut self, i: usize) {
        let member = &mut self.members[i];
        let deadline_ns = member.deadline_ns();
        if deadline_ns < member.queued_ns {
            member.queued_ns = deadline_ns;
            self.timers.push(Reverse((deadline_ns, member.id)));
        }
    }

    /// Puts the member's turn into the next interval. Multiples of the golden ratio fill it evenly, however many come.
    pub(crate) fn take_turn_within(&mut self, i: usize, now_ns: u64, interval_ns: u64) {
        self.phase = self.phase.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let part_ns = (u128::from(self.phase) * u128::from(interval_ns)) >> 64;
        self.set_turn(i, now_ns + part_ns as u64, interval_ns);
    }

    fn set_turn(&mut self, i: usize, turn_ns: u64, interval_ns: u64) {
        let jitter_ns = self.random.below(self.config.jitter_ns(interval_ns) + 1);
        self.members[i].turn_ns = turn_ns;
        self.members[i].due_ns = turn_ns + jitter_ns;
    }

    /// Gives the member its next turn. Turns are an interval apart, however late each probe was.
    pub(crate) fn next_turn(&mut self, i: usize, now_ns: u64) {
        let interval_ns = match self.members[i].health {
            Health::Failed => self.config.failed_period_ns(self.members.len()),
            _ => self.period_ns(),
        };
        let turn_ns = self.members[i].turn_ns + interval_ns;
        self.set_turn(i, if turn_ns > now_ns { turn_ns } else { now_ns + interval_ns }, interval_ns);
    }

    fn attend(&mut self, i: usize, now_ns: u64) {
        let member = &self.members[i];
        if member.suspicion.is_some_and(|suspicion| now_ns >= suspicion.until_ns) {
            return self.judge(i, now_ns);
        }
        match member.round {
            None if now_ns >= member.due_ns => self.open(i, now_ns),
            Some(round) if now_ns >= round.retry_ns => self.retry(i, now_ns, round),
            _ => {}
        }
    }

    /// The member's turn has come.
    fn open(&mut self, i: usize, now_ns: u64) {
        self.next_turn(i, now_ns);
        if self.members[i].health == Health::Failed && self.makes(Mistake::GivingUp) {
            return;
        }
        self.probe(i, now_ns);
        self.gossip(i);
    }

    /// Sends a probe, in the round that is open or in a new one.
    fn probe(&mut self, i: usize, now_ns: u64) {
        let number = self.say(self.members[i].id, Body::Probe);
        let wait_ns = self.local.stretch(self.members[i].wait_ns(&self.config));
        let member = &mut self.members[i];
        let round = member.round.get_or_insert(Round {
            opened_ns: now_ns,
            first: number,
            last: number,
            tries: 0,
            retry_ns: 0,
        });
        round.last = number;
        round.tries += 1;
        // Beyond the tries that there must be, the pace slows down.
        let doublings = round.tries.saturating_sub(self.config.tries).min(16);
        round.retry_ns = now_ns.saturating_add(wait_ns.saturating_mul(1 << doublings));
    }

    /// A try has not been answered in time.
    fn retry(&mut self, i: usize, now_ns: u64, round: Round) {
        match self.members[i].health {
            Health::Suspect => self.confirm(i, now_ns),
            Health::Failed if round.tries >= self.config.tries => self.members[i].round = None,
            Health::Failed => self.probe(i, now_ns),
            Health::Alive | Health::Degraded => {
                let last_ns = round.opened_ns + self.local.stretch(self.config.timeout_max_ns);
                let unlikely_ns = self.members[i]
                    .unlikely_ns(&self.config, self.deviations)
                    .map(|at_ns| round.opened_ns + self.local.stretch(at_ns.saturating_sub(round.opened_ns)));
                let enough = round.tries >= self.config.tries;
                if now_ns >= last_ns || enough && unlikely_ns.is_some_and(|at_ns| now_ns >= at_ns) {
                    return self.suspect(i, now_ns, false);
                }
                self.probe(i, now_ns);
                if let Some(round) = &mut self.members[i].round {
                    round.retry_ns = round.retry_ns.min(last_ns);
                }
            }
        }
    }

    /// Suspects a member; it has some time to answer, to contradict, or to be found by helpers.
    pub(crate) fn suspect(&mut self, i: usize, now_ns: u64, hearsay: bool) {
        let until_ns = now_ns + self.local.stretch(self.config.confirmation_ns);
        self.members[i].suspicion = Some(Suspicion { until_ns, hearsay });
        self.change(i, Health::Suspect);
        if self.makes(Mistake::AskingNobody) && !hearsay {
            return self.fail(i, now_ns, true);
        }
        if self.makes(Mistake::Believing) && hearsay {
            return self.fail(i, now_ns, true);
        }
        self.confront(i, now_ns);
        self.confirm(i, now_ns);
    }

    /// Tries a suspect again, also through helpers. Whoever told of its failure has asked helpers already.
    fn confirm(&mut self, i: usize, now_ns: u64) {
        self.probe(i, now_ns);
        let member = &self.members[i];
        let subject = Subject { node: member.id, incarnation: member.incarnation };
        let hearsay = member.suspicion.is_some_and(|suspicion| suspicion.hearsay);
        // Also with hearsay somebody is asked: who says nothing to that shows who it is that is cut off.
        let helpers = if hearsay { 1 } else { self.config.helpers };
        let mut number = None;
        for helper in self.pick(helpers, subject.node) {
            number = Some(self.say(helper, Body::Ask { subject }));
        }
        let pause_ns = self.local.stretch(self.config.confirmation_ns) / u64::from(self.config.tries);
        if let Some(round) = &mut self.members[i].round {
            round.last = number.unwrap_or(round.last);
            round.retry_ns = now_ns + pause_ns.max(1);
        }
    }

    /// The time of a suspect is over. Who has heard from nobody since has to doubt himself first, while there are others who
    /// could have answered.
    fn judge(&mut self, i: usize, now_ns: u64) {
        let since_ns = self.members[i].round.map_or(now_ns, |round| round.opened_ns);
        let witnessed = self.answered_ns.is_some_and(|at_ns| at_ns >= since_ns);
        let could = self.members.iter().filter(|member| member.health != Health::Failed).nth(1).is_some();
        let doubts = !witnessed && could && !self.local.is_worst();
        if doubts && !self.makes(Mistake::TrustingItself) {
            self.local.worsen_once(now_ns, self.config.confirmation_ns);
            if let Some(suspicion) = &mut self.members[i].suspicion {
                suspicion.until_ns = now_ns + self.config.confirmation_ns;
            }
            return self.confirm(i, now_ns);
        }
        self.fail(i, now_ns, witnessed || !could);
    }

    /// Takes a member for failed, and tells others if somebody else was heard meanwhile.
    fn fail(&mut self, i: usize, now_ns: u64, witnessed: bool) {
        self.members[i].suspicion = None;
        self.members[i].excuse(now_ns);
        self.members[i].told = witnessed;
        self.change(i, Health::Failed);
        self.take_turn_within(i, now_ns, self.config.failed_period_ns(self.members.len()));
        if witnessed {
            self.spread(i);
        }
    }
}
