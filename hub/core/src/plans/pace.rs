//! How often steps that limit themselves have begun: a step may say that at most so many like it run on its target in a span.
//!
//! Steps are alike that do the same verb to the same target; only those that carry a limit count. The count stands in a document that is
//! written with the intent of the step, so neither a crash nor another plan makes room.
//!
//! Invariant: no span of a step's window holds more begun steps than its limit; half of it, rounded up, for a brain whose tier says so.
//! Read next: `judge.rs` (who asks), `wire::plan::Safety`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::plan::{Safety, Step};
use wire::time::Mono;

use super::record::short;
use crate::cx::Cx;
use crate::documents::{Document, Documents, StoredDocument, Unreadable};

/// Most beginnings that are remembered of one verb and target; a limit above it never holds anything.
const MOST_BEGUN: usize = 1_024;

/// When steps of one verb on one target began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceRecord {
    key: String,
    /// Oldest first.
    begun: Vec<Mono>,
    /// The longest window that was asked about, in milliseconds: what is older is dropped.
    window_ms: u64,
}

impl Document for PaceRecord {
    const KIND: &'static str = "pace";
    const VERSION: u8 = 1;
    /// As many as plans may be live; windows that are over make room.
    const MOST_LIVE: usize = 4_096;

    fn id(&self) -> String {
        self.key.clone()
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Pace(Documents<PaceRecord>);

impl Pace {
    pub(super) fn recovered(
        documents: impl IntoIterator<Item = StoredDocument>,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Unreadable> {
        Documents::recovered(documents, keys).map(Self)
    }

    pub(super) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.0.settle(id, revision, is_stored);
    }

    /// When this step may begin, if its own limit holds it back now. `percent` of the limit counts.
    pub(super) fn free_at(&self, step: &Step, percent: u32, now: Mono) -> Option<Mono> {
        let Safety { limit, window_ms } = step.safety?;
        let limit = u64::from(limit) * u64::from(percent);
        let limit = usize::try_from(limit.div_ceil(100)).unwrap_or(usize::MAX).max(1);
        let window = Duration::from_millis(window_ms);
        let begun = &self.0.get(&key(step))?.begun;
        let within = begun.iter().filter(|at| now < **at + window).count();
        let over = within.checked_sub(limit)?;
        begun
            .iter()
            .filter(|at| now < **at + window)
            .nth(over)
            .map(|at| *at + window)
    }

    /// A step begins: written with its intent.
    pub(super) fn begins(&mut self, step: &Step, cx: &mut Cx<'_>) {
        let Some(safety) = step.safety else {
            return;
        };
        let key = key(step);
        let mut record = self.0.get(&key).cloned().unwrap_or(PaceRecord {
            key,
            begun: Vec::new(),
            window_ms: 0,
        });
        record.window_ms = record.window_ms.max(safety.window_ms);
        record.begun.push(cx.now.mono);
        record.forget(cx.now.mono);
        // Where there is no room, what is over makes some; if none is, the step is not counted, and its plan's end says nothing wrong.
        self.tidy(cx);
        if let Ok(put) = self.0.put(record, 0) {
            cx.put(put);
        }
    }

    /// Removes records that hold nothing back any more, once many are kept.
    fn tidy(&mut self, cx: &mut Cx<'_>) {
        if self.0.iter().count() < PaceRecord::MOST_LIVE / 2 {
            return;
        }
        let is_over = |record: &&PaceRecord| {
            let window = Duration::from_millis(record.window_ms);
            record.begun.iter().all(|at| *at + window <= cx.now.mono)
        };
        let over: Vec<String> = self.0.iter().filter(is_over).map(PaceRecord::id).collect();
        for id in over {
            self.0.remove(&id).into_iter().for_each(|put| cx.put(put));
        }
    }
}

impl PaceRecord {
    #[cfg(test)]
    pub(super) fn of(key: &str, begun: &[Mono], window_ms: u64) -> Self {
        Self {
            key: key.to_owned(),
            begun: begun.to_vec(),
            window_ms,
        }
    }

    fn forget(&mut self, now: Mono) {
        let window = Duration::from_millis(self.window_ms);
        self.begun.retain(|at| now < *at + window);
        let excess = self.begun.len().saturating_sub(MOST_BEGUN);
        self.begun.drain(..excess);
    }
}

fn key(step: &Step) -> String {
    short(&format!("{}:{}", step.verb.name(), step.target))
}
