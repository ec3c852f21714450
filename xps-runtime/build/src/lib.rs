//! Builds a service's BPF object from its build script.
//!
//! The kernel programs are compiled by another compiler than the rest: one that brings a `core` for the BPF target
//! (Debian's `rustc`), linked by `bpf-linker`. `cargo xtask setup` installs both; where they are missing the build fails
//! with an error that says so. Environment, all optional:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `BPF_OBJECT` | a prebuilt object; nothing is compiled |
//! | `XPS_BPF_RUSTC` | the compiler for the BPF target; without it `/usr/bin/rustc` |
//! | `XPS_BPF_PREFIX` | where `bin/bpf-linker` and `lib/libLLVM.so` lie; without it `target/xps-bpf` of the workspace, then `PATH` |
//!
//! A service's build script is then:
//!
//! ```no_run
//! xps_build::Object::new("kv-cache-ebpf", "..").unstable_crates(&["kv_cache_ebpf"]).sources(&["ebpf", "fastpath"]).build_or_exit();
//! ```
//!
//! and the service embeds the object, whose path is in the variable `XPS_OBJECT` at compile time. A small service may hold
//! programs and agent in one package ([`Object::binary`]); `xps-runtime/examples/line` does.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that the programs are compiled for.
pub const TARGET: &str = "bpfel-unknown-none";

/// The profile of the workspace that they are compiled with.
pub const PROFILE: &str = "bpf";

/// Crates that every service's object contains and that use unstable features: inline assembly for BPF.
const UNSTABLE_CRATES: [&str; 3] = ["aya_ebpf", "xps_core", "xps_ebpf"];

/// A BPF object to be built from a package of the workspace.
#[derive(Clone, Debug)]
pub struct Object {
    package: String,
    binary: String,
    workspace: PathBuf,
    unstable: Vec<String>,
    sources: Vec<PathBuf>,
}

/// Why an object could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// `BPF_OBJECT` names a file that cannot be read.
    Prebuilt(PathBuf, std::io::Error),
    /// There is no compiler for the BPF target.
    Compiler(String),
    /// There is no `bpf-linker`.
    Linker(Vec<PathBuf>),
    /// The workspace cannot be found from the service's folder.
    Workspace(PathBuf, std::io::Error),
    /// Cargo could not be started or failed; its output went to standard error.
    Cargo(String),
    /// The object could not be put in its place.
    Write(PathBuf, std::io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SETUP: &str = "run `cargo xtask setup` once (it installs the BPF toolchain), or set BPF_OBJECT to a prebuilt object";
        match self {
            Self::Prebuilt(path, error) => {
                write!(
                    f,
                    "BPF_OBJECT is {}, which cannot be read: {error}; correct or unset it",
                    path.display()
                )
            }
            Self::Compiler(what) => write!(f, "no compiler for the BPF target: {what}; {SETUP}"),
            Self::Linker(tried) => {
                let tried: Vec<_> = tried.iter().map(|path| path.display().to_string()).collect();
                write!(f, "bpf-linker is in none of {} and not in PATH; {SETUP}", tried.join(", "))
            }
            Self::Workspace(path, error) => write!(f, "no workspace at {}: {error}", path.display()),
            Self::Cargo(what) => {
                write!(f, "the BPF programs were not built: {what} (see cargo's messages above)")
            }
            Self::Write(path, error) => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BuildError {}

impl Object {
    /// The object of `package`, whose workspace is at `workspace`, relative to the service's own folder.
    #[must_use]
    pub fn new(package: &str, workspace: impl AsRef<Path>) -> Self {
        Self {
            package: package.to_owned(),
            binary: package.to_owned(),
            workspace: workspace.as_ref().to_owned(),
            unstable: UNSTABLE_CRATES.iter().map(ToString::to_string).collect(),
            sources: Vec::new(),
        }
    }

    /// Names the package's binary that holds the programs, where it is not named like the package.
    ///
    /// This allows a package of its own programs: for them it is built a second time, with the feature `program`, and
    /// then its build script has nothing to do.
    #[must_use]
    pub fn binary(mut self, name: &str) -> Self {
        name.clone_into(&mut self.binary);
        self
    }

    /// Names further crates that need unstable features, as the compiler spells them.
    #[must_use]
    pub fn unstable_crates(mut self, crates: &[&str]) -> Self {
        self.unstable.extend(crates.iter().map(ToString::to_string));
        self
    }

    /// Adds folders, relative to the service's, whose change means a new object. The runtime's own are known.
    #[must_use]
    pub fn sources(mut self, folders: &[&str]) -> Self {
        self.sources.extend(folders.iter().map(PathBuf::from));
        self
    }

    /// Builds the object, tells cargo what it depends on, and gives its path.
    ///
    /// # Errors
    /// If the toolchain is missing or the programs do not compile.
    pub fn build(&self) -> Result<PathBuf, BuildError> {
        for variable in ["BPF_OBJECT", "XPS_BPF_RUSTC", "XPS_BPF_PREFIX"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
        let place = out.join(format!("{}.bpf", self.binary));
        println!("cargo::rustc-env=XPS_OBJECT={}", place.display());
        if let Some(prebuilt) = env::var_os("BPF_OBJECT").map(PathBuf::from) {
            println!("cargo::rerun-if-changed={}", prebuilt.display());
            fs::copy(&prebuilt, &place).map_err(|error| BuildError::Prebuilt(prebuilt, error))?;
            return Ok(place);
        }
        let workspace = self
            .workspace
            .canonicalize()
            .map_err(|error| BuildError::Workspace(self.workspace.clone(), error))?;
        for folder in ["xps-runtime/core", "xps-runtime/ebpf", "Cargo.toml", "Cargo.lock"] {
            println!("cargo::rerun-if-changed={}", workspace.join(folder).display());
        }
        for folder in &self.sources {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        let built = self.compile(&workspace, &out.join("bpf"))?;
        fs::copy(&built, &place).map_err(|error| BuildError::Write(place.clone(), error))?;
        Ok(place)
    }

    /// Like [`build`](Self::build); an error is printed, and ends the build script.
    pub fn build_or_exit(&self) {
        if env::var_os("CARGO_FEATURE_PROGRAM").is_some() {
            return; // These are the programs themselves.
        }
        if let Err(error) = self.build() {
            println!("cargo::error={error}");
            std::process::exit(1);
        }
    }

    fn compile(&self, workspace: &Path, target: &Path) -> Result<PathBuf, BuildError> {
        let rustc = compiler()?;
        let linker = Linker::find(workspace)?;
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(workspace)
            .args(["build", "--package", &self.package, "--bin", &self.binary])
            .args(["--features", "program", "--profile", PROFILE])
            .args(["--target", TARGET, "--locked", "--target-dir"])
            .arg(target)
            .env("RUSTC", &rustc)
            .env("RUSTC_BOOTSTRAP", self.unstable.join(","))
            .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, &linker.program))
            .env("CARGO_TERM_COLOR", "never");
        // Settings of the outer cargo are for the host's compiler.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_FEATURE_")
                || name.starts_with("CARGO_CFG_")
                || name.starts_with("CARGO_PROFILE_")
                || name.starts_with("CARGO_TARGET_")
                || UNSET.contains(&name.as_str())
            {
                command.env_remove(name);
            }
        }
        if let Some(library) = &linker.library {
            command.env("LD_LIBRARY_PATH", library_path(library));
        }
        let output = command.output().map_err(|error| BuildError::Cargo(error.to_string()))?;
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            return Err(BuildError::Cargo(output.status.to_string()));
        }
        Ok(target.join(TARGET).join(PROFILE).join(&self.binary))
    }
}

/// What the outer cargo sets and the inner one must not see.
const UNSET: [&str; 9] = [
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// The compiler that has a `core` for the target.
fn compiler() -> Result<PathBuf, BuildError> {
    let rustc = env::var_os("XPS_BPF_RUSTC").map_or_else(|| PathBuf::from("/usr/bin/rustc"), PathBuf::from);
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| BuildError::Compiler(format!("{} cannot be run ({error})", rustc.display())))?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let has_core = fs::read_dir(&library).is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if has_core {
        Ok(rustc)
    } else {
        Err(BuildError::Compiler(format!("{} has no library for {TARGET}", rustc.display())))
    }
}

/// bpf-linker and the folder of the LLVM that it was linked to, if that is its own.
struct Linker {
    program: PathBuf,
    library: Option<PathBuf>,
}

impl Linker {
    fn find(workspace: &Path) -> Result<Self, BuildError> {
        let prefixes: Vec<PathBuf> = env::var_os("XPS_BPF_PREFIX")
            .map(PathBuf::from)
            .into_iter()
            .chain([workspace.join("target/xps-bpf")])
            .collect();
        for prefix in &prefixes {
            let program = prefix.join("bin/bpf-linker");
            if program.is_file() {
                let library = Some(prefix.join("lib")).filter(|library| library.is_dir());
                return Ok(Self { program, library });
            }
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join("bpf-linker"))
            .find(|program| program.is_file())
            .map(|program| Self { program, library: None })
            .ok_or(BuildError::Linker(prefixes))
    }
}

/// Flags of the compiler, separated as cargo wants them. The checkout's and cargo's folders are taken out of the object,
/// so that two checkouts give the same one. Unless told otherwise, the linker makes small `memset`s calls of a function
/// that stores byte by byte.
fn flags(workspace: &Path, linker: &Path) -> OsString {
    let mut flags = OsString::from(
        "-Ctarget-cpu=v3\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f\
         -Clink-arg=--disable-expand-memcpy-in-order\x1f-Clinker=",
    );
    flags.push(linker);
    flags.push("\x1f--remap-path-prefix=");
    flags.push(workspace);
    flags.push("=.");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        #[allow(deprecated)] // Right for this use since Rust 1.85.
        env::home_dir().map(|home| home.join(".cargo"))
    });
    if let Some(home) = home {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(home);
        flags.push("=cargo");
    }
    flags
}

fn library_path(library: &Path) -> OsString {
    let before = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let paths = std::iter::once(library.to_owned()).chain(env::split_paths(&before));
    env::join_paths(paths.filter(|path| !path.as_os_str().is_empty())).unwrap_or(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_separated_and_take_the_checkout_out() {
        let flags = flags(Path::new("/checkout"), Path::new("/opt/bin/bpf-linker"));
        let flags = flags.to_string_lossy().into_owned();
        let flags: Vec<_> = flags.split('\x1f').collect();
        assert!(flags.contains(&"-Clinker=/opt/bin/bpf-linker"));
        assert!(flags.contains(&"--remap-path-prefix=/checkout=."));
    }

    #[test]
    fn a_missing_toolchain_names_the_command_that_installs_it() {
        for error in [BuildError::Compiler("gone".into()), BuildError::Linker(vec![PathBuf::from("/x")])] {
            assert!(error.to_string().contains("cargo xtask setup"), "{error}");
        }
    }
}
