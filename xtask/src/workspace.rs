//! Where things are, and how other programs are run.

use anyhow::{Context, Result, bail};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// What is installed for this checkout lies here, whatever `CARGO_TARGET_DIR` says: build scripts look for it here.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The prefix that holds bpf-linker and the link to LLVM's library.
pub(crate) fn bpf_prefix() -> PathBuf {
    std::env::var_os("XPS_BPF_PREFIX").map_or_else(|| target().join("xps-bpf"), PathBuf::from)
}

/// The prefix that holds cargo-deny and cargo-fuzz.
pub(crate) fn tools_prefix() -> PathBuf {
    target().join("xps-tools")
}

/// The cargo that runs this program, else the one in PATH, working in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // `cargo run` describes xtask's own package to its child; a nested cargo would hand that on to build scripts.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// True if the effective user is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// True in CI, where checks that cannot run are failures.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Unmounts at once, even if a dying process still uses it. What is not mounted stays as it is.
pub(crate) fn unmount(path: &Path) {
    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        // SAFETY: the path is a C string that lives until the call returns.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Finds a program in PATH, and in the places where Debian puts administration programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// `PATH` with these folders before all others.
pub(crate) fn path_with(folders: impl IntoIterator<Item = PathBuf>) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)))
        .context("a folder with a colon in its name cannot stand in PATH")
}

/// Runs to the end and returns the standard output; a failure carries what the program said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = display(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}): {}{}",
            output.status,
            tail(&String::from_utf8_lossy(&output.stderr), 20),
            tail(&String::from_utf8_lossy(&output.stdout), 20)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds a binary of the workspace for measuring and returns its path.
pub(crate) fn build_release(package: &str) -> Result<PathBuf> {
    build(package, "release")
}

/// Builds a binary of the workspace with a profile and returns its path.
pub(crate) fn build(package: &str, profile: &str) -> Result<PathBuf> {
    println!("building {package} ({profile})");
    let mut command = cargo();
    command.args(["build", "--profile", profile, "--package", package, "--bin", package]);
    built(&mut command, package)
}

/// Runs a cargo command that builds a program, and returns the program's path.
pub(crate) fn built(command: &mut Command, name: &str) -> Result<PathBuf> {
    command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("building {name} failed; cargo's messages are above");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no program named {name}"))
}

/// A command as one would type it.
pub(crate) fn display(command: &Command) -> String {
    let mut shown = Path::new(command.get_program())
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
