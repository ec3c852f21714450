//! What is known of a peer.

use heartbeat_fastpath::wire::{Health, Incarnation, NodeId};

use crate::config::Config;
use crate::phi;
use crate::rtt::{Arrivals, RoundTrip};

/// Intervals between answers that there must be before phi is asked.
const INTERVALS_MIN: u32 = 4;

/// Probes of one peer, from the one that came in its turn until an answer or a judgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// When its first probe was sent.
    pub(crate) opened_ns: u64,
    /// Number of its first message, and of its last.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How many probes were sent.
    pub(crate) tries: u32,
    /// When the next one is sent, or the peer is judged.
    pub(crate) retry_ns: u64,
}

/// What a suspect waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspicion {
    pub(crate) until_ns: u64,
    /// Somebody else found that it failed: its contradiction counts, or its answer to this detector.
    pub(crate) hearsay: bool,
}

/// A peer, as this detector sees it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) health: Health,
    /// Its turn, from which the next ones are counted, and when its probe is sent: jitter later.
    pub(crate) turn_ns: u64,
    pub(crate) due_ns: u64,
    pub(crate) round: Option<Round>,
    pub(crate) suspicion: Option<Suspicion>,
    /// Since when it is silent: its last answer, or when waiting for one began.
    pub(crate) silent_since_ns: u64,
    /// Its last answer, if the next one makes a regular interval with it.
    pub(crate) answered_ns: Option<u64>,
    pub(crate) round_trip: RoundTrip,
    pub(crate) arrivals: Arrivals,
    /// How often what is thought of it will still be told to others.
    pub(crate) tells: u32,
    /// Its failure was told to others, so only a new incarnation contradicts.
    pub(crate) told: bool,
    /// Others say that it contradicted its failure, which it has not yet shown to this detector.
    pub(crate) contradicted: bool,
    /// When it was last told what is thought of it.
    pub(crate) confronted_ns: Option<u64>,
    /// The earliest time for which it stands in the queue of timers.
    pub(crate) queued_ns: u64,
}

impl Member {
    pub(crate) fn new(id: NodeId, now_ns: u64, config: &Config) -> Self {
        Self {
            id,
            incarnation: Incarnation(0),
            health: Health::Alive,
            turn_ns: now_ns,
            due_ns: now_ns,
            round: None,
            suspicion: None,
            silent_since_ns: now_ns,
            answered_ns: None,
            round_trip: RoundTrip::default(),
            arrivals: Arrivals::new(config.window),
            tells: 0,
            told: false,
            contradicted: false,
            confronted_ns: None,
            queued_ns: u64::MAX,
        }
    }

    /// When something must be done about it.
    pub(crate) fn deadline_ns(&self) -> u64 {
        let next_ns = self.round.map_or(self.due_ns, |round| round.retry_ns);
        self.suspicion.map_or(next_ns, |suspicion| next_ns.min(suspicion.until_ns))
    }

    /// Whether others can be asked through it, and told by it.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.health, Health::Alive | Health::Degraded)
    }

    /// Whether a message with this number answers one of its open round.
    pub(crate) fn awaits(&self, sequence: u64) -> bool {
        self.round.is_some_and(|round| (round.first..=round.last).contains(&sequence))
    }

    /// How long to wait for an answer before the next try. All tries fit the longest time-out.
    pub(crate) fn wait_ns(&self, config: &Config) -> u64 {
        let max_ns = config.timeout_max_ns / u64::from(config.tries);
        self.round_trip.wait_ns().unwrap_or(max_ns).clamp(config.wait_min_ns, max_ns)
    }

    /// When phi says that it is to be suspected, if there is enough to judge by.
    pub(crate) fn unlikely_ns(&self, config: &Config, deviations: f64) -> Option<u64> {
        let deviation_ns = self.arrivals.deviation_ns().max(config.deviation_min_ns);
        (self.arrivals.held() >= INTERVALS_MIN).then(|| {
            let silence_ns = phi::silence_ns(deviations, self.arrivals.mean_ns(), deviation_ns);
            self.silent_since_ns.saturating_add(silence_ns)
        })
    }

    /// Its suspicion level.
    pub(crate) fn phi(&self, now_ns: u64, config: &Config) -> f64 {
        let deviation_ns = self.arrivals.deviation_ns().max(config.deviation_min_ns);
        let silence_ns = now_ns.saturating_sub(self.silent_since_ns);
        phi::phi(silence_ns, self.arrivals.mean_ns(), deviation_ns)
    }

    /// Takes its answer in, which took `round_trip_ns`.
    pub(crate) fn answered(&mut self, now_ns: u64, round_trip_ns: u64) {
        self.round_trip.sample(round_trip_ns);
        if let Some(before_ns) = self.answered_ns {
            self.arrivals.sample(now_ns.saturating_sub(before_ns));
        }
        self.answered_ns = Some(now_ns);
        self.silent_since_ns = now_ns;
        self.round = None;
    }

    /// Waits for it anew, as if it had just answered; no interval is made of what was before.
    pub(crate) fn excuse(&mut self, now_ns: u64) {
        self.silent_since_ns = now_ns;
        self.answered_ns = None;
        self.round = None;
    }
}
