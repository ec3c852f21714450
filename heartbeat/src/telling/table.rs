//! The members as a table, for `heartbeat watch`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::prober::event::Member;

/// All members as all nodes of a host see them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(pub Vec<Member>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(members) = self;
        let observers =
            members.iter().any(|member| Some(member.observer) != members.first().map(|m| m.observer));
        let now_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        if observers {
            write!(f, "{:>10}  ", "seen by")?;
        }
        writeln!(
            f,
            "{:>10}  {:<28}{:<10}{:>9}{:>8}{:>14}{:>13}",
            "node", "address", "state", "for", "phi", "round trip", "incarnation"
        )?;
        for member in members {
            if observers {
                write!(f, "{:>10}  ", member.observer)?;
            }
            let address =
                member.address.map_or_else(|| "not known".to_owned(), |address| address.to_string());
            let age = age(now_ms.saturating_sub(member.since_unix_ms));
            let round_trip = member.round_trip_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.0} us"));
            writeln!(
                f,
                "{:>10}  {:<28}{:<10}{:>9}{:>8.1}{:>14}{:>13}",
                member.node, address, member.state, age, member.phi, round_trip, member.incarnation
            )?;
        }
        Ok(())
    }
}

/// A time as readers like it: the largest unit of which there is one.
fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::event::State;

    #[test]
    fn members_are_rows() {
        let member = Member {
            observer: 1,
            node: 20,
            address: "10.0.0.2:7946".parse().ok(),
            state: State::Failed,
            phi: 12.34,
            round_trip_us: Some(55.4),
            ..Member::default()
        };
        let text = Table(vec![member.clone()]).to_string();
        let row = text.lines().nth(1).expect("a row");
        assert!(row.contains("20  10.0.0.2:7946") && row.contains("failed"), "{row}");
        assert!(row.contains("12.3") && row.contains("55 us"), "{row}");
        assert!(!text.contains("seen by"));
        let text = Table(vec![member.clone(), Member { observer: 2, address: None, ..member }]).to_string();
        assert!(text.contains("seen by") && text.contains("not known"), "{text}");
        assert_eq!([59_000, 60_000, 3_600_000, 172_800_000].map(age), ["59 s", "1 min", "1 h", "2 d"]);
    }
}
