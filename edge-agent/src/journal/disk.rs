//! The files behind the journal: made under a temporary name, locked, checked after an unclean stop, quarantined when damaged.
//!
//! Never repairs and hopes: what cannot be trusted is moved aside whole.
//!
//! Invariant: a file called `journal.redb` is a complete database; while it is open, no other process of ours opens it.
//! Read next: `store.rs` (what is in it).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, StorageBackend};

use super::JournalError;
use super::store::{self, StoreError};

/// The agent has little to read back: pages are cached by the kernel anyway.
const CACHE_BYTES: usize = 256 * 1024;
/// Freed first when the disk is full, so that gap entries and protective decisions still find space.
const BALLAST_BYTES: u64 = 2 << 20;
/// Damaged journals that are kept for an inspection.
const QUARANTINED_KEPT: u32 = 2;

/// Opens databases: the one thing that a test replaces.
pub trait Disk: Send {
    /// Opens the database, every page checked if `check`.
    fn open(&mut self, check: bool) -> Result<Database, StoreError>;
    /// Frees space that was kept for a full disk; returns whether there was any.
    fn free_ballast(&mut self) -> bool;
    /// Takes that space again, if it can be had.
    fn take_ballast(&mut self);
    /// Notes that the database is not to be trusted at the next start.
    fn suspect(&mut self, why: &str);
    /// Notes that the database was closed in an orderly way.
    fn closed(&mut self);
}

/// The journal's file in a state folder.
#[derive(Debug)]
pub struct FileDisk {
    folder: PathBuf,
    /// Held open: the lock ends with it.
    _lock: File,
}

/// What a state folder looks like before its journal is opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// There is a database.
    pub present: bool,
    /// The last process did not close it.
    pub unclean: bool,
    /// The last process found it damaged.
    pub suspect: bool,
}

impl FileDisk {
    /// Takes the state folder; a second agent is refused.
    pub fn take(folder: &Path) -> Result<Self, JournalError> {
        let failed = |cause| JournalError::Folder {
            path: folder.to_owned(),
            cause,
        };
        // Before anything is made in it: keys lie there, and what a person may see of the node.
        if let Some(mode) = wire_files::private_folder(folder).map_err(failed)? {
            tracing::warn!(folder = %folder.display(), mode = format!("{mode:o}"), "others could enter the state folder; closed");
        }
        let path = folder.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                return Err(JournalError::Locked {
                    path: folder.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(fs::TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// What is there.
    pub fn condition(&self) -> Condition {
        Condition {
            present: fs::metadata(self.database()).is_ok_and(|found| found.len() > 0),
            unclean: self.running().exists(),
            suspect: self.suspected().exists(),
        }
    }

    /// Makes an empty database under a temporary name, then gives it its own. All of it is made durable at once: until it has its name,
    /// nobody looks at it.
    pub fn create(&mut self) -> Result<(), StoreError> {
        let fresh = self.folder.join("journal.redb.new");
        remove_if_there(&fresh).map_err(redb::Error::Io)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(redb::Error::Io)?;
        let db = builder(false).create_with_backend(Unsynced(file.try_clone().map_err(redb::Error::Io)?))?;
        store::create_tables(&db)?;
        db.close()?;
        file.sync_all().map_err(redb::Error::Io)?;
        fs::rename(&fresh, self.database()).map_err(redb::Error::Io)?;
        self.sync_folder().map_err(redb::Error::Io)?;
        Ok(())
    }

    /// Moves the database aside as `journal.corrupt-N`, and returns that path.
    pub fn quarantine(&mut self) -> io::Result<PathBuf> {
        let aside = |number: u32| self.folder.join(format!("journal.corrupt-{number}"));
        let number = (1..u32::MAX)
            .find(|number| !aside(*number).exists())
            .unwrap_or(u32::MAX);
        fs::rename(self.database(), aside(number))?;
        remove_if_there(&self.suspected())?;
        self.sync_folder()?;
        let present: Vec<u32> = (1..=number).filter(|number| aside(*number).exists()).collect();
        let surplus = present.len().saturating_sub(QUARANTINED_KEPT as usize);
        for old in &present[..surplus] {
            // Room for the journal matters more than an old wreck; a failure here costs only space.
            let _ = fs::remove_file(aside(*old));
        }
        Ok(aside(number))
    }

    /// Notes that the database is open now.
    pub fn opened(&mut self) -> io::Result<()> {
        File::create(self.running())?.sync_all()?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn database(&self) -> PathBuf {
        self.folder.join("journal.redb")
    }

    fn running(&self) -> PathBuf {
        self.folder.join("journal.running")
    }

    fn suspected(&self) -> PathBuf {
        self.folder.join("journal.suspect")
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Disk for FileDisk {
    fn open(&mut self, check: bool) -> Result<Database, StoreError> {
        let path = self.database();
        if check && let Ok(file) = File::open(&path) {
            // After a failed sync the system's memory holds what may never have got to the disk. Advice that is not taken changes nothing.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
        guarded(|| builder(check).open(&path))
    }

    fn free_ballast(&mut self) -> bool {
        fs::remove_file(self.ballast()).is_ok()
    }

    fn take_ballast(&mut self) {
        let path = self.ballast();
        if fs::metadata(&path).is_ok_and(|found| found.len() == BALLAST_BYTES) {
            return;
        }
        let taken = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| {
                let flags = rustix::fs::FallocateFlags::empty();
                rustix::fs::fallocate(&file, flags, 0, BALLAST_BYTES)?;
                Ok(())
            });
        if taken.is_err() {
            let _ = fs::remove_file(&path);
        }
    }

    fn suspect(&mut self, why: &str) {
        if let Err(error) = fs::write(self.suspected(), why).and_then(|()| self.sync_folder()) {
            tracing::error!(%error, "cannot note that the journal is damaged");
        }
    }

    fn closed(&mut self) {
        let removed = remove_if_there(&self.running()).and_then(|()| self.sync_folder());
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot note that the journal was closed; it is checked at the next start");
        }
    }
}

/// The file of a database that is being made: a sync of it waits for the one at the end.
#[derive(Debug)]
struct Unsynced(File);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// A database builder as the journal uses it.
pub fn builder(check: bool) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(check);
    builder
}

/// Opens a database whose bytes may be anything: a panic of the library is damage too.
pub fn guarded(open: impl FnOnce() -> Result<Database, redb::DatabaseError>) -> Result<Database, StoreError> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(match StoreError::from(error) {
            // redb reports a file that is no database, or an older format, as other errors.
            StoreError::Io(what) if !what.contains("lock") => StoreError::Damaged(what),
            other => other,
        }),
        Err(_) => Err(StoreError::Damaged(
            "the file made the database library panic".to_owned(),
        )),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
