//! Clients that were refused most within the last minute.
//!
//! Of many refusals only a sample is reported, each with how many it stands for, so the numbers are estimates where there are
//! many and exact where there are few. Memory is bounded: of one second so many clients are kept apart.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use http_fastpath::abi::{RULES_MAX, Refused};
use http_fastpath::refusal::Refusal;
use serde::{Deserialize, Serialize};
use xps_runtime::lock::lock;

/// Seconds that are looked back.
const SECONDS: u64 = 60;
/// Clients of one second that are kept apart; more are counted together.
const CLIENTS_MAX: usize = 4096;
/// Reports that are wanted a second.
const REPORTS_PER_SECOND: u64 = 1000;
/// Largest number of refusals that a report stands for.
const SAMPLE_MAX: u32 = 1 << 16;

/// What was refused, by client.
#[derive(Debug, Default)]
pub struct Offenders(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// From the oldest second to the latest.
    seconds: VecDeque<Second>,
}

#[derive(Debug, Default)]
struct Second {
    number: u64,
    clients: HashMap<[u8; 16], BTreeMap<u32, u64>>,
    /// Refusals of clients that there was no room for.
    others: u64,
    all: u64,
}

/// What is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// How many seconds were looked at.
    pub seconds: u64,
    /// Refusals in all.
    pub refused: u64,
    /// Those of clients that were too many to be kept apart.
    pub others: u64,
    /// Clients, the worst first.
    pub clients: Vec<Client>,
}

/// A client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// Its address.
    pub address: String,
    /// How often it was refused.
    pub refused: u64,
    /// By what, the most frequent first: a rule's name, or what is wrong with the request.
    pub causes: Vec<Cause>,
}

/// Why a client was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// A rule's name, or what is wrong with the request.
    pub name: String,
    /// How often.
    pub refused: u64,
}

impl Offenders {
    /// A refusal was reported at this second.
    pub fn add(&self, second: u64, refused: &Refused) {
        let mut window = lock(&self.0);
        let window = window.at(second);
        let weight = u64::from(refused.weight);
        window.all += weight;
        let room = window.clients.len() < CLIENTS_MAX;
        match window.clients.get_mut(&refused.address) {
            Some(causes) => *causes.entry(refused.cause).or_default() += weight,
            None if room => {
                window.clients.insert(refused.address, BTreeMap::from([(refused.cause, weight)]));
            }
            None => window.others += weight,
        }
    }

    /// Of how many refusals one is to be reported, by those of the second before `second`.
    #[must_use]
    pub fn sample(&self, second: u64) -> u32 {
        let window = lock(&self.0);
        let last = window.seconds.iter().rev().find(|one| one.number + 1 == second);
        let wanted = last.map_or(0, |one| one.all) / REPORTS_PER_SECOND;
        u32::try_from(wanted).unwrap_or(SAMPLE_MAX).clamp(1, SAMPLE_MAX).next_power_of_two()
    }

    /// What is known at `second`. `names` are those of the rules.
    #[must_use]
    pub fn view(&self, second: u64, names: &[String], limit: usize) -> View {
        let mut window = lock(&self.0);
        window.forget(second);
        let mut clients: HashMap<[u8; 16], BTreeMap<u32, u64>> = HashMap::new();
        for one in &window.seconds {
            for (address, causes) in &one.clients {
                let all = clients.entry(*address).or_default();
                for (cause, count) in causes {
                    *all.entry(*cause).or_default() += count;
                }
            }
        }
        let mut shown: Vec<_> =
            clients.iter().map(|(address, causes)| client(*address, causes, names)).collect();
        shown.sort_by(|a, b| b.refused.cmp(&a.refused).then_with(|| a.address.cmp(&b.address)));
        shown.truncate(limit);
        View {
            seconds: SECONDS,
            refused: window.seconds.iter().map(|one| one.all).sum(),
            others: window.seconds.iter().map(|one| one.others).sum(),
            clients: shown,
        }
    }
}

impl Window {
    fn at(&mut self, second: u64) -> &mut Second {
        self.forget(second);
        // Time may have been set back meanwhile: then the latest second goes on.
        if self.seconds.back().is_none_or(|last| last.number < second) {
            self.seconds.push_back(Second { number: second, ..Second::default() });
        }
        let last = self.seconds.len() - 1;
        &mut self.seconds[last]
    }

    fn forget(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|first| first.number + SECONDS <= second) {
            self.seconds.pop_front();
        }
    }
}

fn client(address: [u8; 16], causes: &BTreeMap<u32, u64>, names: &[String]) -> Client {
    let ip = Ipv6Addr::from(address);
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    let mut shown: Vec<_> = causes
        .iter()
        .map(|(cause, refused)| Cause { name: named(*cause, names), refused: *refused })
        .collect();
    shown.sort_by(|a, b| b.refused.cmp(&a.refused).then_with(|| a.name.cmp(&b.name)));
    Client { address: ip.to_string(), refused: causes.values().sum(), causes: shown }
}

/// What a cause is called; rules may be others since a reload.
fn named(cause: u32, names: &[String]) -> String {
    let rule = names.get(cause as usize).cloned();
    let refusal = || {
        let number = u8::try_from(cause.checked_sub(RULES_MAX as u32)?).ok()?;
        Some(Refusal::from_u8(number)?.label().to_owned())
    };
    rule.or_else(refusal).unwrap_or_else(|| "a rule of before".to_owned())
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} refused in the last {} s", self.refused, self.seconds)?;
        if self.others != 0 {
            writeln!(f, "{} of them of clients that were too many to be kept apart", self.others)?;
        }
        writeln!(f, "{:>12}  {:<40} by", "refused", "client")?;
        for client in &self.clients {
            let causes: Vec<_> =
                client.causes.iter().map(|cause| format!("{} ({})", cause.name, cause.refused)).collect();
            writeln!(f, "{:>12}  {:<40} {}", client.refused, client.address, causes.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(last: u8, cause: u32, weight: u32) -> Refused {
        let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last];
        Refused { address, cause, weight, ..Refused::default() }
    }

    #[test]
    fn the_worst_come_first_and_old_ones_are_forgotten() {
        let offenders = Offenders::default();
        offenders.add(100, &refused(9, 0, 1000));
        for (last, cause, weight) in [(1, 0, 1), (2, 0, 4), (2, 1, 8), (3, RULES_MAX as u32 + 30, 2)] {
            offenders.add(150, &refused(last, cause, weight));
        }
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(offenders.view(159, &names, 1).clients[0].address, "10.0.0.9");
        let view = offenders.view(160, &names, 2);
        assert_eq!((view.refused, view.clients.len()), (15, 2));
        let text = view.to_string();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["12", "10.0.0.2", "b", "(8),", "a", "(4)"]
        );
        assert!(lines[1].contains("10.0.0.3") && lines[1].ends_with("no_host (2)"), "{text}");
        assert_eq!(offenders.view(300, &names, 9).refused, 0);
    }

    #[test]
    fn many_refusals_are_sampled() {
        let offenders = Offenders::default();
        assert_eq!(offenders.sample(100), 1);
        offenders.add(100, &refused(1, 0, 1999));
        assert_eq!(offenders.sample(101), 1);
        offenders.add(101, &refused(1, 0, 100_000));
        assert_eq!((offenders.sample(102), offenders.sample(103)), (128, 1));
    }

    #[test]
    fn memory_is_bounded() {
        let offenders = Offenders::default();
        for number in 0..2 * CLIENTS_MAX as u128 {
            let address = number.to_be_bytes();
            offenders.add(7, &Refused { address, weight: 1, ..Refused::default() });
        }
        let view = offenders.view(7, &[], usize::MAX);
        assert_eq!((view.clients.len(), view.others), (CLIENTS_MAX, CLIENTS_MAX as u64));
    }
}
