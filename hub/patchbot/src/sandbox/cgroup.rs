//! A control group of its own for each run, where this process may make one: it bounds processes for root, too, whom the kernel
//! spares from `RLIMIT_NPROC`.
//!
//! Without one (an ordinary user) the resource limit does the same; the self-test tells whether either holds.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A group that is removed when dropped, by then empty: its processes died with their namespace.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes a group that holds at most `processes`. `None` where that is not allowed.
    pub fn new(processes: u32) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "sentinel-patchbot-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].iter().find_map(|root| {
            let group = Self {
                folder: Path::new(root).join(&name),
            };
            std::fs::create_dir(&group.folder).ok()?;
            std::fs::write(group.folder.join("pids.max"), processes.to_string()).ok()?;
            Some(group)
        })
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
