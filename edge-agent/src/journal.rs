//! Makes what the core appends durable: redb on a thread of its own, one transaction for each group of batches.
//!
//! An urgent batch is committed at once, with everything that waits; others are gathered for at most `GATHER`. Nothing here blocks
//! the turn loop: requests go in through a bounded channel and come back as [`Done`]. When a batch fails, every batch that was given
//! before its failure was heard fails too, because marks and chains build on each other. Never decides what to drop.
//!
//! Invariant: [`Done::Appended`] is sent only after the transaction was synced; after [`Done::Failed`] nothing of the batch is on the disk.
//! Read next: `worker.rs` (the thread), `store.rs` (tables), `disk.rs` (files), `reader.rs` (reads from other threads), `floor.rs` (the file pair beside it).

mod disk;
mod floor;
mod reader;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;

use edge_agent_core::{AppendError, Batch, Input, Loaded, Log, Recovered, Token};
use tokio::sync::mpsc;
use wire::{Epoch, Parcel, Seq, codec};

use crate::clock::{Clock, SavedClock};
use disk::{Disk, FileDisk};
use floor::{FloorFile, Sidecar};
pub use reader::{ReadError, Reader};
use store::{Store, StoreError};
use worker::Worker;

/// Name of the copy beside the journal.
const COPY: &str = "bundle";
/// Requests that may wait for the thread. The core has a handful of appends under way; hundreds mean that the disk stands still.
const WAITING: usize = 256;

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder cannot be used.
    #[error("cannot use state folder `{path}`: check that it can be written by this user")]
    Folder {
        /// Which.
        path: PathBuf,
        /// How it fails.
        #[source]
        cause: io::Error,
    },
    /// Another agent runs on it.
    #[error(
        "state folder `{path}` is in use by another agent (process {holder}): stop that one, or give this one a folder of its own"
    )]
    Locked {
        /// Which.
        path: PathBuf,
        /// Its process id, as the lock file says.
        holder: String,
    },
    /// The disk does not let a journal be made.
    #[error("cannot open the journal in `{path}`")]
    Open {
        /// Where.
        path: PathBuf,
        /// How it fails.
        #[source]
        cause: StoreError,
    },
}

/// A completion.
#[derive(Debug)]
pub enum Done {
    /// A batch is durable.
    Appended {
        /// Which.
        token: Token,
        /// Bytes that cannot be removed.
        used_bytes: u64,
    },
    /// A batch is not.
    Failed {
        /// Which.
        token: Token,
        /// Why.
        reason: AppendError,
        /// The run of batches that fails with it.
        run: u64,
    },
    /// Released rows were removed.
    Trimmed {
        /// Which log.
        log: Log,
        /// Of which epoch.
        epoch: Epoch,
        /// The oldest that is left.
        oldest: Seq,
    },
    /// What was asked for.
    Loaded {
        /// By which request.
        token: Token,
        /// What was there.
        found: Loaded,
    },
    /// The journal must not be trusted any more: the process has to start again, which puts it aside.
    Damaged {
        /// For people.
        detail: String,
    },
}

enum Request {
    Append {
        batch: Box<Batch>,
        run: u64,
    },
    Load {
        token: Token,
        log: Log,
        epoch: Epoch,
        from: Seq,
        max_bytes: usize,
    },
    Release {
        log: Log,
        epoch: Epoch,
        through: Seq,
    },
    Shed {
        epoch: Epoch,
        through: Seq,
    },
    Close,
}

/// The turn loop's end of the journal.
pub struct Journal {
    requests: SyncSender<Request>,
    thread: JoinHandle<()>,
    reader: Reader,
    run: u64,
    /// Completions of requests that did not even fit into the channel.
    refused: VecDeque<Done>,
}

/// What was found, and everything that begins with it.
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// For the core.
    pub recovered: Recovered,
    /// Goes on where the last process left off.
    pub clock: Arc<Clock>,
}

/// Keeps a state folder for this process alone until it is dropped; an agent that runs on it is refused, and refuses.
pub fn lock(folder: &Path) -> Result<impl std::fmt::Debug + use<>, JournalError> {
    FileDisk::take(folder)
}

impl Journal {
    /// Takes the state folder, puts a damaged journal aside, and starts the thread. Blocks for as long as the disk does.
    ///
    /// Starts with an empty journal rather than not at all; only a folder that is in use or cannot be written is an error.
    pub fn open(folder: &Path, limit_bytes: u64, done: mpsc::Sender<Done>) -> Result<Opened, JournalError> {
        let failed = |cause| JournalError::Open {
            path: folder.to_owned(),
            cause,
        };
        let unusable = |cause| JournalError::Folder {
            path: folder.to_owned(),
            cause,
        };
        let mut disk = FileDisk::take(folder)?;
        let (floor, sidecar) = FloorFile::open(folder).map_err(unusable)?;
        let known = sidecar.as_ref().map(|sidecar| sidecar.floor);
        let ran_before = known.is_some_and(|floor| floor.last > Seq(0));
        let (store, damage) = open_or_begin_anew(&mut disk, limit_bytes, ran_before).map_err(failed)?;
        disk.opened().map_err(unusable)?;
        disk.take_ballast();
        let state = store.state();
        let saved_clock = later(
            state.clock.clone(),
            sidecar.as_ref().and_then(|sidecar| sidecar.clock.clone()),
        );
        let clock = Arc::new(Clock::resume(saved_clock.as_ref()));
        let reader = Reader::new(store.database().map_err(failed)?);
        let active = state.active.and_then(|active| reader.bundle(&active).ok().flatten());
        let copy = read_copy(&folder.join(COPY));
        let recovered = Recovered {
            marks: state.marks.clone(),
            floor: known,
            bundle: active.or(copy.bundle),
            roles: copy.roles,
            epochs: store::spans(&*store.database().map_err(failed)?).map_err(failed)?,
            damage,
            used_bytes: state.needed_bytes(),
        };
        let worker = Worker {
            disk: Box::new(disk),
            floor,
            sidecar: Sidecar::new(known.unwrap_or_default(), saved_clock),
            bundle_copy: folder.join(COPY),
            store,
            reader: reader.clone(),
            clock: clock.clone(),
            done,
            group: Vec::new(),
            releases: Vec::new(),
            run: 0,
            broken: None,
            ballast_freed: false,
            cursor: Vec::new(),
        };
        Ok(Opened {
            journal: worker.start(),
            recovered,
            clock,
        })
    }

    /// Asks for a batch to be made durable. Never blocks.
    pub fn append(&mut self, batch: Batch) {
        let token = batch.token;
        let run = self.run;
        let refusal = Done::Failed {
            token,
            reason: AppendError::Io("the disk does not keep up".to_owned()),
            run,
        };
        let batch = Box::new(batch);
        self.ask(Request::Append { batch, run }, Some(refusal));
    }

    /// Asks for items to be read. Never blocks.
    pub fn load(&mut self, token: Token, log: Log, epoch: Epoch, from: Seq, max_bytes: usize) {
        let refusal = Done::Loaded {
            token,
            found: nothing(log),
        };
        let request = Request::Load {
            token,
            log,
            epoch,
            from,
            max_bytes,
        };
        self.ask(request, Some(refusal));
    }

    /// Notes that items may be removed when space is needed.
    pub fn release(&mut self, log: Log, epoch: Epoch, through: Seq) {
        // Lost when the channel is full: the next acknowledgement releases these too.
        self.ask(Request::Release { log, epoch, through }, None);
    }

    /// Removes telemetry.
    pub fn shed(&mut self, epoch: Epoch, through: Seq) {
        self.ask(Request::Shed { epoch, through }, None);
    }

    /// Turns a completion into what the core is told; `None` for damage, which is the shell's to handle.
    pub fn told(&mut self, done: Done) -> Option<Input> {
        Some(match done {
            Done::Appended { token, used_bytes } => Input::Appended { token, used_bytes },
            Done::Failed { token, reason, run } => {
                // Heard: what is appended from here on was made in the knowledge of this failure.
                self.run = self.run.max(run + 1);
                Input::AppendFailed { token, reason }
            }
            Done::Trimmed { log, epoch, oldest } => Input::Trimmed { log, epoch, oldest },
            Done::Loaded { token, found } => Input::Loaded { token, found },
            Done::Damaged { .. } => return None,
        })
    }

    /// A completion that never reached the thread.
    pub fn refused(&mut self) -> Option<Done> {
        self.refused.pop_front()
    }

    /// Reads from other threads.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Commits what waits, closes the file and waits for it.
    pub fn close(self) {
        // A full channel makes this wait for the disk, which is what closing means.
        if self.requests.send(Request::Close).is_ok() {
            let _ = self.thread.join();
        }
    }

    fn ask(&mut self, request: Request, refusal: Option<Done>) {
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.refused.extend(refusal);
            }
        }
    }
}

fn nothing(log: Log) -> Loaded {
    match log {
        Log::Entries => Loaded::Entries(Vec::new()),
        Log::Telemetry => Loaded::Telemetry(Vec::new()),
    }
}

fn later(a: Option<SavedClock>, b: Option<SavedClock>) -> Option<SavedClock> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.mono > a.mono { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Opens the database; one that is damaged, or empty although the floor knows better, is put aside first.
fn open_or_begin_anew(
    disk: &mut FileDisk,
    limit_bytes: u64,
    ran_before: bool,
) -> Result<(Store, Option<String>), StoreError> {
    let condition = disk.condition();
    let opened = match condition {
        found if !found.present => None,
        found if found.suspect => Some(Err(StoreError::Damaged("found earlier".to_owned()))),
        found => Some(
            disk.open(found.unclean)
                .and_then(|db| Store::read(Arc::new(db), limit_bytes)),
        ),
    };
    let damage = match opened {
        Some(Ok(store)) if store.state().marks.is_some() || !ran_before => {
            return Ok((store, None));
        }
        Some(Ok(_)) => "emptied",
        Some(Err(StoreError::Damaged(what))) => {
            tracing::error!(what, "the journal is damaged");
            "corrupt"
        }
        Some(Err(other)) => return Err(other),
        None if ran_before => "emptied",
        None => "",
    };
    if condition.present {
        let aside = disk.quarantine().map_err(|error| StoreError::Io(error.to_string()))?;
        tracing::error!(aside = %aside.display(), damage, "the journal was put aside, a new epoch begins");
    }
    disk.create()?;
    let store = Store::read(Arc::new(disk.open(false)?), limit_bytes)?;
    Ok((store, (!damage.is_empty()).then(|| damage.to_owned())))
}

/// The active bundle beside the journal, with the role documents that vouch for it: protection must survive the loss of the journal.
/// Before there were role documents, the file was the bundle alone.
fn read_copy(path: &Path) -> Parcel {
    let Ok(bytes) = std::fs::read(path) else {
        return Parcel::default();
    };
    let alone = || Parcel {
        bundle: codec::decode(&bytes).ok(),
        ..Parcel::default()
    };
    Parcel::decode(&bytes).unwrap_or_else(|_| alone())
}
