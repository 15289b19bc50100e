//! A folder in which services run: their data, settings and logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Cache, ServiceError};

/// An empty folder `target/services/run/NAME.PID.NUMBER`, removed when dropped.
///
/// A program that was killed leaves its folders behind; the next one that makes a folder removes them.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes one.
    pub fn make(name: &str) -> Result<Self, ServiceError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let all = Cache::of_this_checkout().root().join("run");
        fs::create_dir_all(&all).map_err(ServiceError::file("make the folder", &all))?;
        remove_abandoned(&all);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = all.join(format!("{name}.{}.{number}", std::process::id()));
        let _left_by_an_earlier_process_of_this_pid = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(ServiceError::file("make the folder", &path))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _stays_for_the_next_program = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of processes that are gone.
fn remove_abandoned(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.rsplit('.').nth(1))
            .and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _another_program_may_be_faster = fs::remove_dir_all(entry.path());
        }
    }
}
