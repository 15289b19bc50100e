//! A task as a document: codec version 3. Version 2 had no review; version 1 no registered agents, no chance and no label either.

use serde::{Deserialize, Serialize};
use wire::time::Wall;

use super::review::Review;
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
    /// A patch passed its gates, and policy holds it back or wants a person's consent; the code says why.
    Held,
    /// An agent of the original's API has done it.
    Completed,
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
            Self::Held => "held",
            Self::Completed => "completed",
        }
    }

    /// Whether nothing more is done by itself.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Merged | Self::Closed | Self::NoFix | Self::Refused | Self::Dead | Self::Cancelled | Self::Completed
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

/// What became of a pull request, as calibration counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Somebody merged it.
    Merged,
    /// Checks at our commit are red.
    Red,
    /// It was merged and taken back.
    Reverted,
    /// Closed with an explicit no.
    Rejected,
    /// Closed without a word.
    Closed,
}

impl Label {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Red => "red",
            Self::Reverted => "reverted",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
        }
    }
}

/// What an agent tells of its work by the original's API: JSON texts, each empty until it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What came of it.
    pub result: String,
    /// What it made.
    pub artifacts: String,
    /// What it counted.
    pub metrics: String,
}

/// What kind of work a failed check is.
pub const CI_FAILURE: &str = "ci_failure_fix";
/// Longest time of one attempt, unless its maker says otherwise.
pub const TIMEOUT_MS: i64 = 1_800_000;

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
    /// What kind of work it is: [`CI_FAILURE`], or a word of whoever made it.
    pub kind: String,
    /// What its maker gave for the agent, JSON; empty for a failed check, which the members above describe.
    pub context: String,
    /// Id of the registered agent that it is bound to; `None`: whoever asks first.
    pub agent: Option<String>,
    /// Longest time of one attempt, in milliseconds.
    pub timeout_ms: i64,
    /// How often it was given to an agent again.
    pub retries: u32,
    /// When its present or last attempt began.
    pub started_at: Option<Wall>,
    /// When it ended.
    pub completed_at: Option<Wall>,
    /// What its agent told.
    pub told: Told,
    /// What the failing check says.
    pub message: String,
    /// How likely its patch is to be merged, as it was known when it was proposed.
    pub chance: Option<super::calibration::Chance>,
    /// A person agreed to what policy wanted a person for.
    pub approved: bool,
    /// Our commit.
    pub head: Option<String>,
    /// The commit that the merge made.
    pub merged_as: Option<String>,
    /// What became of its pull request.
    pub label: Option<Label>,
    /// What is wished of its pull request, and how that stands. The last member: version 2 ends before it.
    pub review: Review,
}

/// Version 1.
#[derive(Deserialize)]
struct First {
    id: String,
    source: String,
    repository: String,
    commit: String,
    check: String,
    branch: String,
    log_url: String,
    delivery: String,
    correlation_id: Option<String>,
    from_fork: bool,
    priority: Priority,
    state: TaskState,
    attempts: u32,
    epoch: u64,
    lease: Option<Lease>,
    not_before: Wall,
    phase: String,
    progress: u16,
    codes: Vec<String>,
    reason: String,
    proposal: Option<Proposal>,
    pull_request: Option<String>,
    pull_number: Option<u64>,
    created_at: Wall,
    updated_at: Wall,
}

impl From<First> for Task {
    fn from(old: First) -> Self {
        let label = match old.state {
            TaskState::Merged => Some(Label::Merged),
            TaskState::Closed => Some(Label::Closed),
            _ => None,
        };
        Self {
            id: old.id,
            source: old.source,
            repository: old.repository,
            commit: old.commit,
            check: old.check,
            branch: old.branch,
            log_url: old.log_url,
            delivery: old.delivery,
            correlation_id: old.correlation_id,
            from_fork: old.from_fork,
            priority: old.priority,
            state: old.state,
            attempts: old.attempts,
            epoch: old.epoch,
            lease: old.lease,
            not_before: old.not_before,
            phase: old.phase,
            progress: old.progress,
            codes: old.codes,
            reason: old.reason,
            proposal: old.proposal,
            pull_request: old.pull_request,
            pull_number: old.pull_number,
            created_at: old.created_at,
            updated_at: old.updated_at,
            kind: CI_FAILURE.to_owned(),
            context: String::new(),
            agent: None,
            timeout_ms: TIMEOUT_MS,
            retries: old.attempts.saturating_sub(1),
            started_at: None,
            completed_at: old.state.is_over().then_some(old.updated_at),
            told: Told::default(),
            message: String::new(),
            chance: None,
            approved: false,
            head: None,
            merged_as: None,
            label,
            review: Review::default(),
        }
    }
}

impl Document for Task {
    const KIND: &'static str = "task";
    const VERSION: u8 = 3;
    /// Unfinished ones and the last finished ones, which people look at; a few kilobytes each.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn unique(&self) -> Vec<String> {
        let delivery = delivery_key(&self.source, &self.delivery);
        // What is no failed check of a commit is never the same as another.
        let check = (!self.commit.is_empty()).then(|| self.check_key());
        [delivery].into_iter().chain(check).collect()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![
            ("state", self.state.name().to_owned()),
            ("repository", self.repository.clone()),
        ]
    }

    fn migrate(version: u8, bytes: &[u8]) -> Option<Self> {
        match version {
            1 => wire::codec::decode::<First>(bytes).ok().map(Self::from),
            2 => {
                let with_review = [bytes, &wire::codec::encode(&Review::default())].concat();
                wire::codec::decode(&with_review).ok()
            }
            _ => None,
        }
    }
}

impl Task {
    /// What every task begins as: queued, and nothing done or known of it.
    pub(super) fn fresh(now: Wall) -> Self {
        Self {
            id: String::new(),
            source: String::new(),
            repository: String::new(),
            commit: String::new(),
            check: String::new(),
            branch: String::new(),
            log_url: String::new(),
            delivery: String::new(),
            correlation_id: None,
            from_fork: false,
            priority: Priority::Normal,
            state: TaskState::Queued,
            attempts: 0,
            epoch: 0,
            lease: None,
            not_before: now,
            phase: String::new(),
            progress: 0,
            codes: Vec::new(),
            reason: String::new(),
            proposal: None,
            pull_request: None,
            pull_number: None,
            created_at: now,
            updated_at: now,
            kind: CI_FAILURE.to_owned(),
            context: String::new(),
            agent: None,
            timeout_ms: TIMEOUT_MS,
            retries: 0,
            started_at: None,
            completed_at: None,
            told: Told::default(),
            message: String::new(),
            chance: None,
            approved: false,
            head: None,
            merged_as: None,
            label: None,
            review: Review::default(),
        }
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Option<Wall> {
        (self.state.is_over() || self.label.is_some()).then_some(self.updated_at)
    }

    /// Whether the repair failed: nobody could finish it, or what was proposed was red, taken back or not wanted. `None`: it is not
    /// known, or there was nothing to repair.
    pub fn has_failed(&self) -> Option<bool> {
        match (self.label, self.state) {
            (Some(label), _) => Some(label != Label::Merged),
            (None, TaskState::Dead) => Some(true),
            (None, _) => None,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_version_2_are_read() {
        let mut task = Task::fresh(Wall(5));
        task.id = "t".to_owned();
        task.label = Some(Label::Merged);
        let bytes = wire::codec::encode(&task);
        let old = bytes
            .strip_suffix(wire::codec::encode(&Review::default()).as_slice())
            .expect("the review is the last member");
        assert_eq!(Task::migrate(2, old), Some(task));
        assert_eq!(Task::migrate(2, &old[..old.len() - 1]), None);
    }
}
