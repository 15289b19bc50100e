//! A task as a document: codec version 1.

use serde::{Deserialize, Serialize};
use wire::time::Wall;

use crate::documents::Document;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a remediation agent.
    Queued,
    /// An agent works on it.
    Leased,
    /// A patch passed every gate and is being published.
    Publishing,
    /// A pull request is open.
    Proposed,
    /// Its pull request was merged.
    Merged,
    /// Its pull request was closed without a merge.
    Closed,
    /// The agent found no repair; the code says why.
    NoFix,
    /// A gate refused the patch; the codes say which.
    Refused,
    /// Every attempt was lost.
    Dead,
    /// A person stopped it.
    Cancelled,
}

impl TaskState {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Publishing => "publishing",
            Self::Proposed => "proposed",
            Self::Merged => "merged",
            Self::Closed => "closed",
            Self::NoFix => "no_fix",
            Self::Refused => "refused",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more is done by itself.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Merged | Self::Closed | Self::NoFix | Self::Refused | Self::Dead | Self::Cancelled
        )
    }
}

/// Which tasks go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When nothing else waits.
    Low,
    /// A pull request is red.
    Normal,
    /// The default branch is red.
    High,
}

/// The right to work on a task, until it ends or is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Drawn for this lease.
    pub id: String,
    /// Whose: name and instance of the agent.
    pub agent: String,
    /// Lost if it is not extended until then.
    pub until: Wall,
    /// Lost then in any case.
    pub deadline: Wall,
}

/// One changed file of a patch, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path in the repository.
    pub path: String,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// A patch that an agent proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Digest of the certificate, which the shell keeps with the patch.
    pub certificate: String,
    /// Fixer and version.
    pub fixer: String,
    /// The files.
    pub files: Vec<ChangedFile>,
    /// What it repairs: category, tool, message.
    pub category: String,
    /// The tool that found it.
    pub tool: String,
    /// Fingerprint of the failure.
    pub fingerprint: String,
    /// Branch of the pull request.
    pub branch: String,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Id, a UUIDv7.
    pub id: String,
    /// Name of the source in the configuration.
    pub source: String,
    /// `owner/name` of the repository.
    pub repository: String,
    /// The failing commit.
    pub commit: String,
    /// Name of the failing check.
    pub check: String,
    /// The branch, where the event names it.
    pub branch: String,
    /// Where the log is.
    pub log_url: String,
    /// The delivery that made it.
    pub delivery: String,
    /// Id that joins it with a prediction.
    pub correlation_id: Option<String>,
    /// The code comes from a fork.
    pub from_fork: bool,
    /// Which go first.
    pub priority: Priority,
    /// Where it stands.
    pub state: TaskState,
    /// Leases so far.
    pub attempts: u32,
    /// Counts leases for fencing: only the newest may write.
    pub epoch: u64,
    /// The lease, while it is leased.
    pub lease: Option<Lease>,
    /// Not leased before.
    pub not_before: Wall,
    /// What the agent does at present.
    pub phase: String,
    /// How far, in thousandths.
    pub progress: u16,
    /// Why it is no fix.
    pub codes: Vec<String>,
    /// For people.
    pub reason: String,
    /// The patch.
    pub proposal: Option<Proposal>,
    /// Address of the pull request.
    pub pull_request: Option<String>,
    /// Its number.
    pub pull_number: Option<u64>,
    /// When it was made.
    pub created_at: Wall,
    /// When it last changed its state.
    pub updated_at: Wall,
}

impl Document for Task {
    const KIND: &'static str = "task";
    const VERSION: u8 = 1;
    /// Unfinished ones and the last finished ones, which people look at; a few kilobytes each.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn unique(&self) -> Vec<String> {
        vec![delivery_key(&self.source, &self.delivery), self.check_key()]
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("state", self.state.name().to_owned()),
            ("repository", self.repository.clone()),
        ]
    }
}

impl Task {
    /// One task for each failing check of each commit.
    pub fn check_key(&self) -> String {
        bounded(format!(
            "check:{}:{}:{}:{}",
            self.source, self.repository, self.commit, self.check
        ))
    }
}

/// One task for each delivery.
pub(super) fn delivery_key(source: &str, delivery: &str) -> String {
    bounded(format!("delivery:{source}:{delivery}"))
}

/// Keys of the store are short: what is longer is named by its digest.
fn bounded(key: String) -> String {
    if key.len() <= crate::documents::MAX_KEY_BYTES {
        return key;
    }
    format!("digest:{}", wire::ids::Digest::of(key.as_bytes()))
}
