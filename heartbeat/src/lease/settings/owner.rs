//! Whose a file is to be.

use std::str::FromStr;

use nix::unistd::{Group, User};

/// What [`Owner::from_str`] takes, for messages.
pub(super) const EXPECTED: &str = "a user, or user:group, by numbers or by names that this machine knows, such as \"redis\" or \"1000:1000\"";

/// User and group, by number; `None` leaves the agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: Option<u32>,
    /// The group.
    pub group: Option<u32>,
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let user = number_of(user, |name| Some(User::from_name(name).ok()??.uid.as_raw()));
        let group =
            group.map(|group| number_of(group, |name| Some(Group::from_name(name).ok()??.gid.as_raw())));
        match (user, group) {
            (None, _) | (_, Some(None)) => Err(EXPECTED),
            (user, group) => Ok(Self { user, group: group.flatten() }),
        }
    }
}

/// The number that the text is, or that the machine knows under this name. The largest one means nobody (chown(2)).
fn number_of(text: &str, known: impl FnOnce(&str) -> Option<u32>) -> Option<u32> {
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { known(text) };
    number.filter(|&number| number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers_or_names() {
        for (text, user, group) in [
            ("1000", 1000, None),
            ("1000:1001", 1000, Some(1001)),
            ("root", 0, None),
            ("root:root", 0, Some(0)),
        ] {
            assert_eq!(text.parse(), Ok(Owner { user: Some(user), group }), "{text}");
        }
        for text in ["", ":", "1000:", ":1000", "no such user", "4294967295", "4294967296", "-1", "1:2:3"] {
            assert_eq!(text.parse::<Owner>(), Err(EXPECTED), "{text}");
        }
    }
}
