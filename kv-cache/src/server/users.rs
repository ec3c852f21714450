//! Which users may read every key (C7), from the rules of `ACL LIST`.
//!
//! A hit skips the server's own check, so only connections of users get one whom the server would let GET any key. Rules
//! are read in their order, as the server applies them; what is not understood grants nothing. Selectors (in parentheses)
//! only ever grant more, so they are passed over.

use kv_fastpath::abi::USERS_MAX;
use kv_fastpath::connection::user_of;

use crate::entries::store::key_hash;

/// Name of the user that connections have before they are authenticated.
const DEFAULT: &str = "default";

/// What a server does for a connection that was never authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It may read.
    MayRead,
    /// It must log in before anything else.
    LoginFirst,
    /// It may not read, or that is not known.
    Unknown,
}

/// The users, as far as hits are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Whether a connection that was never authenticated may read every key.
    pub initial: bool,
    /// Whether the default user may, once authenticated.
    pub default: bool,
    /// Whether the server carries out nothing for a connection that was never authenticated.
    pub login: bool,
    /// All that may, the default user included, by name.
    readers: Vec<String>,
    /// How many users there are.
    pub count: usize,
    /// Whoever Redis accepts may.
    pub everyone: bool,
}

impl Users {
    /// From the rules of all users; `categories` are those that GET is in (`@read`).
    #[must_use]
    pub fn of(rules: &[String], categories: &[String]) -> Self {
        let mut users = Self { count: rules.len(), ..Self::default() };
        for rule in rules {
            let mut words = rule.split(' ').filter(|word| !word.is_empty());
            let (Some("user"), Some(name)) = (words.next(), words.next()) else { continue };
            let words: Vec<&str> = words.collect();
            if name == DEFAULT {
                users.login = !(words.contains(&"nopass") && words.contains(&"on"));
            }
            if !(words.contains(&"on") && may_read(&words, categories)) {
                continue;
            }
            users.readers.push(name.to_owned());
            if name == DEFAULT {
                users.default = true;
                users.initial = words.contains(&"nopass");
            }
        }
        users
    }

    /// Users who are not known, and for whom the configuration vouches. What a connection may that was never authenticated
    /// nobody needs to vouch for.
    #[must_use]
    pub fn trusted(strangers: Welcome) -> Self {
        let (initial, login) = (strangers == Welcome::MayRead, strangers == Welcome::LoginFirst);
        Self { initial, default: true, login, everyone: true, ..Self::default() }
    }

    /// Whether this user may read every key.
    #[must_use]
    pub fn has_reader(&self, name: &str) -> bool {
        self.everyone || self.readers.iter().any(|reader| reader == name)
    }

    /// How many users may.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// The numbers under which the programs know them. Of two users with the same number neither is trusted, and there
    /// are at most as many as the table has room for.
    #[must_use]
    pub fn numbers(&self, secret: [u64; 2]) -> Vec<u32> {
        let mut numbers: Vec<u32> =
            self.readers.iter().map(|name| user_of(key_hash(secret, name.as_bytes()))).collect();
        numbers.sort_unstable();
        let all = numbers.clone();
        numbers.dedup();
        numbers.retain(|number| all.iter().filter(|other| *other == number).count() == 1);
        numbers.truncate(USERS_MAX as usize);
        numbers
    }
}

/// Whether the rules let GET read any key.
fn may_read(words: &[&str], categories: &[String]) -> bool {
    let mut allowed = false;
    let mut every_key = false;
    let mut depth = 0_usize;
    for word in words {
        // A selector may have several words: `(~a* +get)`.
        let inside = depth > 0 || word.starts_with('(');
        depth += word.matches('(').count();
        depth = depth.saturating_sub(word.matches(')').count());
        if inside {
            continue;
        }
        match *word {
            "~*" | "allkeys" | "%R~*" | "%RW~*" | "%WR~*" => every_key = true,
            "resetkeys" => every_key = false,
            "allcommands" => allowed = true,
            "nocommands" => allowed = false,
            _ => {
                let (grants, what) = match (word.strip_prefix('+'), word.strip_prefix('-')) {
                    (Some(what), _) => (true, what),
                    (_, Some(what)) => (false, what),
                    _ => continue,
                };
                let concerns = what == "@all"
                    || what.eq_ignore_ascii_case("get")
                    || categories.iter().any(|category| category == what);
                if concerns {
                    allowed = grants;
                }
            }
        }
    }
    allowed && every_key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn categories() -> Vec<String> {
        ["@read", "@string", "@fast"].map(str::to_owned).to_vec()
    }

    fn users(rules: &[&str]) -> Users {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        Users::of(&rules, &categories())
    }

    #[test]
    fn a_fresh_server_lets_everybody_read() {
        let users = users(&["user default on nopass sanitize-payload ~* &* +@all"]);
        assert!(users.initial && users.default && !users.login && users.has_reader("default"));
        assert_eq!(users.count, 1);
    }

    #[test]
    fn a_password_asks_for_authentication() {
        let users = users(&["user default on #0123 ~* &* +@all"]);
        assert!(!users.initial && users.default && users.login);
        for (rule, login) in [
            ("user default off nopass ~* &* +@all", true),
            ("user default on nopass ~* &* -@all", false),
            ("user default on nopass resetchannels -@all +get", false),
            ("user default on ~* &* +@all", true),
            ("user alice on #0123 ~* &* +@all", false),
        ] {
            assert_eq!(self::users(&[rule]).login, login, "{rule}");
        }
    }

    #[test]
    fn rules_count_in_their_order() {
        for (rule, expected) in [
            ("on #1 ~* +@all", true),
            ("on #1 ~* -@all +get", true),
            ("on #1 ~* +@all -get", false),
            ("on #1 ~* +@all -@read", false),
            ("on #1 ~* +@all -@read +@string", true),
            ("on #1 ~* +@all -@dangerous", true),
            ("on #1 ~* -@all +@read", true),
            ("on #1 ~* -@all +@write", false),
            ("on #1 ~* -@all", false),
            ("on #1 ~a* +@all", false),
            ("on #1 %R~* +@all", true),
            ("on #1 %W~* +@all", false),
            ("on #1 resetchannels +@all", false),
            ("off #1 ~* +@all", false),
            ("#1 ~* +@all", false),
            ("on #1 ~a* -@all (~* +get)", false),
            ("on #1 ~* +@all (~a* -get)", true),
            ("on #1 ~* +@all (~a* -get) -get", false),
            ("", false),
        ] {
            let users = users(&[&format!("user alice {rule}")]);
            assert_eq!(users.has_reader("alice"), expected, "{rule}");
            assert!(!users.initial && !users.default);
        }
    }

    #[test]
    fn numbers_are_those_that_the_programs_compute() {
        let users =
            users(&["user alice on #1 ~* +@all", "user bob on #1 ~* +@all", "user eve on #1 ~e +@all"]);
        let secret = [1, 2];
        let mut expected: Vec<u32> =
            [b"alice".as_slice(), b"bob"].map(|name| user_of(key_hash(secret, name))).to_vec();
        expected.sort_unstable();
        assert_eq!(users.numbers(secret), expected);
        assert_eq!((users.readers(), users.count), (2, 3));
    }

    #[test]
    fn of_two_with_the_same_number_neither_is_trusted() {
        let mut users = users(&["user alice on #1 ~* +@all"]);
        users.readers.push("alice".to_owned());
        assert_eq!(users.numbers([1, 2]), Vec::<u32>::new());
    }
}
