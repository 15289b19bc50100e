//! Makes one transaction of everything that waits, and says of each piece how it went.
//!
//! Each transaction carries a number, so that one whose commit failed can be looked up: it may be on the disk all the same.
//!
//! Invariant: either all that was accepted is durable, or nothing is; what was refused alone spoils nothing for the others.

use std::sync::mpsc::SyncSender;

use hub_core::Batch;
use serde::{Deserialize, Serialize};
use wire::codec;
use wire::time::Wall;

use super::apply::expected;
use super::engine::{Database, Fault as DatabaseFault, Transaction};
use super::open::Retention;
use super::tables::{ApplyError, Counters, Tables, put};
use super::writer::{Edit, Job};
use super::{Completion, Outcome, StoreError};

/// Where [`super::rows::META`] keeps the number of the last transaction.
pub const COMMIT: &str = "commit";

/// Names a transaction of all that were ever made in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitId {
    /// Of the process that made it: one more than that of the one before.
    pub writer: u64,
    /// Its number, from 1.
    pub number: u64,
}

impl CommitId {
    /// The one after it of the same process.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }
}

/// Work that becomes one transaction.
#[derive(Default)]
pub struct Group {
    pub(super) batches: Vec<Batch>,
    edits: Vec<(Edit, Waiting)>,
    pub(super) bytes: usize,
}

/// Who waits for a change that is not a batch.
type Waiting = SyncSender<Result<bool, StoreError>>;

impl Group {
    /// Adds one more.
    pub fn push(&mut self, job: Job) {
        match job {
            Job::Batch(batch, bytes) => {
                self.bytes += bytes;
                self.batches.push(batch);
            }
            Job::Edit(edit, answer) => self.edits.push((edit, answer)),
        }
    }

    /// Tells everyone that nothing was done.
    pub fn failed(self, reason: &str) -> Vec<Completion> {
        let (edits, tokens) = (self.edits, self.batches.into_iter().map(|batch| batch.token));
        let results = tokens.map(|token| (token, Ok(())));
        let answers = edits.into_iter().map(|(_, waiting)| (waiting, Ok(true)));
        Verdicts {
            batches: results.collect(),
            edits: answers.collect(),
        }
        .failed(reason)
    }
}

/// What each piece of a transaction is to be told, if it is durable.
#[derive(Debug, Default)]
pub struct Verdicts {
    batches: Vec<(hub_core::Token, Result<(), String>)>,
    edits: Vec<(Waiting, Result<bool, StoreError>)>,
}

impl Verdicts {
    /// The transaction is durable.
    pub fn stored(self) -> Vec<Completion> {
        for (waiting, answer) in self.edits {
            // Whoever asked may have gone.
            let _ = waiting.send(answer);
        }
        let batches = self.batches.into_iter();
        let told = batches.map(|(token, result)| Completion {
            token,
            outcome: result.into(),
        });
        told.collect()
    }

    /// Nothing of it was written.
    pub fn failed(self, reason: &str) -> Vec<Completion> {
        for (waiting, _) in self.edits {
            let _ = waiting.send(Err(StoreError::Unavailable {
                reason: reason.to_owned(),
            }));
        }
        let outcome = Outcome::Failed(reason.to_owned());
        told(&self.batches, &outcome)
    }

    /// Nobody knows yet. Whoever waits for a change that is not a batch goes on waiting.
    pub fn unknown(&self, reason: &str) -> Vec<Completion> {
        told(&self.batches, &Outcome::Unknown(reason.to_owned()))
    }
}

fn told(batches: &[(hub_core::Token, Result<(), String>)], outcome: &Outcome) -> Vec<Completion> {
    let completion = |(token, _): &(hub_core::Token, _)| Completion {
        token: *token,
        outcome: outcome.clone(),
    };
    batches.iter().map(completion).collect()
}

/// What a transaction needs to know besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Which transaction this is.
    pub commit: CommitId,
    /// The hub's time line.
    pub now_ms: u64,
    /// The wall clock.
    pub wall: Wall,
    /// The clock's record, if it is to be written.
    pub clock: Option<&'a [u8]>,
    /// How much telemetry stays.
    pub keep: Retention,
}

/// What a transaction has made durable.
#[derive(Debug)]
pub struct Written {
    /// What each piece is to be told, once what is shared of the store is up to date.
    pub verdicts: Verdicts,
    /// As they are now.
    pub counters: Counters,
}

/// What became of a transaction that failed; its database must not be used any more.
#[derive(Debug)]
pub enum Fault {
    /// It never came to its commit: nothing was written.
    Failed(Vec<Completion>, String),
    /// Its commit failed: whether it is there is to be read.
    Unknown(Verdicts, String),
}

/// Makes one transaction of a group.
pub fn write_group(database: &Database, group: Group, moment: Moment<'_>) -> Result<Written, Fault> {
    let Group { batches, edits, .. } = group;
    let tokens = batches.iter().map(|batch| batch.token);
    let mut verdicts = Verdicts {
        batches: tokens.map(|token| (token, Ok(()))).collect(),
        edits: Vec::new(),
    };
    let (edits, waiting): (Vec<Edit>, Vec<Waiting>) = edits.into_iter().unzip();
    let mut waiting = waiting.into_iter();
    let prepared = prepare(database, &batches, edits, moment, |place, result| match place {
        Place::Batch(place) => verdicts.batches[place].1 = result.map(|_| ()).map_err(|error| error.chain()),
        Place::Edit => verdicts.edits.extend(waiting.next().map(|waiting| (waiting, result))),
    });
    let reason = |cause: DatabaseFault| {
        let cause = Box::new(cause);
        StoreError::Database {
            action: "commit",
            cause,
        }
        .chain()
    };
    let (transaction, counters) = match prepared {
        Ok(prepared) => prepared,
        Err(cause) => {
            verdicts.edits.extend(waiting.map(|waiting| (waiting, Ok(false))));
            let reason = reason(cause);
            return Err(Fault::Failed(verdicts.failed(&reason), reason));
        }
    };
    match transaction.commit() {
        Ok(()) => Ok(Written { verdicts, counters }),
        Err(cause) => Err(Fault::Unknown(verdicts, reason(cause))),
    }
}

/// A piece of a group.
enum Place {
    /// A batch, by its place.
    Batch(usize),
    /// The next change that is not a batch.
    Edit,
}

/// Everything up to the commit. `each` hears how each piece went.
fn prepare(
    database: &Database,
    batches: &[Batch],
    edits: Vec<Edit>,
    moment: Moment<'_>,
    mut each: impl FnMut(Place, Result<bool, StoreError>),
) -> Result<(Transaction, Counters), DatabaseFault> {
    let transaction = database.begin_write()?;
    transaction.expect(expected(batches))?;
    let counters = {
        let mut tables = Tables::open(&transaction)?;
        let before = tables.counters;
        for (place, batch) in batches.iter().enumerate() {
            let result = tables.check(batch);
            if result.is_ok() {
                tables.apply(batch, moment.now_ms, moment.wall).map_err(spoilt)?;
            }
            each(Place::Batch(place), refused(result)?.map(|()| true));
        }
        for edit in edits {
            each(Place::Edit, refused(edit(&mut tables))?);
        }
        if let Some(clock) = moment.clock {
            put(&mut tables.meta, "meta", b"clock", clock).map_err(spoilt)?;
        }
        let commit = codec::encode(&moment.commit);
        put(&mut tables.meta, "meta", COMMIT.as_bytes(), &commit).map_err(spoilt)?;
        tables.finish(before, moment.keep, moment.now_ms).map_err(spoilt)?;
        tables.counters
    };
    transaction.flush()?;
    Ok((transaction, counters))
}

/// A refusal leaves the transaction whole; anything else ends it.
fn refused<T>(result: Result<T, ApplyError>) -> Result<Result<T, StoreError>, DatabaseFault> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(ApplyError::Refused(error)) => Ok(Err(error)),
        Err(ApplyError::Spoilt(cause)) => Err(cause),
    }
}

fn spoilt(error: ApplyError) -> DatabaseFault {
    match error {
        ApplyError::Spoilt(cause) => cause,
        ApplyError::Refused(error) => DatabaseFault::Corrupted(error.to_string()),
    }
}
