//! The keys that are asked for most.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kv_cache::telling::top::{Key, View};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, until};

fn key<'v>(view: &'v View, name: &str) -> Result<&'v Key> {
    view.keys.iter().find(|key| key.key == name).with_context(|| format!("{name} is not in {view}"))
}

/// Asks for keys as fast as it goes, the first one nine times of ten, and looks meanwhile, twice. The second view, and how
/// many requests there were a second.
fn load(lab: &Lab, client: &mut Client, keys: [&str; 2]) -> Result<(View, f64)> {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let views = lab.top().and_then(|_| {
                std::thread::sleep(Duration::from_millis(3500));
                lab.top()
            });
            done.store(true, std::sync::atomic::Ordering::Release);
            views
        });
        let start = Instant::now();
        let mut requests = 0_u64;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            client.holds(keys[usize::from(requests % 10 == 9)], "value")?;
            requests += 1;
        }
        let rate = requests as f64 / start.elapsed().as_secs_f64();
        Ok((looking.join().expect("no panic")?, rate))
    })
}

#[test]
fn keys_are_shown_by_their_requests_while_somebody_watches() {
    // Keys are nowhere else, so the log is checked too.
    Lab::run(
        Options { settings: vec!["log.level=debug", "cache.ttl_max=1h"], ..Options::default() },
        |lab| {
            let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
            for name in ["hot", "warm", "cold"] {
                plain.set(name, "value")?;
                lab.warm(&mut fast, name, "value")?;
            }
            plain.check("RPUSH missed a", ":1\r\n")?;
            let (view, rate) = load(lab, &mut fast, ["hot", "warm"])?;
            let (hot, warm) = (key(&view, "hot")?, key(&view, "warm")?);
            println!("{rate:.0} requests/s; {view}");
            // Far more than a counter holds; not exact, since the load is not even.
            ensure!(rate > 1_000.0, "the load was too small to fill a counter: {rate:.0} requests/s");
            ensure!(hot.hits_per_second > rate * 0.1 && hot.hits_per_second < rate * 10.0, "{rate}: {hot:?}");
            ensure!(warm.hits_per_second > rate * 0.01 && warm.hits_per_second < rate, "{rate}: {warm:?}");
            ensure!(view.keys[0].key == "hot" && view.keys[1].key == "warm", "{view}");
            ensure!(hot.entry_bytes == Some(72) && hot.database == 0, "{hot:?}");
            ensure!(hot.ttl_seconds.is_some_and(|ttl| ttl > 3000.0 && ttl <= 3600.0), "{hot:?}");
            ensure!(key(&view, "cold").is_err(), "nobody asked for it: {view}");

            // Misses, also of what is never cached; and bytes that are no text.
            plain.set("a b\n\\", "x")?;
            let until_seen = |lab: &Lab, client: &mut Client| {
                until("a missed key", || {
                    (0..50).try_for_each(|_| client.command("GET missed").map(drop))?;
                    Ok(key(&lab.top()?, "missed").ok().cloned())
                })
            };
            let missed = until_seen(lab, &mut fast)?;
            ensure!(missed.misses_per_second > 0.0 && missed.entry_bytes.is_none(), "{missed:?}");
            fast.send(b"*2\r\n$3\r\nGET\r\n$5\r\na b\n\\\r\n")?;
            fast.reply()?;
            until("an escaped key", || Ok(key(&lab.top()?, "a b\\n\\\\").is_ok().then_some(())))?;

            let words = lab.sidecar_words()?;
            ensure!(!words.contains("missed") && !words.contains("hot"), "a key is in the log:\n{words}");
            Ok(())
        },
    );
}
