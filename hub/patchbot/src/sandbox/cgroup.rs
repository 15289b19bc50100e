//! A control group of its own for each run, where this process may make one: it bounds processes for root, too, whom the kernel
//! spares from `RLIMIT_NPROC`.
//!
//! Without one (an ordinary user) the resource limit does the same; the self-test tells whether either holds. A process that is killed
//! leaves its groups behind: they are named after it, so that a later one takes other names and [`sweep`] takes them away.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where groups are made, in order of preference: the first version's hierarchy of processes, and the second version's only one.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
/// What names of our groups begin with; the process and a count follow.
const PREFIX: &str = "sentinel-patchbot-";
/// The most names that are tried for one group.
const NAMES: usize = 1_000;

/// A group that is removed when dropped, by then empty: its processes died with their namespace.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes a group that holds at most `processes`. `None` where that is not allowed.
    pub fn new(processes: u32) -> Option<Self> {
        ROOTS.iter().find_map(|root| Self::below(Path::new(root), processes))
    }

    fn below(root: &Path, processes: u32) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = || {
            format!(
                "{PREFIX}{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            )
        };
        for _ in 0..NAMES {
            let group = root.join(name());
            match std::fs::create_dir(&group) {
                Ok(()) => {
                    let group = Self { folder: group };
                    std::fs::write(group.folder.join("pids.max"), processes.to_string()).ok()?;
                    return Some(group);
                }
                // An earlier process with our number was killed before it could remove its own.
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// The file to which a process writes its number to join.
    pub fn door(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that is still being reaped keeps the folder; the kernel removes nothing that matters later.
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Removes the groups of processes that are gone. The kernel keeps one in which something still runs.
pub fn sweep() {
    for root in ROOTS {
        sweep_below(Path::new(root), |process| Path::new("/proc").join(process).exists());
    }
}

fn sweep_below(root: &Path, is_alive: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if process.is_some_and(|(process, _)| !is_alive(process)) {
            // What it still holds is looked at again by the next one.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_in_nobody_s_way() {
        let root = tempfile::tempdir().expect("a folder");
        let own = std::process::id();
        for count in 0..100 {
            std::fs::create_dir(root.path().join(format!("{PREFIX}{own}-{count}"))).expect("made");
        }
        let group = Group::below(root.path(), 7).expect("another name is free");
        assert_eq!(
            std::fs::read_to_string(group.folder.join("pids.max")).expect("read"),
            "7"
        );
        let others = ["other", "sentinel-patchbot-4-0", "sentinel-patchbot-5-9"];
        for name in others {
            std::fs::create_dir(root.path().join(name)).expect("made");
        }
        sweep_below(root.path(), |process| process == "5" || process == own.to_string());
        let left = others.map(|name| root.path().join(name).exists());
        assert_eq!(left, [true, false, true]);
    }
}
