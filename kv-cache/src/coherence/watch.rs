//! Watches the server and its connections, and allows or forbids hits (C8, C9).
//!
//! The order of a check is what makes it sound. The programs count what they cannot vouch for: segments of unknown
//! connections (`foreign`), and commands that may change what was checked (`rechecks`); each count that the agent has not
//! seen forbids hits at once. So the counts are read first, then everything is looked at, then all entries are made
//! invalid if anything was in doubt, and only then the counts that were read are declared seen. What happens in between
//! raises a count, and the next check begins.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kv_fastpath::coherence::settled;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::coherence::{Cause, Judgement, Observation, Stranger, judge};
use crate::config::Config;
use crate::entries::touch::Toucher;
use crate::server::commands::{self, Commands};
use crate::server::redis::{Connection, RedisError, retry_delay};
use crate::server::strangers::Strangers;
use crate::server::users::Users;
use crate::shared::{Place, count, lock};

/// How often the counts are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How often everything is looked at, whatever the counts say.
const CHECK: Duration = Duration::from_secs(1);

/// Least time between two checks while there are no hits: an older connection at work raises the counts all the time.
const CHECK_REFUSED: Duration = Duration::from_millis(200);

/// What Redis's idle timeout is taken for where it does not tell, in seconds. It costs each connection a request a minute or
/// so that would have been a hit.
const IDLE_TIMEOUT_UNKNOWN_S: u32 = 300;

/// Counts up to which the agent has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    foreign: u64,
    rechecks: u64,
}

/// Watches until `stop` turns true.
pub async fn run(place: Arc<dyn Place>, mut stop: watch::Receiver<bool>) {
    let mut failures = 0;
    loop {
        let watching = async {
            let error = connected(&*place, &mut failures).await;
            place.shared().refuse(Judgement::refused(Cause::Unreachable(error.to_string())));
            if failures < 3 || failures % 16 == 0 {
                tracing::warn!(%error, "no hits while Redis cannot be watched; trying again");
            }
            sleep(retry_delay(failures)).await;
            failures += 1;
        };
        tokio::select! {
            () = watching => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    place.shared().refuse(Judgement::refused(Cause::Draining));
}

/// Watches as long as the connection lasts; gives what ended it.
async fn connected(place: &dyn Place, failures: &mut u32) -> RedisError {
    let attempt = async {
        let redis = place.shared().config.read().redis.clone();
        let mut connection = Connection::open(&redis).await?;
        place.shared().whereabouts.look(&redis.address, connection.peer_address()?).await?;
        let run_id = connection.info().await?.0.run_id;
        let commands = learn(&mut connection, place).await?;
        Ok((connection, run_id, commands))
    };
    let (mut connection, run_id, mut commands) = match attempt.await {
        Ok(parts) => parts,
        Err(error) => return error,
    };
    *failures = 0;
    tracing::info!(commands = commands.len(), "watching Redis");
    let mut toucher = Toucher::default();
    let mut strangers = Strangers::default();
    let mut seen = None;
    let mut last: Option<(Seen, Instant)> = None;
    loop {
        let now = Seen { foreign: place.foreign(), rechecks: place.shared().settings.rechecks() };
        let pause = if seen.is_some() { LOOK } else { CHECK_REFUSED };
        let due = last.is_none_or(|(counts, at)| at.elapsed() >= if counts == now { CHECK } else { pause });
        if due {
            last = Some((now, Instant::now()));
            let again = async {
                let whereabouts = &place.shared().whereabouts;
                if whereabouts.take_doubt() {
                    let address = &place.shared().config.read().redis.address;
                    whereabouts.look(address, connection.peer_address()?).await?;
                }
                if seen.is_some_and(|seen: Seen| seen.rechecks != now.rechecks) {
                    commands = learn(&mut connection, place).await?;
                }
                let asking = (&mut connection, &mut strangers);
                check(place, asking, &commands, now, seen, &run_id, &mut toucher).await
            };
            match again.await {
                Ok(done) => seen = done.then_some(now),
                Err(error) => return error,
            }
        }
        tokio::select! {
            () = connection.closed() => return RedisError::Broken(std::io::ErrorKind::UnexpectedEof.into()),
            () = place.shared().recheck.notified() => {}
            () = sleep(LOOK) => {}
        }
    }
}

/// Asks the server for its commands and puts them into the programs' table.
async fn learn(connection: &mut Connection, place: &dyn Place) -> Result<Commands, RedisError> {
    let understood = |error: commands::CommandsError| RedisError::Protocol(error.to_string());
    let names = commands::names(&connection.commands().await?).map_err(understood)?;
    let mut question: Vec<&[u8]> = vec![b"COMMAND", b"INFO"];
    question.extend(names.iter().map(String::as_bytes));
    let learnt = Commands::learn(&names, &connection.ask(&question).await?).map_err(understood)?;
    place.store_commands(&learnt).map_err(|error| RedisError::Protocol(error.to_string()))?;
    Ok(learnt)
}

/// Looks at everything. Whether the counts in `now` may be taken as seen from here on.
async fn check(
    place: &dyn Place,
    (connection, strangers): (&mut Connection, &mut Strangers),
    commands: &Commands,
    now: Seen,
    seen: Option<Seen>,
    run_id: &str,
    toucher: &mut Toucher,
) -> Result<bool, RedisError> {
    let shared = place.shared();
    let config = shared.config.read();
    let (info, answered) = connection.info().await?;
    if info.run_id != run_id {
        return Err(RedisError::Protocol("another server answers on the same connection".to_owned()));
    }
    let mut path = place.causes();
    // In the stack users are looked up by number, and whoever is vouched for has none that is known.
    let vouched = config.trust_users && path.contains(&Cause::UserPath);
    if !answered {
        path.push(Cause::InfoRefused);
    }
    // One after the other, each is a round trip: once a second, and beside the requests' path.
    let observation = Observation {
        users: match connection.users().await {
            Ok(rules) => Some(Users::of(&rules, commands.get_categories())),
            Err(RedisError::Refused { .. }) if vouched => {
                path.push(Cause::UsersTrusted);
                Some(Users::trusted(strangers.welcome(&config.redis).await))
            }
            Err(RedisError::Refused { .. }) => None,
            Err(error) => return Err(error),
        },
        user: match connection.user().await {
            Err(RedisError::Refused { .. }) => config.redis.user().to_owned(),
            user => user?,
        },
        unixsocket: connection.setting("unixsocket").await?,
        path,
        foreign: foreign(place, &config, connection).await?,
        renamed: commands.renamed().to_vec(),
        info,
    };
    let timeout_s = connection.setting("timeout").await?.and_then(|text| text.parse().ok());
    shared.idle_timeout_s.store(timeout_s.unwrap_or(IDLE_TIMEOUT_UNKNOWN_S), Ordering::Relaxed);
    toucher.round(shared, connection, &observation.info).await?;
    // Whether or not there are hits: what is refused now does not stand against them later.
    let login = observation.users.as_ref().is_some_and(|users| users.login);
    shared.settings.set_login(login);
    if login {
        end_strangers(place);
    }
    let mut judgement = judge(&observation, config.coherence);
    let global = shared.buckets.read(kv_fastpath::abi::GLOBAL_BUCKET);
    if seen.is_none_or(|seen| seen.rechecks != now.rechecks) && !settled(global) {
        // The command that asked for this check may not have been carried out yet. Its reply asks again.
        judgement.causes.push(Cause::RecheckPending);
        judgement.coherent = false;
    }
    if shared.draining.load(Ordering::Acquire) {
        judgement = Judgement::refused(Cause::Draining);
    }
    if shared.disabled.load(Ordering::Acquire) {
        judgement.disable();
    }
    let before = lock(&shared.judgement).clone();
    if before != judgement {
        let causes: Vec<_> = judgement.causes.iter().map(ToString::to_string).collect();
        tracing::info!(state = judgement.state(), causes = causes.join("; "), "coherence");
    }
    if !judgement.coherent {
        shared.refuse(judgement);
        return Ok(false);
    }
    if let Some(users) = &observation.users {
        allow(place, users)?;
    }
    let strict = judgement.causes.is_empty();
    let newly_bound = !strict && shared.freshness.bind();
    if seen != Some(now) || !before.coherent || newly_bound || before.state() != judgement.state() {
        // Something may have been written unseen. After this point it cannot, or the bound holds.
        tokio::task::block_in_place(|| shared.flush());
    }
    if strict {
        shared.freshness.unbind();
    }
    shared.settings.set_seen(now.foreign, now.rechecks);
    Ok(shared.allow(judgement))
}

/// Tells the programs which users may read every key.
fn allow(place: &dyn Place, users: &Users) -> Result<(), RedisError> {
    let shared = place.shared();
    let mut known = lock(&shared.users);
    if known.as_ref() == Some(users) {
        return Ok(());
    }
    place.store_users(users).map_err(|error| RedisError::Protocol(error.to_string()))?;
    shared.settings.set_users(users);
    tracing::info!(users = users.count, readers = users.readers(), initial = users.initial, "users");
    *known = Some(users.clone());
    Ok(())
}

/// Ends the connections that hold everybody's hits and that the programs would have refused, had they known that clients must
/// log in: those of the time before the agent's first look, or while its lease had lapsed (C11).
fn end_strangers(place: &dyn Place) {
    let shared = place.shared();
    if settled(shared.buckets.read(kv_fastpath::abi::GLOBAL_BUCKET)) {
        return;
    }
    let ended = tokio::task::block_in_place(|| place.reset_strangers());
    if ended != 0 {
        tracing::info!(
            connections = ended,
            "reset connections that are not understood and have not logged in"
        );
        shared.counts.connections_killed.fetch_add(ended as u64, Ordering::Relaxed);
    }
}

/// How many connections to the server the programs do not understand.
async fn foreign(
    place: &dyn Place,
    config: &Config,
    connection: &mut Connection,
) -> Result<Result<Vec<Stranger>, String>, RedisError> {
    let found = tokio::task::block_in_place(|| place.strangers(config.redis.address.port()));
    let strangers = match found {
        Ok(strangers) => strangers,
        Err(error) => return Ok(Err(error)),
    };
    // The agent's own that found the flow table full: opened again they are understood, once there is room.
    let own = [connection.local_address().ok(), *lock(&place.shared().fill_address)];
    let mut closed = 0;
    for Stranger { peer, by } in &strangers {
        if config.kill_older_connections && by.is_none() || own.contains(&Some(*peer)) {
            connection.push(&[b"CLIENT", b"KILL", b"ADDR", peer.to_string().as_bytes()]);
            count(&place.shared().counts.connections_killed);
            closed += 1;
        }
    }
    if closed != 0 {
        tracing::info!(connections = closed, "closing connections that are older than the hooks");
        connection.send().await?;
    }
    Ok(Ok(strangers))
}
