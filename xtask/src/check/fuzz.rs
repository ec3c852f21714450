//! Fuzz targets, each run for a moment: long enough to see that it works and that its corpus passes.

use super::step::{self, Outcome};
use super::with_tools;
use crate::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SECONDS: u32 = 10;

/// Runs every target of every `fuzz` folder.
pub(super) fn run() -> Vec<Outcome> {
    let folders = folders(&workspace::root());
    let mut outcomes = Vec::new();
    for folder in &folders {
        match workspace::output(cargo_fuzz(folder, "list").arg("--fuzz-dir").arg(folder)) {
            Ok(list) => outcomes.extend(list.lines().map(|target| run_target(folder, target.trim()))),
            Err(error) => {
                outcomes.push(Outcome::failure(
                    &format!("fuzz targets of {}", folder.display()),
                    &format!("{error:#}"),
                ));
            }
        }
    }
    outcomes
}

fn run_target(folder: &Path, target: &str) -> Outcome {
    let mut command = cargo_fuzz(folder, "run");
    // Address checking is left out: the parsers hold no unsafe code, and the sanitizer doubles the build. Debug
    // assertions and overflow checks, which cargo-fuzz switches on, are what finds their mistakes.
    command.args(["--sanitizer", "none", "--fuzz-dir"]).arg(folder).arg(target);
    // The first corpus takes what is newly found; the one in the checkout is only read.
    let found = workspace::target().join("fuzz-corpus").join(target);
    if let Err(error) = fs::create_dir_all(&found) {
        return Outcome::failure(
            &format!("fuzz {target}"),
            &format!("cannot make {}: {error}", found.display()),
        );
    }
    command.arg(found);
    command.args(Some(folder.join("corpus").join(target)).filter(|corpus| corpus.is_dir()));
    command.args([
        "--",
        &format!("-max_total_time={SECONDS}"),
        "-timeout=10",
        "-print_final_stats=1",
        "-verbosity=0",
    ]);
    step::run(&format!("fuzz {target}"), &mut command)
}

fn cargo_fuzz(folder: &Path, subcommand: &str) -> Command {
    let mut command = with_tools();
    command.args(["fuzz", subcommand]).current_dir(folder.parent().unwrap_or(folder));
    // Without a sanitizer cargo-fuzz uses only flags that the stable compiler takes. A folder of its own keeps those
    // flags from rebuilding everything else.
    command.env("CARGO_TARGET_DIR", workspace::target().join("fuzz"));
    command
}

/// `<package>/fuzz` of each package of the workspace, at most two levels deep.
fn folders(root: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir() && !path.ends_with("target") && !path.ends_with(".git")).collect()
    };
    let mut found: Vec<PathBuf> = inside(root)
        .iter()
        .flat_map(|package| {
            let mut all = inside(package);
            all.push(package.clone());
            all
        })
        .map(|package| package.join("fuzz"))
        .filter(|fuzz| fuzz.join("Cargo.toml").is_file())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn fuzz_folders_are_packages() {
        for folder in super::folders(&crate::workspace::root()) {
            assert!(folder.ends_with("fuzz") && folder.join("Cargo.toml").is_file());
        }
    }
}
