//! Values end when Redis says, however late Redis itself removes them (C4).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, request};

/// Other keys with a time to live.
const OTHERS: u32 = 400_000;

/// Clients that read at once, each its own keys.
const CLIENTS: usize = 3;

/// Hits that show something.
const HITS: u64 = 500;

/// Rounds in which there must be so many, also on a machine that is busy with other things.
const ROUNDS_MAX: usize = 8;

/// Keys of each client and round.
const KEYS: usize = 8;

/// Redis's clock stands still for a millisecond, and another one goes between the two clocks' readings.
const CLOCK: Duration = Duration::from_millis(2);

/// Makes so many keys that Redis is behind with their removal. Those of the first half are over already.
fn others(plain: &mut Client) -> Result<()> {
    let script = "for i = 1, tonumber(ARGV[1]) do
        redis.call('SET', 'other:' .. i, 'v', 'PX', i * 2 <= tonumber(ARGV[1]) and 1 or 3600000)
    end";
    plain.send(&request(&["EVAL", script, "0", &OTHERS.to_string()]))?;
    plain.expect(b"$-1\r\n")
}

/// Gives keys deadlines by all commands that can, and reads them until well after: when each was last seen, and whether
/// the stack could have answered until then.
fn round(client: &mut Client, number: usize) -> Result<()> {
    let mut ends = Vec::new();
    for i in 0..KEYS {
        let (key, ms) = (format!("short:{number}:{i}"), 700 + 60 * i as u64);
        let commands = match i % 4 {
            0 => vec![format!("SET {key} value PX {ms}")],
            1 => vec![format!("PSETEX {key} {ms} value")],
            2 => vec![format!("SET {key} value"), format!("PEXPIRE {key} {ms}")],
            _ => vec![format!("SET {key} value"), format!("GETEX {key} PX {ms}")],
        };
        for command in commands {
            client.command(&command)?;
        }
        ends.push((key, Instant::now() + Duration::from_millis(ms) + CLOCK));
    }
    let last = ends.iter().map(|(_, end)| *end).max().context("no keys")?;
    while Instant::now() < last + Duration::from_millis(200) {
        for (key, end) in &ends {
            let asked = Instant::now();
            let got = client.get(key)?;
            let late = asked.saturating_duration_since(*end);
            ensure!(late.is_zero() || got.is_none(), "{key} was served {late:?} after its end");
        }
    }
    Ok(())
}

/// Rounds with several clients, until hits on keys that were about to end have shown something.
fn rounds(lab: &Lab, names: usize) -> Result<()> {
    let before = lab.hits()?;
    for number in names..names + ROUNDS_MAX {
        thread::scope(|scope| {
            let clients = (0..CLIENTS).map(|own| {
                let mut client = lab.client(ACCELERATED)?;
                Ok(scope.spawn(move || round(&mut client, number * CLIENTS + own)))
            });
            let clients: Vec<_> = clients.collect::<Result<_>>()?;
            clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("panicked"))?)
        })?;
        if number > names && lab.hits()? - before > HITS {
            return Ok(());
        }
    }
    bail!("only {} hits in {ROUNDS_MAX} rounds", lab.hits()? - before)
}

/// Keys that were over long ago and that Redis still holds.
fn lag(plain: &mut Client) -> Result<u64> {
    let size = String::from_utf8(plain.command("DBSIZE")?)?;
    let size: u64 = size.trim_start_matches(':').trim().parse()?;
    Ok(size.saturating_sub(u64::from(OTHERS) / 2))
}

fn no_value_outlives_its_deadline(options: Options) {
    Lab::run(options, |lab| {
        let mut plain = lab.client(PLAIN)?;
        others(&mut plain)?;
        // Redis removes some of them, once a second.
        rounds(lab, 0)?;
        // And now none.
        plain.check("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n")?;
        others(&mut plain)?;
        rounds(lab, 100)?;
        let lag = lag(&mut plain)?;
        ensure!(lag > u64::from(OTHERS) / 4, "only {lag} keys were left over: Redis was not behind");
        Ok(())
    });
}

#[test]
fn no_value_outlives_its_deadline_in_the_stack() {
    no_value_outlives_its_deadline(Options { redis: vec!["--hz", "1"], ..Options::default() });
}

#[test]
fn no_value_outlives_its_deadline_on_the_user_path() {
    no_value_outlives_its_deadline(Options { redis: vec!["--hz", "1"], ..Options::user() });
}
