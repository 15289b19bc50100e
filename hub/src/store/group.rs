//! Makes one transaction of everything that waits, and says of each piece how it went.
//!
//! Invariant: either all that was accepted is durable, or nothing is; what was refused alone spoils nothing for the others.

use std::sync::mpsc::SyncSender;

use hub_core::Batch;
use redb::Database;
use wire::time::Wall;

use super::open::Retention;
use super::tables::{ApplyError, Tables, put};
use super::writer::{Edit, Job};
use super::{Completion, StoreError};

/// Work that becomes one transaction.
#[derive(Default)]
pub struct Group {
    pub(super) batches: Vec<Batch>,
    edits: Vec<(Edit, SyncSender<Result<bool, StoreError>>)>,
    pub(super) bytes: usize,
}

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
        for (_, answer) in self.edits {
            // Whoever asked may have gone.
            let _ = answer.send(Err(StoreError::Unavailable {
                reason: reason.to_owned(),
            }));
        }
        self.batches
            .iter()
            .map(|batch| Completion {
                token: batch.token,
                result: Err(reason.to_owned()),
            })
            .collect()
    }
}

/// What a transaction needs to know besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The hub's time line.
    pub now_ms: u64,
    /// The wall clock.
    pub wall: Wall,
    /// The clock's record, if it is to be written.
    pub clock: Option<&'a [u8]>,
    /// How much telemetry stays.
    pub keep: Retention,
}

/// Makes one transaction of a group. `Err`: nothing was written and this database must not be used any more.
pub fn write_group(
    database: &Database,
    group: Group,
    moment: Moment<'_>,
) -> Result<Vec<Completion>, (Vec<Completion>, String)> {
    let Group { batches, edits, .. } = group;
    let mut answers = Vec::new();
    let tokens: Vec<_> = batches.iter().map(|batch| batch.token).collect();
    let (edits, waiting): (Vec<Edit>, Vec<_>) = edits.into_iter().unzip();
    match transact(database, &batches, edits, &mut answers, moment) {
        Ok(completions) => {
            for (to, answer) in waiting.into_iter().zip(answers) {
                let _ = to.send(answer);
            }
            Ok(completions)
        }
        Err(cause) => {
            let error = StoreError::Database {
                action: "commit",
                cause: Box::new(cause),
            };
            let reason = error.chain();
            for to in waiting {
                let _ = to.send(Err(StoreError::Unavailable { reason: reason.clone() }));
            }
            let failed = |token| Completion {
                token,
                result: Err(reason.clone()),
            };
            Err((tokens.into_iter().map(failed).collect(), reason))
        }
    }
}

fn transact(
    database: &Database,
    batches: &[Batch],
    edits: Vec<Edit>,
    answers: &mut Vec<Result<bool, StoreError>>,
    moment: Moment<'_>,
) -> Result<Vec<Completion>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut completions = Vec::with_capacity(batches.len());
    {
        let mut tables = Tables::open(&transaction)?;
        let before = tables.counters;
        for batch in batches {
            let result = tables.check(batch);
            if result.is_ok() {
                tables.apply(batch, moment.now_ms, moment.wall).map_err(spoilt)?;
            }
            completions.push(Completion {
                token: batch.token,
                result: refused(result)?.map_err(|error| error.chain()),
            });
        }
        for edit in edits {
            answers.push(refused(edit(&mut tables))?);
        }
        if let Some(clock) = moment.clock {
            put(&mut tables.meta, "meta", b"clock", clock).map_err(spoilt)?;
        }
        tables.finish(before, moment.keep, moment.now_ms).map_err(spoilt)?;
    }
    transaction.commit()?;
    Ok(completions)
}

/// A refusal leaves the transaction whole; anything else ends it.
fn refused<T>(result: Result<T, ApplyError>) -> Result<Result<T, StoreError>, redb::Error> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(ApplyError::Refused(error)) => Ok(Err(error)),
        Err(ApplyError::Spoilt(cause)) => Err(cause),
    }
}

fn spoilt(error: ApplyError) -> redb::Error {
    match error {
        ApplyError::Spoilt(cause) => cause,
        ApplyError::Refused(error) => redb::Error::Corrupted(error.to_string()),
    }
}
