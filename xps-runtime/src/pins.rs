//! What an agent leaves behind for the next, and whether the next can use it.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use aya::maps::{MapData, MapError};

use crate::hook::Hook;
use crate::install::InstallError;
use crate::mapping::Mapping;

/// What of a service's maps the next agent takes over, and whether it can.
#[derive(Clone, Debug)]
pub(crate) struct Layout<'a> {
    /// Maps that each agent starts anew.
    pub(crate) fresh: Vec<&'a str>,
    /// Where the version of the maps is told: a map that can be mapped, and the offset of a word of 32 bits, at a multiple of 8.
    pub(crate) version: (&'a str, usize),
    /// The version that this agent can use.
    pub(crate) version_known: u32,
    /// The map whose first word counts the connections that need the others, if any can: while they do, maps of another
    /// version are not replaced.
    pub(crate) connections: Option<&'a str>,
}

impl Layout<'_> {
    /// Whether a map is pinned and taken over.
    pub(crate) fn keeps(&self, map: &str) -> bool {
        !self.fresh.contains(&map)
    }
}

/// Type and sizes of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// `BPF_MAP_TYPE_…`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Most entries.
    pub entries: u32,
}

impl Shape {
    /// The maps that an object file declares, without the compiler's own sections.
    pub(crate) fn of_object(object: &[u8]) -> Result<Vec<Self>, InstallError> {
        let object =
            aya_obj::Object::parse(object).map_err(|error| InstallError::Object(error.to_string()))?;
        let mut shapes: Vec<_> = object
            .maps
            .iter()
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, map)| Self {
                name: name.clone(),
                kind: map.map_type(),
                key_bytes: map.key_size(),
                value_bytes: map.value_size(),
                entries: map.max_entries(),
            })
            .collect();
        shapes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(shapes)
    }

    /// A map as the kernel has it.
    pub(crate) fn of_map(name: &str, data: &MapData) -> Result<Self, MapError> {
        let info = data.info()?;
        Ok(Self {
            name: name.to_owned(),
            kind: info.map_type()? as u32,
            key_bytes: info.key_size(),
            value_bytes: info.value_size(),
            entries: info.max_entries(),
        })
    }

    /// How a pinned map differs from this declaration. The number of entries may: it is the configuration's.
    fn difference(&self, pinned: &Self) -> Option<String> {
        let of = |shape: &Self| (shape.kind, shape.key_bytes, shape.value_bytes);
        (of(self) != of(pinned))
            .then(|| format!("map {}: {:?} instead of {:?}", self.name, of(pinned), of(self)))
    }
}

/// The pins of one agent, locked against others.
#[derive(Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
    /// Holds the lock, which ends with the process.
    _lock: std::fs::File,
}

impl Pins {
    /// Makes and locks the directory for this network namespace below `base`.
    pub(crate) fn open(base: &Path) -> Result<Self, InstallError> {
        let unusable = |path: &Path, source| InstallError::PinDirectory { path: path.to_owned(), source };
        let mut directory = directory_below(base)?;
        loop {
            std::fs::create_dir_all(&directory).map_err(|source| unusable(&directory, source))?;
            if !crate::probe::on_bpffs(&directory) {
                let source = io::Error::other("it is not on a BPF file system");
                return Err(unusable(&directory, source));
            }
            let lock = match lock(&directory) {
                Err(source) if source.kind() == ErrorKind::WouldBlock => {
                    return Err(InstallError::Busy { path: directory });
                }
                other => other.map_err(|source| unusable(&directory, source))?,
            };
            let pins = Self { directory, _lock: lock };
            if pins.directory.exists() {
                pins.clear_dead_siblings(base);
                return Ok(pins);
            }
            // Another agent took the empty directory for a dead one, between its making and its locking.
            directory = pins.directory.clone();
        }
    }

    /// Likewise, if an agent has left its directory.
    pub(crate) fn left(base: &Path) -> Result<Option<Self>, InstallError> {
        if directory_below(base)?.exists() { Self::open(base).map(Some) } else { Ok(None) }
    }

    /// Removes what agents left in network namespaces that are gone: nobody else would, and their maps keep memory.
    fn clear_dead_siblings(&self, base: &Path) {
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            let directory = entry.path();
            if directory == self.directory || !entry.file_name().as_encoded_bytes().starts_with(b"net-") {
                continue;
            }
            // One that is locked has a living agent.
            let Ok(lock) = lock(&directory) else { continue };
            let pins = Self { directory, _lock: lock };
            if pins.attached().is_ok_and(|attached| !attached) {
                tracing::info!(directory = %pins.directory.display(), "removing what a dead namespace left");
                pins.clear();
            }
        }
    }

    /// Whether a link is attached to an interface that still exists, in whatever namespace.
    fn attached(&self) -> io::Result<bool> {
        let hooks = Hook::all(&self.directory)?;
        Ok(hooks.iter().any(|hook| hook.facts().is_ok_and(|facts| facts.ifindex != 0)))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes what is left of an agent but of no use, and says whether there is something to take over: maps of this
    /// version, and a link that is attached.
    pub(crate) fn settle(&self, shapes: &[Shape], layout: &Layout<'_>) -> Result<bool, InstallError> {
        let attached = self
            .attached()
            .map_err(|source| InstallError::PinDirectory { path: self.directory.clone(), source })?;
        if !attached {
            // No packet has been seen since: what was known of connections is of no use, and those that lived have broken.
            self.clear();
            return Ok(false);
        }
        let Some(difference) = self.difference(shapes, layout) else { return Ok(true) };
        match self.connections(layout) {
            0 => {
                tracing::warn!(
                    difference,
                    "replacing the state of another version, which no connection needs"
                );
                self.clear();
                Ok(false)
            }
            flows => Err(InstallError::OtherVersion { path: self.directory.clone(), difference, flows }),
        }
    }

    /// How the pinned maps differ from what is declared.
    fn difference(&self, shapes: &[Shape], layout: &Layout<'_>) -> Option<String> {
        for shape in shapes.iter().filter(|shape| layout.keeps(&shape.name)) {
            let pinned = MapData::from_pin(self.directory.join(&shape.name));
            match pinned.and_then(|data| Shape::of_map(&shape.name, &data)) {
                Ok(pinned) => {
                    if let Some(difference) = shape.difference(&pinned) {
                        return Some(difference);
                    }
                }
                Err(_) => return Some(format!("map {} is missing", shape.name)),
            }
        }
        let (name, offset) = layout.version;
        let version = self.word(name, offset).map(|word| word as u32);
        (version != Some(layout.version_known))
            .then(|| format!("version {version:?} instead of {}", layout.version_known))
    }

    /// Connections that need the pinned maps. Where they are counted is the same in every version.
    fn connections(&self, layout: &Layout<'_>) -> u64 {
        layout.connections.map_or(0, |name| self.word(name, 0).unwrap_or(u64::MAX))
    }

    /// The word of which `offset` is a part.
    fn word(&self, name: &str, offset: usize) -> Option<u64> {
        let data = MapData::from_pin(self.directory.join(name)).ok()?;
        let memory = Mapping::of_data(&data).ok()?;
        (offset + 8 <= memory.bytes()).then(|| memory.u64(offset / 8 * 8).load(Ordering::Acquire))
    }

    /// Removes all pins and the directory. Links that are attached are detached.
    pub(crate) fn clear(&self) {
        for hook in Hook::all(&self.directory).unwrap_or_default() {
            if let Err(error) = hook.remove() {
                tracing::warn!(%error, "cannot remove a link");
            }
        }
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for entry in entries {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(%error, "cannot remove a pin");
            }
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Succeeds only where nothing is pinned.
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// The directory for this network namespace.
fn directory_below(base: &Path) -> Result<PathBuf, InstallError> {
    let namespace = std::fs::metadata("/proc/self/ns/net")
        .map_err(|source| InstallError::System { what: "the network namespace is not known", source })?;
    Ok(base.join(format!("net-{}", namespace.ino())))
}

/// Locks a directory until the file is closed.
fn lock(directory: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::File::open(directory)?;
    // SAFETY: plain system call on an open descriptor.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if locked < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

/// Memory that a map takes, in bytes, as `/proc` tells; 0 where it does not.
pub(crate) fn memory_of(map: BorrowedFd<'_>) -> u64 {
    field(&fdinfo(map), "memlock:")
}

/// How often and for how long a program ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How often.
    pub count: u64,
    /// For how long in all, in nanoseconds.
    pub time_ns: u64,
}

/// What the kernel has counted of a program's runs; zeros while it does not count.
pub(crate) fn runs_of(program: BorrowedFd<'_>) -> Runs {
    let text = fdinfo(program);
    Runs { count: field(&text, "run_cnt:"), time_ns: field(&text, "run_time_ns:") }
}

fn fdinfo(fd: BorrowedFd<'_>) -> String {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_and_type_must_agree() {
        let shape = Shape { name: "FLOWS".into(), kind: 1, key_bytes: 40, value_bytes: 2000, entries: 10 };
        assert_eq!(shape.difference(&Shape { entries: 20, ..shape.clone() }), None);
        let other = Shape { value_bytes: 2008, ..shape.clone() };
        assert_eq!(
            shape.difference(&other).as_deref(),
            Some("map FLOWS: (1, 40, 2008) instead of (1, 40, 2000)")
        );
    }

    #[test]
    fn fields_of_an_fdinfo_are_read() {
        let text = "pos:\t0\nprog_type:\t3\nmemlock:\t4096\nrun_time_ns:\t1234\nrun_cnt:\t5\n";
        assert_eq!(
            (field(text, "run_time_ns:"), field(text, "run_cnt:"), field(text, "memlock:")),
            (1234, 5, 4096)
        );
        assert_eq!(field(text, "none:"), 0);
    }

    #[test]
    fn an_ordinary_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = Pins::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("BPF file system"), "{error}");
    }
}
