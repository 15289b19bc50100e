//! Judges every brain by what it predicted and what came true, the embedded one like any other.
//!
//! A prediction belongs to one plan and is joined to that plan's outcome by id, never by nearness in time; whoever keeps the plans
//! tells a [`Record`] of both. Where our own action may have brought about what was seen, the outcome is censored: it is neither hit
//! nor miss. From the joined pairs come scores ([`score`]), a calibrated chance with a lower bound, an alarm that may be looked at at
//! any time ([`alarm`]) and a tier per brain and verb ([`tier`]).
//!
//! Pure: no clock, no I/O, no randomness; times are the hub's own milliseconds. A [`Record`] is plain data and is stored as such.
//!
//! Invariants: memory is bounded whatever a brain sends ([`score::KEPT`]); a tier rises by one step at a time and only with an
//! outcome, and each change says why.
//! Read next: `record.rs` (what is known of one brain and verb), `tier.rs` (what a tier asks for and what it lets run).

pub mod alarm;
pub mod beta;
mod record;
pub mod score;
pub mod tier;

pub use record::{Record, Standing};
pub use score::{Bin, Calibrated, Scores};
use serde::{Deserialize, Serialize};
pub use tier::{Change, Tier, Why};

/// What came of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It came true: the metric moved by at least half of what was predicted, the right way, in time.
    CameTrue,
    /// It did not.
    Failed,
    /// It cannot be told, so it counts for nothing.
    Censored(Censored),
}

/// Why an outcome cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Censored {
    /// Another action of ours may have brought it about, or took the plan back.
    ByAction,
    /// The readings that would tell are not there.
    ByGap,
    /// The plan was never run.
    NotRun,
}

impl Seen {
    /// In one word or two, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CameTrue => "true",
            Self::Failed => "false",
            Self::Censored(Censored::ByAction) => "censored: our own action interfered",
            Self::Censored(Censored::ByGap) => "censored: nothing could be seen",
            Self::Censored(Censored::NotRun) => "censored: it never ran",
        }
    }
}
