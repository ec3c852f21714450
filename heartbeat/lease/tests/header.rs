//! The header for C, against the Rust half: compiled as C and as C++, with all warnings as errors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use heartbeat_lease::{Lease, layout, monotonic_ns};

/// Long enough that no promise lapses while the test is kept waiting.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Compiler, its language and the standard.
const DIALECTS: [[&str; 4]; 4] = [
    ["cc", "-x", "c", "-std=c99"],
    ["cc", "-x", "c", "-std=gnu17"],
    ["c++", "-x", "c++", "-std=c++11"],
    ["c++", "-x", "c++", "-std=c++17"],
];

fn compile(dialect: &[&str; 4], folder: &Path, flags: &[&str]) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = folder.join("worker");
    let output = Command::new(dialect[0])
        .args(&dialect[1..])
        .args(["-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wconversion", "-Wshadow", "-O2"])
        .args(flags)
        .arg("-I")
        .arg(here.join("include"))
        .arg(here.join("examples/worker.c"))
        .arg("-o")
        .arg(&program)
        .output()
        .expect("a C compiler; Debian's package build-essential has it");
    assert!(output.status.success(), "{dialect:?}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, file: &Path) -> Output {
    Command::new(program).arg(file).arg("3").output().expect("the program runs")
}

#[test]
fn a_program_in_c_touches_what_rust_reads() {
    for dialect in &DIALECTS {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lease");
        let program = compile(dialect, folder.path(), &[]);
        let absent = run(&program, &file);
        assert!(!absent.status.success(), "{dialect:?}: there is no file");
        fs::write(&file, layout::new_file(HOUR_NS)).expect("a file");
        let lease = Lease::open(&file).expect("a lease");
        lease.touch();
        let (by_rust, before) = (lease.alive_until_ns(), monotonic_ns());
        let output = run(&program, &file);
        assert!(output.status.success(), "{dialect:?}: {}", String::from_utf8_lossy(&output.stderr));
        let by_c: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        assert!(by_c > by_rust && by_c >= before + HOUR_NS, "{dialect:?}: {by_c} after {by_rust}");
        assert!(by_c <= monotonic_ns() + HOUR_NS, "{dialect:?}: {by_c}");
        assert_eq!(lease.alive_until_ns(), 0, "{dialect:?}: it was released");
    }
}

#[test]
fn a_program_in_c_takes_no_other_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(&DIALECTS[0], folder.path(), &[]);
    let file = folder.path().join("lease");
    let mut newer = layout::new_file(HOUR_NS);
    newer[8] ^= 2;
    for bytes in [&[][..], &[0; 64], &newer, &[layout::new_file(1).as_slice(), b"\n"].concat()] {
        fs::write(&file, bytes).expect("a file");
        let output = run(&program, &file);
        assert_eq!(output.status.code(), Some(1), "{bytes:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Invalid argument"), "{output:?}");
    }
    let link = folder.path().join("link");
    fs::write(&file, layout::new_file(HOUR_NS)).expect("a file");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    assert_eq!(run(&program, &link).status.code(), Some(1));
}

#[test]
fn too_little_of_posix_is_a_clear_error() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("late.c");
    // Strict, and with a header of the system in front: too late to ask for more.
    fs::write(&source, "#include <stdio.h>\n#include \"heartbeat_lease.h\"\n").expect("a source");
    let compiled = |flags: &[&str]| {
        let include = here.join("include");
        Command::new("cc")
            .args(["-std=c99", "-fsyntax-only", "-I"])
            .arg(include)
            .args(flags)
            .arg(&source)
            .output()
            .expect("a C compiler; Debian's package build-essential has it")
    };
    let late = compiled(&[]);
    assert!(!late.status.success());
    assert!(String::from_utf8_lossy(&late.stderr).contains("include it first"), "{late:?}");
    assert!(compiled(&["-D_POSIX_C_SOURCE=200809L"]).status.success());
}
