//! What is built once: a folder below `target/services` for each thing, named after everything that it was made from.
//!
//! Invariant: a folder under its final name is complete. It is made under another name and renamed last, under a lock that is shared
//! by all processes of this checkout, so two tests never build the same thing twice and never see half of it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use crate::{Progress, ServiceError};

/// The folder of what is built once.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `target/services` of this checkout.
    pub fn of_this_checkout() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services");
        Self::at(fs::canonicalize(&root).unwrap_or(root))
    }

    /// A cache at a folder of the caller's choice; it is made when something is put there.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder `name` as `make` left it, made now or in an earlier run.
    ///
    /// `made_from` is everything that decides what is made: another value makes another folder. `takes` says for people how long
    /// making it takes, e.g. `about 4 minutes`. `make` gets an empty folder. Blocks while another process makes the same thing.
    pub fn once(
        &self,
        name: &str,
        made_from: &[&str],
        takes: &str,
        progress: Progress<'_>,
        make: impl FnOnce(&Path) -> Result<(), ServiceError>,
    ) -> Result<PathBuf, ServiceError> {
        let mut hasher = DefaultHasher::new();
        made_from.hash(&mut hasher);
        let ready = self.root.join(format!("{name}-{:016x}", hasher.finish()));
        if ready.is_dir() {
            return Ok(ready);
        }
        fs::create_dir_all(&self.root).map_err(ServiceError::file("make the folder", &self.root))?;
        let lock_path = self.root.join(format!("{name}.lock"));
        let lock = File::create(&lock_path).map_err(ServiceError::file("open", &lock_path))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| ServiceError::file("lock", &lock_path)(errno.into()))?;
        if ready.is_dir() {
            return Ok(ready);
        }
        let part = self.root.join(format!(".{name}.part"));
        match fs::remove_dir_all(&part) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(ServiceError::file("clear", &part)(cause));
            }
            _ => {}
        }
        fs::create_dir_all(&part).map_err(ServiceError::file("make the folder", &part))?;
        progress(&format!(
            "making {name} (once, {takes}; kept in {})",
            self.root.display()
        ));
        let started = Instant::now();
        make(&part)?;
        fs::rename(&part, &ready).map_err(ServiceError::file("rename", &part))?;
        progress(&format!("made {name} in {} s", started.elapsed().as_secs()));
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunFolder;
    use std::cell::Cell;

    #[test]
    fn a_thing_is_made_once_for_what_it_is_made_from() {
        let folder = RunFolder::make("cache-once").expect("a folder");
        let cache = Cache::at(folder.path());
        let made = Cell::new(0);
        let make = |from: &str| {
            cache.once("thing", &[from], "no time", &|_| {}, |at| {
                made.set(made.get() + 1);
                fs::write(at.join("it"), from).map_err(ServiceError::file("write", at))
            })
        };
        let first = make("a").expect("made");
        assert_eq!(make("a").expect("kept"), first);
        let second = make("b").expect("made anew");
        assert_eq!(made.get(), 2);
        assert_eq!(fs::read_to_string(second.join("it")).expect("read"), "b");
    }

    #[test]
    fn what_failed_halfway_is_made_again_from_nothing() {
        let folder = RunFolder::make("cache-again").expect("a folder");
        let cache = Cache::at(folder.path());
        let failed = cache.once("thing", &[], "no time", &|_| {}, |at| {
            fs::write(at.join("half"), "").expect("write");
            Err(ServiceError::Make {
                name: "thing".into(),
                output: "out of luck".into(),
            })
        });
        assert!(matches!(failed, Err(ServiceError::Make { .. })));
        let made = cache.once("thing", &[], "no time", &|_| {}, |_| Ok(())).expect("made");
        assert!(!made.join("half").exists());
    }
}
