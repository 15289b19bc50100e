//! The agent's folder: a part for each process, with its copies of repositories and the lease that it holds.
//!
//! A process that is killed leaves its part behind. The next one finds it by its lock, which the kernel took back, removes it, and gives
//! back the lease that is noted there, so that neither the disk fills nor a task waits for somebody who is gone.
//!
//! Invariants: the part of a living process is never touched; a note names the hub that it is of, and is kept until that hub has heard.
//!
//! Read next: `agent.rs` (who notes and gives back).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The lock of the whole folder, held while parts are made and looked through.
const DOOR: &str = "lock";
/// In each part: locked while its process lives.
const ALIVE: &str = "alive";
/// In each part: the lease that is held.
const NOTE: &str = "lease.json";
/// In each part: copies of repositories.
const COPIES: &str = "copies";

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Task id.
    pub task: String,
    /// The lease.
    pub lease: String,
    /// Its epoch.
    pub epoch: u64,
}

#[derive(Serialize, Deserialize)]
struct Note {
    hub: String,
    #[serde(flatten)]
    held: Held,
}

/// The part of this process. Removed when dropped.
#[derive(Debug)]
pub struct Den {
    folder: PathBuf,
    own: PathBuf,
    hub: String,
    _alive: File,
}

impl Den {
    /// Makes a part in `folder` for an agent of this hub, and removes those of killed processes that noted nothing. Blocks while another
    /// process does the same.
    pub fn open(folder: &Path, hub: &str) -> io::Result<Self> {
        wire_files::private_folder(folder)?;
        // The sandbox takes no path that begins somewhere.
        let folder = &folder.canonicalize()?;
        let _door = door(folder)?;
        let mut count = 0;
        let own = loop {
            let own = folder.join(format!("{}-{count}", std::process::id()));
            match fs::create_dir(&own) {
                Ok(()) => break own,
                // An earlier process had our number.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => count += 1,
                Err(cause) => return Err(cause),
            }
        };
        let alive = lock(&own.join(ALIVE))?.ok_or_else(|| io::Error::other("a new file is locked by somebody"))?;
        fs::create_dir(own.join(COPIES))?;
        let den = Self {
            folder: folder.to_owned(),
            own,
            hub: hub.to_owned(),
            _alive: alive,
        };
        den.dead()?;
        Ok(den)
    }

    /// Where copies of repositories belong.
    pub fn copies(&self) -> PathBuf {
        self.own.join(COPIES)
    }

    /// Notes the lease that is held from now on.
    pub fn hold(&self, held: &Held) -> io::Result<()> {
        let note = Note {
            hub: self.hub.clone(),
            held: held.clone(),
        };
        let bytes = serde_json::to_vec(&note).map_err(io::Error::other)?;
        wire_files::replace(&self.own.join(NOTE), &bytes)
    }

    /// Nothing is held any more.
    pub fn let_go(&self) {
        // A note that stays is answered by the hub with a refusal, and forgotten then.
        let _ = fs::remove_file(self.own.join(NOTE));
    }

    /// What killed processes held of this hub, and what this one held when the hub was last away.
    pub fn left(&self) -> io::Result<Vec<Left>> {
        let _door = door(&self.folder)?;
        let mut left = self.dead()?;
        if let Some(note) = note(&self.own) {
            left.push(Left {
                held: note.held,
                part: self.own.clone(),
                dead: None,
            });
        }
        Ok(left)
    }

    /// Looks through the parts of killed processes: gives those that note a lease of this hub, and removes those that note none.
    fn dead(&self) -> io::Result<Vec<Left>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let part = entry.path();
            if part == self.own || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Some(dead) = lock(&part.join(ALIVE))? else { continue };
            match note(&part) {
                Some(note) if note.hub == self.hub => left.push(Left {
                    held: note.held,
                    part,
                    dead: Some(dead),
                }),
                // Another hub's agent gives it back, when there is one.
                Some(_) => {}
                None => remove(&part),
            }
        }
        Ok(left)
    }
}

impl Drop for Den {
    fn drop(&mut self) {
        if note(&self.own).is_none() {
            remove(&self.own);
        }
    }
}

/// A lease that a process held until it was killed.
#[derive(Debug)]
pub struct Left {
    held: Held,
    part: PathBuf,
    dead: Option<File>,
}

impl Left {
    /// The lease.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The hub has heard: nothing of it is needed any more.
    pub fn forget(self) {
        match self.dead {
            Some(_) => remove(&self.part),
            None => drop(fs::remove_file(self.part.join(NOTE))),
        }
    }
}

fn note(part: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(part.join(NOTE)).ok()?).ok()
}

fn remove(part: &Path) {
    if let Err(cause) = fs::remove_dir_all(part) {
        tracing::warn!(part = %part.display(), %cause, "what a killed agent left cannot be removed");
    }
}

/// Waits until nobody else makes or looks through parts.
fn door(folder: &Path) -> io::Result<File> {
    let file = opened(&folder.join(DOOR))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Locks a file unless somebody else has.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = match opened(path) {
        Ok(file) => file,
        // Its process has just removed the whole part.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(task: &str) -> Held {
        Held {
            task: task.to_owned(),
            lease: "l".to_owned(),
            epoch: 3,
        }
    }

    /// As a killed process leaves it: everything there, and no lock.
    fn killed(folder: &Path, name: &str, hub: Option<&str>) {
        let part = folder.join(name);
        fs::create_dir_all(part.join("copies/tree")).expect("made");
        fs::write(part.join(ALIVE), "").expect("written");
        if let Some(hub) = hub {
            let note = Note {
                hub: hub.to_owned(),
                held: held(name),
            };
            fs::write(part.join(NOTE), serde_json::to_vec(&note).expect("plain members")).expect("written");
        }
    }

    fn tasks(left: &[Left]) -> Vec<&str> {
        let mut tasks: Vec<&str> = left.iter().map(|left| left.held().task.as_str()).collect();
        tasks.sort_unstable();
        tasks
    }

    #[test]
    fn what_killed_agents_held_is_given_back_once_and_a_living_one_keeps_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, hub) = (folder.path(), "https://hub:1");
        let living = Den::open(path, hub).expect("opened");
        living.hold(&held("living")).expect("noted");
        killed(path, "9-0", Some(hub));
        killed(path, "9-1", Some("https://other:1"));
        killed(path, "9-2", None);
        let den = Den::open(path, hub).expect("opened");
        assert!(den.copies().is_absolute() && den.copies().is_dir());
        assert!(!path.join("9-2").exists(), "its copies take room");
        let left = den.left().expect("looked");
        assert_eq!(tasks(&left), ["9-0"]);
        // The hub was not reached: it is still there.
        drop(left);
        let left = den.left().expect("looked");
        assert_eq!(tasks(&left), ["9-0"]);
        left.into_iter().for_each(Left::forget);
        assert!(den.left().expect("looked").is_empty());
        assert_eq!(
            [
                path.join("9-0").exists(),
                path.join("9-1").exists(),
                living.own.exists()
            ],
            [false, true, true]
        );
    }

    #[test]
    fn what_the_hub_could_not_be_told_is_told_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let den = Den::open(folder.path(), "hub").expect("opened");
        assert!(den.left().expect("looked").is_empty());
        den.hold(&held("mine")).expect("noted");
        let left = den.left().expect("looked");
        assert_eq!(tasks(&left), ["mine"]);
        left.into_iter().for_each(Left::forget);
        assert!(den.left().expect("looked").is_empty());
        let own = den.own.clone();
        assert!(own.exists());
        drop(den);
        assert!(!own.exists());
    }
}
