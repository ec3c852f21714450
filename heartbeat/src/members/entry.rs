//! A member as it is written: its number and where it is, such as `20 10.0.0.2:7946`, `20 10.0.0.2` or `20 name.example`.

use std::collections::HashSet;
use std::net::IpAddr;

use heartbeat_fastpath::wire::NodeId;
use xps_runtime::endpoint::Endpoint;

use super::OPERATORS;
use crate::keys::lines;

/// A member that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: NodeId,
    /// Where it is.
    pub at: Endpoint,
}

impl Entry {
    /// Reads a line; `port` is the cluster's, for an address without one.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(line: &str, port: u16) -> Result<Self, String> {
        let expected = || {
            format!(
                "\"{line}\" is no member; it must be a number and an address, such as \"20 10.0.0.2:{port}\""
            )
        };
        let (number, at) = line.trim().split_once(char::is_whitespace).ok_or_else(expected)?;
        let id = number.parse().ok().and_then(NodeId::new).ok_or_else(expected)?;
        if OPERATORS.contains(&id.number()) {
            return Err(format!(
                "{number} is not a member's number: those from {} on are kept back",
                OPERATORS.start()
            ));
        }
        let at = at.trim();
        let at = match at.parse::<IpAddr>() {
            Ok(address) => Endpoint::Address((address, port).into()),
            Err(_) => at.parse().or_else(|_| format!("{at}:{port}").parse()).map_err(|_| expected())?,
        };
        if at.port() == 0 {
            return Err(format!("\"{line}\" has port 0; give the port that this member listens on"));
        }
        Ok(Self { id, at })
    }
}

/// Reads the text of a file of members.
///
/// # Errors
/// All mistakes, each with its line.
pub fn parse_file(text: &str, port: u16) -> Result<Vec<Entry>, Vec<(usize, String)>> {
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    for (number, line) in lines(text) {
        match Entry::parse(line, port) {
            Ok(entry) => entries.push((number, entry)),
            Err(what) => mistakes.push((number, what)),
        }
    }
    let parsed: Vec<_> = entries.iter().map(|(_, entry)| entry.clone()).collect();
    for (i, what) in twice(&parsed) {
        mistakes.push((entries[i].0, what));
    }
    if mistakes.is_empty() { Ok(parsed) } else { Err(mistakes) }
}

/// Entries that repeat an earlier one's number, by their index. Places may be the same: several nodes are on one host.
#[must_use]
pub fn twice(entries: &[Entry]) -> Vec<(usize, String)> {
    let mut numbers = HashSet::new();
    let repeated = entries.iter().enumerate().filter(|(_, entry)| !numbers.insert(entry.id));
    repeated.map(|(i, entry)| (i, format!("member {} is listed twice", entry.id.number()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_a_number_and_a_place() {
        for (line, number, at) in [
            ("20 10.0.0.2:7000", 20, "10.0.0.2:7000"),
            ("  7\t10.0.0.2 ", 7, "10.0.0.2:7946"),
            ("8 fd00::2", 8, "[fd00::2]:7946"),
            ("8 [fd00::2]:1", 8, "[fd00::2]:1"),
            ("9 one.example", 9, "one.example:7946"),
            ("9 one.example:5", 9, "one.example:5"),
        ] {
            let entry = Entry::parse(line, 7946).expect(line);
            assert_eq!((entry.id.number(), entry.at.to_string()), (number, at.to_owned()), "{line}");
        }
    }

    #[test]
    fn what_is_no_member_is_told() {
        for (line, part) in [
            ("20", "it must be a number and an address"),
            ("0 10.0.0.2", "it must be a number and an address"),
            ("x 10.0.0.2", "it must be a number and an address"),
            ("5 10.0.0.2:99999", "it must be a number and an address"),
            ("5 10.0.0.300", "it must be a number and an address"),
            ("5 10.0.0.2:0", "has port 0"),
            ("4294967295 10.0.0.2", "are kept back"),
        ] {
            let told = Entry::parse(line, 7946).expect_err(line);
            assert!(told.contains(part), "{line}: {told}");
        }
    }

    #[test]
    fn all_mistakes_of_a_file_are_told_with_their_lines() {
        let text = "# members\n1 10.0.0.1\n\n1 10.0.0.2\nx\n2 10.0.0.2\n";
        let mistakes = parse_file(text, 7946).expect_err("mistakes");
        let lines: Vec<_> = mistakes.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 4]);
        assert_eq!(mistakes[1].1, "member 1 is listed twice");
        assert_eq!(parse_file("1 10.0.0.1\n2 10.0.0.1\n", 7946).map(|entries| entries.len()), Ok(2));
    }
}
