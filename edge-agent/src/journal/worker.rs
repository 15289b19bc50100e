//! The journal's thread: gathers batches, commits them, mends the file after a failed write, scrubs when nothing else is to do.
//!
//! Blocks on the disk as long as the disk does. Never drops a batch in silence: each is reported as appended or as failed.
//!
//! Invariant: after a failed write the handle is never used again; the file is opened anew with every page checked.
//! Read next: `store.rs` (one transaction), `disk.rs` (the file).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use edge_agent_core::{Batch, GATHER, Loaded, Log, Token};
use tokio::sync::mpsc;
use wire::{Epoch, Seq, SignedBundle, SignedRoles};

use super::disk::Disk;
use super::floor::{FloorFile, Sidecar};
use super::store::{self, Store, StoreError};
use super::{Done, Journal, ReadError, Reader, Request, WAITING, nothing};
use crate::clock::{Clock, SavedClock};

/// Batches in one transaction: beyond it a commit takes longer than it saves.
const GROUP: usize = 64;
/// How often a slice of the journal is read to find silent damage.
const SCRUB_EVERY: Duration = Duration::from_secs(3_600);
/// How often space for the ballast is looked for after it was freed.
const BALLAST_EVERY: Duration = Duration::from_secs(60);

/// Everything that the thread owns.
pub(super) struct Worker {
    pub(super) disk: Box<dyn Disk>,
    pub(super) floor: FloorFile,
    pub(super) sidecar: Sidecar,
    pub(super) bundle_copy: PathBuf,
    pub(super) store: Store,
    pub(super) reader: Reader,
    pub(super) clock: Arc<Clock>,
    pub(super) done: mpsc::Sender<Done>,
    pub(super) group: Vec<Batch>,
    pub(super) releases: Vec<(Log, Epoch, Seq)>,
    /// Batches of an earlier run were made before a failure was heard.
    pub(super) run: u64,
    /// The handle is used up; it is opened again with the next batch.
    pub(super) broken: Option<StoreError>,
    pub(super) ballast_freed: bool,
    /// Where the next slice of the scrub begins.
    pub(super) cursor: Vec<u8>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(mut self) -> Journal {
        let (requests, receiver) = sync_channel(WAITING);
        let reader = self.reader.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || self.work(&receiver))
            .expect("a process that has just started can start one thread");
        Journal {
            requests,
            thread,
            reader,
            run: 0,
            refused: VecDeque::new(),
        }
    }

    fn work(&mut self, requests: &Receiver<Request>) {
        let mut commit_at: Option<Instant> = None;
        let mut scrub_at = Instant::now() + SCRUB_EVERY;
        loop {
            let until = commit_at.unwrap_or(scrub_at);
            match requests.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Request::Append { batch, run }) => {
                    let urgent = batch.urgent;
                    self.gather(*batch, run);
                    if urgent {
                        commit_at = Some(Instant::now());
                    } else if commit_at.is_none() && !self.group.is_empty() {
                        commit_at = Some(Instant::now() + GATHER);
                    }
                }
                Ok(Request::Load {
                    token,
                    log,
                    epoch,
                    from,
                    max_bytes,
                }) => {
                    self.load(token, log, epoch, from, max_bytes);
                }
                Ok(Request::Release { log, epoch, through }) => {
                    self.releases
                        .retain(|(l, e, t)| (*l, *e) != (log, epoch) || *t > through);
                    self.releases.push((log, epoch, through));
                }
                Ok(Request::Shed { epoch, through }) => self.shed(epoch, through),
                Ok(Request::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.commit();
                    return self.close();
                }
                Err(RecvTimeoutError::Timeout) if commit_at.is_some() => {
                    commit_at = None;
                    self.commit();
                }
                Err(RecvTimeoutError::Timeout) => {
                    scrub_at = Instant::now() + if self.ballast_freed { BALLAST_EVERY } else { SCRUB_EVERY };
                    self.scrub();
                }
            }
            if self.group.len() >= GROUP {
                commit_at = None;
                self.commit();
            }
            if self.ballast_freed {
                scrub_at = scrub_at.min(Instant::now() + BALLAST_EVERY);
            }
        }
    }

    fn gather(&mut self, batch: Batch, run: u64) {
        if run < self.run {
            let token = batch.token;
            let reason = StoreError::Unordered.told();
            return self.tell(Done::Failed { token, reason, run });
        }
        self.group.push(batch);
    }

    fn tell(&self, done: Done) {
        // Waits while the loop is busy; fails only when the loop has ended, and then nobody needs to know.
        let _ = self.done.blocking_send(done);
    }

    fn commit(&mut self) {
        let mut group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return;
        }
        match self.write(&group) {
            Ok(()) => self.report(&group),
            // One batch too many must not take the others with it.
            Err(StoreError::OverLimit { .. }) if group.len() > 1 => {
                let mut failure = None;
                for batch in group.drain(..) {
                    let one = [batch];
                    match failure.clone().map_or_else(|| self.write(&one), Err) {
                        Ok(()) => self.report(&one),
                        Err(error) => {
                            self.fail(&one, &error);
                            failure = Some(StoreError::Unordered);
                        }
                    }
                }
            }
            Err(error) => self.fail(&group, &error),
        }
    }

    fn report(&self, group: &[Batch]) {
        let used_bytes = self.store.state().needed_bytes();
        for batch in group {
            let token = batch.token;
            self.tell(Done::Appended { token, used_bytes });
        }
    }

    fn fail(&mut self, group: &[Batch], error: &StoreError) {
        let run = self.run;
        self.run += 1;
        for batch in group {
            tracing::warn!(token = batch.token.0, %error, "a batch could not be written");
            let token = batch.token;
            let reason = error.told();
            self.tell(Done::Failed { token, reason, run });
        }
    }

    /// Floors first, then one transaction; on a full disk once more with the ballast's space.
    fn write(&mut self, group: &[Batch]) -> Result<(), StoreError> {
        let saved = self.clock.save();
        if let Some(floor) = group.iter().rev().find_map(|batch| batch.floor) {
            let sidecar = Sidecar::new(floor, Some(saved.clone()));
            if sidecar != self.sidecar {
                self.floor.write(&sidecar).map_err(|error| {
                    if store::full(&error) {
                        StoreError::Full
                    } else {
                        StoreError::Io(error.to_string())
                    }
                })?;
                self.sidecar = sidecar;
            }
        }
        self.mend()?;
        let first = self.transact(group, &saved);
        let result = match first {
            Err(StoreError::Full) if !self.ballast_freed => {
                self.ballast_freed = self.disk.free_ballast();
                self.mend().and_then(|()| self.transact(group, &saved))
            }
            other => other,
        };
        result?;
        let bundle = group.iter().rev().find_map(|batch| batch.bundle.as_ref());
        let roles = group.iter().rev().find_map(|batch| batch.roles.as_ref());
        if bundle.is_some() || roles.is_some() {
            self.copy(bundle.map(|(_, bundle)| bundle), roles);
        }
        Ok(())
    }

    fn transact(&mut self, group: &[Batch], saved: &SavedClock) -> Result<(), StoreError> {
        match self.store.commit(group, &self.releases, saved.clone()) {
            Ok(trimmed) => {
                self.releases.clear();
                for (log, epoch, oldest) in trimmed {
                    self.tell(Done::Trimmed { log, epoch, oldest });
                }
                Ok(())
            }
            Err(error) => {
                let error = self.note(error);
                match self.resolve() {
                    Some(trimmed) => {
                        tracing::warn!(%error, "a commit failed, and is there all the same");
                        self.releases.clear();
                        for (log, epoch, oldest) in trimmed {
                            self.tell(Done::Trimmed { log, epoch, oldest });
                        }
                        Ok(())
                    }
                    None => Err(error),
                }
            }
        }
    }

    /// Looks at once what became of a failed commit: mostly the disk answers again, and then what is told is what is there. `None`:
    /// nothing of it is, or nobody knows; then it is told as failed, and taken back if it is found later.
    fn resolve(&mut self) -> Option<Vec<store::Trimmed>> {
        if !matches!(self.broken, Some(StoreError::Io(_))) {
            return None;
        }
        self.reader.detach();
        self.store.detach();
        match self.disk.open(true).and_then(|db| self.store.resolve(Arc::new(db))) {
            Ok(trimmed) => {
                self.broken = None;
                self.reader.attach(self.store.database().ok()?);
                trimmed
            }
            Err(error) => {
                self.note(error);
                None
            }
        }
    }

    /// Remembers what an error means for the handle.
    fn note(&mut self, error: StoreError) -> StoreError {
        match &error {
            StoreError::Full | StoreError::Io(_) => self.broken = Some(error.clone()),
            StoreError::Damaged(what) => self.damaged(what),
            StoreError::OverLimit { .. } | StoreError::Unordered => {}
        }
        error
    }

    /// After a failed write the handle is never used again: the file is opened anew, every page checked.
    fn mend(&mut self) -> Result<(), StoreError> {
        if self.broken.is_none() {
            return Ok(());
        }
        self.reader.detach();
        self.store.detach();
        let result = self.disk.open(true).and_then(|db| self.store.resume(Arc::new(db)));
        match result {
            Ok(()) => {
                self.broken = None;
                self.reader.attach(self.store.database()?);
                Ok(())
            }
            Err(error) => Err(self.note(error)),
        }
    }

    fn damaged(&mut self, what: &str) {
        tracing::error!(what, "the journal is damaged");
        self.disk.suspect(what);
        let detail = what.to_owned();
        self.tell(Done::Damaged { detail });
    }

    fn load(&mut self, token: Token, log: Log, epoch: Epoch, from: Seq, max_bytes: usize) {
        let found = match log {
            Log::Entries => self.reader.entries(epoch, from, max_bytes).map(Loaded::Entries),
            Log::Telemetry => self.reader.telemetry(epoch, from, max_bytes).map(Loaded::Telemetry),
        };
        let found = found.unwrap_or_else(|error| {
            if let ReadError::Store(StoreError::Damaged(what)) = &error {
                self.damaged(what);
            }
            nothing(log)
        });
        self.tell(Done::Loaded { token, found });
    }

    fn shed(&mut self, epoch: Epoch, through: Seq) {
        let saved = self.clock.save();
        let result = self.mend().and_then(|()| {
            let result = self.store.shed(epoch, through, saved);
            result.map_err(|error| self.note(error))
        });
        if let Err(error) = result {
            // The gap entry is durable; what it names is removed with the next shed at the latest.
            tracing::warn!(%error, "telemetry could not be shed");
        }
    }

    fn copy(&self, bundle: Option<&SignedBundle>, roles: Option<&Vec<SignedRoles>>) {
        let mut parcel = super::read_copy(&self.bundle_copy);
        if let Some(bundle) = bundle {
            parcel.bundle = Some(bundle.clone());
        }
        if let Some(roles) = roles {
            parcel.roles.clone_from(roles);
        }
        if let Err(error) = wire_files::replace(&self.bundle_copy, &parcel.encode()) {
            tracing::warn!(%error, "the copy of the active bundle could not be written; the journal has it");
        }
    }

    fn scrub(&mut self) {
        if self.ballast_freed {
            self.disk.take_ballast();
            self.ballast_freed = false;
        }
        let result = self.reader.scrub(&mut self.cursor);
        if let Err(ReadError::Store(StoreError::Damaged(what))) = result {
            self.damaged(&what);
        }
    }

    fn close(&mut self) {
        self.reader.detach();
        match self.store.close() {
            Ok(()) if self.broken.is_none() => self.disk.closed(),
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the journal could not be closed in order"),
        }
    }
}
