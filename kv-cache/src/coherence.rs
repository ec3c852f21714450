//! Whether hits are allowed (C8, C9), and why not.
//!
//! [`judge`] decides from what was observed; [`crate::coherence::watch`] observes. Each condition has a name that status and metrics
//! show. In bounded mode some of them are tolerated: those under which a value may be served that somebody changed where
//! the stack could not see it.
//!
//! # Layout
//!
//! - [`watch`]: looks at the server and its connections.
//! - [`freshness`], [`tracking`], [`clock`]: how old a value may be where not every write is seen; `invalidation`, `push`,
//!   `ownership`: what the server says for that, pure.

pub mod clock;
pub mod freshness;
mod invalidation;
mod ownership;
mod push;
pub mod tracking;
pub mod watch;

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use xps_core::abi::Bypass;

use crate::server::redis::Info;
use crate::server::users::Users;

/// How much staleness the configuration allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Never a value that a finished write has replaced.
    #[default]
    Strict,
    /// Writes that cannot be seen in the stack may go unnoticed for `coherence.max_staleness`.
    Bounded,
}

/// Why there are no hits, or only bounded ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was checked yet.
    Starting,
    /// There is no answer from the server.
    Unreachable(String),
    /// The server's data is being loaded.
    Loading,
    /// The server is a replica: its data changes by its master's stream.
    Replica,
    /// The server hands its role over by itself.
    FailingOver,
    /// The server is part of a cluster: slots move without a command.
    Cluster,
    /// The server is a replica in a cluster: what it answers depends on READONLY.
    ClusterReplica,
    /// The server is of a kind that holds no data for clients.
    Mode(String),
    /// What users may do is not known, or the agent may not do enough.
    Users(String),
    /// The server does not tell a setting that must be known.
    SettingUnknown(&'static str),
    /// The server does not tell how it is.
    InfoRefused,
    /// What users may do is not known; the configuration vouches for them.
    UsersTrusted,
    /// The user path serves: what does not come through it is not seen.
    UserPath,
    /// Clients may come by a unix socket.
    UnixSocket(String),
    /// Writes may come through an interface that is not hooked.
    Interface(String, String),
    /// Writes may come to an address that the programs do not know.
    Address(String),
    /// The server evicts keys by itself.
    Eviction(String),
    /// Modules are loaded, which may change keys by themselves.
    Modules(Vec<String>),
    /// Commands that the handler treats by name are not themselves.
    Renamed(Vec<String>),
    /// Connections that are older than the hooks, or come by a way around them.
    Foreign(Vec<Stranger>),
    /// The sockets or flows could not be listed.
    SocketsUnknown(String),
    /// A command that may change users, roles or settings has no answer yet.
    RecheckPending,
    /// The sidecar is stopping.
    Draining,
    /// The operator has forbidden hits.
    Disabled,
}

impl Cause {
    /// A short name for metrics and status; stable.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unreachable(_) => "unreachable",
            Self::Loading => "loading",
            Self::Replica => "replica",
            Self::FailingOver => "failing_over",
            Self::Cluster => "cluster",
            Self::ClusterReplica => "cluster_replica",
            Self::Mode(_) => "mode",
            Self::Users(_) => "users",
            Self::SettingUnknown(_) => "setting_unknown",
            Self::InfoRefused => "info_refused",
            Self::UsersTrusted => "users_trusted",
            Self::UserPath => "user_path",
            Self::UnixSocket(_) => "unix_socket",
            Self::Interface(..) => "interface_not_hooked",
            Self::Address(_) => "address_not_seen",
            Self::Eviction(_) => "eviction",
            Self::Modules(_) => "modules",
            Self::Renamed(_) => "renamed_commands",
            Self::Foreign(_) => "foreign_connections",
            Self::SocketsUnknown(_) => "sockets_unknown",
            Self::RecheckPending => "recheck_pending",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    /// Whether bounded mode serves in spite of it.
    #[must_use]
    pub const fn tolerable(&self) -> bool {
        matches!(
            self,
            Self::UserPath
                | Self::Replica
                | Self::Cluster
                | Self::SettingUnknown(_)
                | Self::InfoRefused
                | Self::UsersTrusted
                | Self::UnixSocket(_)
                | Self::Interface(..)
                | Self::Address(_)
                | Self::Eviction(_)
                | Self::Modules(_)
        )
    }
}

/// A connection to the server that the programs do not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The client's address, as the server sees it.
    pub peer: SocketAddr,
    /// What shows that it comes by a way around the programs; `None`: it is older than they are, as far as is known.
    pub by: Option<Bypass>,
}

/// How many of them are named.
const NAMED_MAX: usize = 4;

fn write_strangers(f: &mut fmt::Formatter<'_>, strangers: &[Stranger]) -> fmt::Result {
    let old = strangers.iter().filter(|one| one.by.is_none()).count();
    let separator = if old == 0 || old == strangers.len() { "" } else { "; " };
    if old != 0 {
        write!(
            f,
            "{old} connections to Redis are older than the hooks: reconnect them, or set coherence.kill_older_connections"
        )?;
        write_peers(f, strangers.iter().filter(|one| one.by.is_none()).map(|one| one.peer.to_string()))?;
    }
    write!(f, "{separator}")?;
    if old != strangers.len() {
        write!(f, "{} connections to Redis come by a way around the hooks", strangers.len() - old)?;
        let around = strangers.iter().filter_map(|one| Some((one.peer, one.by?)));
        write_peers(f, around.map(|(peer, by)| format!("{peer} {}", way(by))))?;
    }
    Ok(())
}

fn write_peers(f: &mut fmt::Formatter<'_>, peers: impl Iterator<Item = String>) -> fmt::Result {
    let mut peers = peers.peekable();
    for nth in 0..NAMED_MAX {
        let Some(peer) = peers.next() else { break };
        write!(f, "{}{peer}", if nth == 0 { " (" } else { ", " })?;
    }
    write!(f, "{}", if peers.peek().is_some() { ", …)" } else { ")" })
}

const fn way(by: Bypass) -> &'static str {
    match by {
        Bypass::Redirected => "by a port that netfilter redirects",
        Bypass::SynUnseen => {
            "whose SYN was not seen: another tc program before ours, a tunnel, or an interface without hooks"
        }
        Bypass::Unread => {
            "with bytes that were not read: another tc program before ours, a tunnel, or fragments"
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => write!(f, "the server was not looked at yet"),
            Self::Unreachable(what) => write!(f, "{what}"),
            Self::Loading => write!(f, "Redis is loading its data"),
            Self::Replica => write!(f, "Redis is a replica: its master's writes do not come as commands"),
            Self::FailingOver => write!(f, "Redis is handing its role over (FAILOVER)"),
            Self::Cluster => {
                write!(
                    f,
                    "Redis is a cluster's node: slots move by messages of the cluster that are not commands"
                )
            }
            Self::ClusterReplica => write!(
                f,
                "Redis is a replica in a cluster: it answers connections that said READONLY, and those are not told apart"
            ),
            Self::Mode(mode) => {
                write!(f, "Redis runs in mode {mode:?}: only standalone servers and cluster nodes are served")
            }
            Self::Users(what) => write!(f, "{what}"),
            Self::SettingUnknown(name) => {
                write!(f, "Redis does not tell its setting {name} (CONFIG GET is refused)")
            }
            Self::InfoRefused => write!(
                f,
                "Redis refuses INFO: whether it evicts keys or loads its data is not known (ACL SETUSER … +info)"
            ),
            Self::UsersTrusted => write!(
                f,
                "Redis refuses ACL LIST: the configuration vouches that all users may read every key (coherence.trust_users)"
            ),
            Self::UserPath => write!(
                f,
                "on the user path writes on the plain port are known by tracking only: coherence.mode = \"bounded\" allows that"
            ),
            Self::UnixSocket(path) => {
                write!(f, "clients may come by the unix socket {path}: set `unixsocket \"\"`")
            }
            Self::Interface(name, cause) => write!(f, "interface {name} is not hooked: {cause}"),
            Self::Address(what) => write!(f, "packets for an address are not seen: {what}"),
            Self::Eviction(policy) => {
                write!(f, "Redis may evict keys (maxmemory-policy {policy}): set noeviction or no maxmemory")
            }
            Self::Modules(names) => {
                write!(f, "modules may change keys without a command: {}", names.join(", "))
            }
            Self::Renamed(names) => write!(f, "commands are renamed or missing: {}", names.join(", ")),
            Self::Foreign(strangers) => write_strangers(f, strangers),
            Self::SocketsUnknown(what) => write!(f, "the connections to Redis cannot be listed: {what}"),
            Self::RecheckPending => {
                write!(f, "a command that may change users, roles or settings is under way")
            }
            Self::Draining => write!(f, "the sidecar is stopping"),
            Self::Disabled => write!(f, "the operator has disabled hits: `kv-cache enable` allows them"),
        }
    }
}

/// What was seen of the server and its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// `INFO`.
    pub info: Info,
    /// Who may read every key, if `ACL LIST` was answered.
    pub users: Option<Users>,
    /// The agent's own user.
    pub user: String,
    /// `unixsocket`, if it was told.
    pub unixsocket: Option<String>,
    /// What of the path itself is not as strict coherence needs it.
    pub path: Vec<Cause>,
    /// Connections that are not understood, or why that is not known.
    pub foreign: Result<Vec<Stranger>, String>,
    /// Commands that are not themselves.
    pub renamed: Vec<String>,
}

/// What follows from an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether hits are allowed.
    pub coherent: bool,
    /// All that is not as strict coherence needs it.
    pub causes: Vec<Cause>,
}

impl Judgement {
    /// No hits, for one cause.
    #[must_use]
    pub fn refused(cause: Cause) -> Self {
        Self { coherent: false, causes: vec![cause] }
    }

    /// No hits, whatever else is so: the operator has forbidden them.
    pub fn disable(&mut self) {
        self.coherent = false;
        if !self.causes.contains(&Cause::Disabled) {
            self.causes.push(Cause::Disabled);
        }
    }

    /// `strict`, `bounded` or `off`: what clients get.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match (self.coherent, self.causes.is_empty()) {
            (true, true) => "strict",
            (true, false) => "bounded",
            (false, _) => "off",
        }
    }
}

/// Decides.
#[must_use]
pub fn judge(seen: &Observation, mode: Mode) -> Judgement {
    let mut causes = Vec::new();
    if seen.info.loading {
        causes.push(Cause::Loading);
    }
    if seen.info.role != "master" && seen.info.mode != "cluster" {
        causes.push(Cause::Replica);
    }
    if seen.info.failing_over {
        causes.push(Cause::FailingOver);
    }
    match seen.info.mode.as_str() {
        "standalone" => {}
        "cluster" if seen.info.role != "master" => causes.push(Cause::ClusterReplica),
        "cluster" => causes.push(Cause::Cluster),
        other => causes.push(Cause::Mode(other.to_owned())),
    }
    match &seen.users {
        None => {
            let vouch = if seen.path.contains(&Cause::UserPath) {
                "; or, where that cannot be and every user may read every key, set coherence.trust_users = true"
            } else {
                ""
            };
            causes.push(Cause::Users(format!(
                "ACL LIST was refused to kv-cache's user {0}: ACL SETUSER {0} +acl|list{vouch}",
                seen.user
            )));
        }
        Some(users) if !users.has_reader(&seen.user) => {
            causes.push(Cause::Users(format!(
                "kv-cache's user {0} may not read every key: ACL SETUSER {0} ~* +@read",
                seen.user
            )));
        }
        Some(_) => {}
    }
    match seen.unixsocket.as_deref() {
        None => causes.push(Cause::SettingUnknown("unixsocket")),
        Some("") => {}
        Some(path) => causes.push(Cause::UnixSocket(path.to_owned())),
    }
    if seen.info.maxmemory != 0 && seen.info.maxmemory_policy != "noeviction" {
        causes.push(Cause::Eviction(seen.info.maxmemory_policy.clone()));
    }
    if !seen.info.modules.is_empty() {
        causes.push(Cause::Modules(seen.info.modules.clone()));
    }
    causes.extend(seen.path.iter().cloned());
    if !seen.renamed.is_empty() {
        causes.push(Cause::Renamed(seen.renamed.clone()));
    }
    match &seen.foreign {
        Ok(strangers) if strangers.is_empty() => {}
        Ok(strangers) => causes.push(Cause::Foreign(strangers.clone())),
        Err(what) => causes.push(Cause::SocketsUnknown(what.clone())),
    }
    let coherent = match mode {
        Mode::Strict => causes.is_empty(),
        Mode::Bounded => causes.iter().all(Cause::tolerable),
    };
    Judgement { coherent, causes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(by: Option<Bypass>) -> Stranger {
        Stranger { peer: SocketAddr::from(([10, 0, 0, 1], 40_000)), by }
    }

    #[test]
    fn strangers_are_named_with_their_way() {
        let text = |strangers: Vec<Stranger>| Cause::Foreign(strangers).to_string();
        let old = text(vec![stranger(None)]);
        assert!(
            old.starts_with("1 connections to Redis are older") && old.ends_with("(10.0.0.1:40000)"),
            "{old}"
        );
        let around = text(vec![stranger(Some(Bypass::Redirected))]);
        assert_eq!(
            around,
            "1 connections to Redis come by a way around the hooks (10.0.0.1:40000 by a port that netfilter redirects)"
        );
        let many = text(vec![stranger(None), stranger(Some(Bypass::Unread)), stranger(None)]);
        assert!(many.contains("2 connections") && many.contains("; 1 connections"), "{many}");
        let all = text(vec![stranger(None); NAMED_MAX + 1]);
        assert!(all.ends_with(", …)"), "{all}");
    }

    fn users(rule: &str) -> Users {
        Users::of(&[rule.to_owned()], &["@read".to_owned()])
    }

    fn fine() -> Observation {
        Observation {
            info: Info {
                version: "7.0.15".into(),
                run_id: "a".into(),
                role: "master".into(),
                mode: "standalone".into(),
                failing_over: false,
                loading: false,
                maxmemory: 0,
                maxmemory_policy: "noeviction".into(),
                modules: Vec::new(),
            },
            users: Some(users("user default on nopass ~* &* +@all")),
            user: "default".into(),
            unixsocket: Some(String::new()),
            path: Vec::new(),
            foreign: Ok(Vec::new()),
            renamed: Vec::new(),
        }
    }

    #[test]
    fn a_plain_server_is_strict() {
        let judgement = judge(&fine(), Mode::Strict);
        assert!(judgement.coherent, "{judgement:?}");
        assert_eq!(judgement.state(), "strict");
    }

    #[test]
    fn each_condition_is_named_and_only_some_are_tolerated() {
        type Change = fn(&mut Observation);
        let cases: [(&str, bool, Change); 17] = [
            ("info_refused", true, |seen| seen.path.push(Cause::InfoRefused)),
            ("users_trusted", true, |seen| seen.path.push(Cause::UsersTrusted)),
            ("loading", false, |seen| seen.info.loading = true),
            ("replica", true, |seen| seen.info.role = "slave".into()),
            ("failing_over", false, |seen| seen.info.failing_over = true),
            ("cluster", true, |seen| seen.info.mode = "cluster".into()),
            ("cluster_replica", false, |seen| {
                seen.info.mode = "cluster".into();
                seen.info.role = "slave".into();
            }),
            ("mode", false, |seen| seen.info.mode = "sentinel".into()),
            ("users", false, |seen| seen.users = None),
            ("users", false, |seen| seen.users = Some(users("user default on nopass ~a* &* +@all"))),
            ("setting_unknown", true, |seen| seen.unixsocket = None),
            ("unix_socket", true, |seen| seen.unixsocket = Some("/run/redis.sock".into())),
            ("interface_not_hooked", true, |seen| {
                seen.path.push(Cause::Interface("tun0".into(), "no Ethernet".into()));
            }),
            ("eviction", true, |seen| {
                seen.info.maxmemory = 1;
                seen.info.maxmemory_policy = "allkeys-lru".into();
            }),
            ("modules", true, |seen| seen.info.modules.push("bf".into())),
            ("foreign_connections", false, |seen| {
                seen.foreign = Ok(vec![stranger(None), stranger(Some(Bypass::Redirected))])
            }),
            ("renamed_commands", false, |seen| seen.renamed.push("get".into())),
        ];
        for (label, tolerated, change) in cases {
            let mut seen = fine();
            change(&mut seen);
            let strict = judge(&seen, Mode::Strict);
            assert!(!strict.coherent, "{label}");
            assert_eq!(strict.causes[0].label(), label);
            assert_eq!(judge(&seen, Mode::Bounded).coherent, tolerated, "{label}");
        }
    }

    #[test]
    fn what_the_operator_disabled_is_off_and_tells_what_else_there_is() {
        let mut judgement = judge(&fine(), Mode::Strict);
        judgement.disable();
        judgement.disable();
        assert_eq!((judgement.state(), &judgement.causes[..]), ("off", &[Cause::Disabled][..]));
        let mut other = Judgement::refused(Cause::Loading);
        other.disable();
        assert_eq!(other.causes, [Cause::Loading, Cause::Disabled]);
    }

    #[test]
    fn who_may_vouch_for_users_is_told_so() {
        let mut seen = fine();
        seen.users = None;
        assert!(!judge(&seen, Mode::Bounded).causes[0].to_string().contains("trust_users"));
        seen.path.push(Cause::UserPath);
        assert!(judge(&seen, Mode::Bounded).causes[0].to_string().contains("trust_users"));
    }

    #[test]
    fn users_and_passwords_alone_forbid_nothing() {
        let mut seen = fine();
        let rules = ["user default off", "user sidecar on #1 ~* +@all", "user bob on #1 ~b* +@all"];
        seen.users = Some(Users::of(&rules.map(str::to_owned), &["@read".to_owned()]));
        assert!(!judge(&seen, Mode::Strict).coherent, "the agent itself must come in");
        seen.user = "sidecar".into();
        assert!(judge(&seen, Mode::Strict).coherent);
    }
}
