//! Applications that touch a shared word.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use heartbeat_lease::{Lease, layout, monotonic_ns};

use crate::support::{Host, Process, wait_for};

fn keys(file: &Path) -> String {
    format!("lease_by = \"shared\"\nlease = \"400ms\"\nlease_file = \"{}\"\n", file.display())
}

/// The example in C, which touches for ever.
fn worker(folder: &Path, file: &Path) -> Process {
    let lease = Path::new(env!("CARGO_MANIFEST_DIR")).join("lease");
    let program = folder.join("worker");
    if !program.exists() {
        let compiled = Command::new("cc")
            .arg("-I")
            .arg(lease.join("include"))
            .arg(lease.join("examples/worker.c"))
            .arg("-o")
            .arg(&program)
            .status();
        assert!(compiled.expect("a C compiler; Debian's package build-essential has it").success());
    }
    let child = Command::new(program).arg(file).stdout(Stdio::null()).spawn();
    Process(child.expect("the worker runs"))
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.lease");
    (folder, file)
}

fn write(file: &Path, word: u64) {
    let open = OpenOptions::new().write(true).open(file).expect("the file");
    open.write_all_at(&word.to_ne_bytes(), layout::ALIVE_UNTIL_AT as u64).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_application_lapses_and_comes_back() {
    let (folder, file) = folder();
    let host = Host::start(&[(7, &keys(&file))]);
    assert!(!host.view(7).alive, "nobody has touched yet");
    let worker = worker(folder.path(), &file);
    for _ in 0..2 {
        host.wait_alive(7);
        worker.signal(libc::SIGSTOP);
        host.wait_lapsed(7);
        let told = host.told(7);
        assert!(told.iter().all(|&until| until <= monotonic_ns() || until == 0), "all is over: {told:?}");
        worker.signal(libc::SIGCONT);
    }
    host.wait_alive(7);
    drop(worker);
    host.wait_lapsed(7);
    let view = host.view(7);
    assert!(view.renewals > 0 && view.absurd == 0 && view.last_failure.is_none(), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_outlives_the_agent() {
    let (folder, file) = folder();
    let keys = keys(&file);
    let first = Host::start(&[(7, &keys)]);
    let _worker = worker(folder.path(), &file);
    first.wait_alive(7);
    drop(first);
    let second = Host::start(&[(7, &keys)]);
    second.wait_alive(7);
    second.wait(7, "is touched", |view| view.renewals > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_speaks_only_for_its_node() {
    let (folder, file) = folder();
    let other = folder.path().join("other.lease");
    let host = Host::start(&[(7, &keys(&file)), (8, &keys(&other))]);
    let _worker = worker(folder.path(), &file);
    host.wait(7, "is touched", |view| view.renewals > 20);
    assert_eq!((host.view(8).alive, host.view(8).renewals), (false, 0));
    assert!(host.told(8).is_empty());
    // By another way to the same file.
    let twice = format!("{}/./orders.lease", folder.path().display());
    let nodes = [(7, keys(&file)), (9, keys(Path::new(&twice)))];
    let nodes: Vec<_> = nodes.iter().map(|(number, keys)| (*number, keys.as_str())).collect();
    let error = Host::try_start(&nodes, None).map(drop).expect_err("one file for two").to_string();
    assert!(error.starts_with("nodes 7 and 9 share the lease_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_application_cannot_mean_is_not_believed() {
    let (_folder, file) = folder();
    let host = Host::start(&[(7, &keys(&file))]);
    write(&file, u64::MAX);
    host.wait(7, "is not believed", |view| view.absurd == 1);
    host.wait_failure(7, "time namespace");
    assert!(host.told(7).is_empty());
    // Ten minutes ahead: it is alive, but for one lease only.
    let far = monotonic_ns() + 600_000_000_000;
    write(&file, far);
    host.wait(7, "is taken at its longest lease", |view| view.clamped == 1);
    host.wait_lapsed(7);
    assert!(host.told(7).iter().all(|&until| until < far), "{:?}", host.told(7));
    // An honest touch counts again.
    Lease::open(&file).expect("a lease").touch();
    host.wait(7, "is touched", |view| view.renewals == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_ends_nothing_but_its_own_lease() {
    let (_folder, file) = folder();
    let host = Host::start(&[(7, &keys(&file)), (8, "lease = \"100ms\"")]);
    let damages: [fn(&Path); 3] = [
        |file| OpenOptions::new().write(true).open(file).expect("the file").set_len(0).expect("shortened"),
        |file| OpenOptions::new().write(true).open(file).expect("the file").set_len(1 << 20).expect("longer"),
        |file| fs::remove_file(file).expect("removed"),
    ];
    for damage in damages {
        damage(&file);
        // A whole one comes in its place, which the application has to open.
        let lease = wait_for("there is a file again", || {
            let lease = Lease::open(&file).map_err(|error| error.to_string())?;
            lease.touch();
            if host.view(7).alive { Ok(lease) } else { Err(format!("{:?}", host.view(7))) }
        });
        lease.release();
        host.wait_lapsed(7);
    }
    let renewals = host.view(8).renewals;
    host.wait(8, "goes on", |view| view.renewals > renewals + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_heard() {
    let (_folder, file) = folder();
    let host = Host::start(&[(7, &format!("{}when_lapsed = \"degraded\"", keys(&file)))]);
    let lease = Lease::open(&file).expect("a lease");
    lease.touch();
    host.wait(7, "was touched", |view| view.renewals == 1);
    lease.release();
    wait_for("the sink hears that it is over", || {
        let told = host.told(7);
        if told.last() == Some(&0) { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_is_kept_busy_lets_no_lease_lapse() {
    let (folder, file) = folder();
    let host = Host::start(&[(7, &keys(&file)), (8, "lease = \"100ms\"")]);
    let _worker = worker(folder.path(), &file);
    let (release, busy) = std::sync::mpsc::channel::<()>();
    let busy = Arc::new(Mutex::new(busy));
    for _ in 0..2 {
        let busy = Arc::clone(&busy);
        tokio::spawn(async move { busy.lock().expect("the channel").recv() });
    }
    let renewals = [7, 8].map(|number| host.view(number).renewals);
    for (number, renewals) in [7, 8].into_iter().zip(renewals) {
        host.wait(number, "goes on", |view| view.renewals > renewals + 5);
    }
    drop(release);
}
