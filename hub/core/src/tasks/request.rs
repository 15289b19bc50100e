//! What is asked of tasks: by events of forges, by remediation agents, and by people.
//!
//! Words only; what becomes of them is decided in `tasks.rs`.

use wire::time::Wall;

use super::agents::{AgentChange, Registration};
use super::calibration::Chance;
use super::judge::{Judged, Step};
use super::outcome::Ended;
use super::record::{Priority, Proposal, Task};
use super::review::Seen;

/// A failed check, as an event told of it.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Drawn by the shell, a UUIDv7.
    pub id: String,
    /// Name of the source.
    pub source: String,
    /// `owner/name`.
    pub repository: String,
    /// The failing commit.
    pub commit: String,
    /// Name of the check.
    pub check: String,
    /// The branch, empty where the event does not name it.
    pub branch: String,
    /// Where the log is.
    pub log_url: String,
    /// Names the delivery.
    pub delivery: String,
    /// Joins it with a prediction.
    pub correlation_id: Option<String>,
    /// The code comes from a fork.
    pub from_fork: bool,
    /// Which go first.
    pub priority: Priority,
}

/// Work that the original's API asks for: any kind, for a registered agent.
#[derive(Debug, Clone)]
pub struct OtherTask {
    /// Drawn by the shell, a UUIDv7.
    pub id: String,
    /// What kind of work.
    pub kind: String,
    /// For the agent, JSON.
    pub context: String,
    /// Longest time of one attempt, in milliseconds.
    pub timeout_ms: i64,
    /// Joins it with a prediction.
    pub correlation_id: Option<String>,
}

/// What an agent says of its task by the original's API; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The original's word: `running`, `completed`, `failed`.
    pub status: Option<Reported>,
    /// How far, in thousandths.
    pub progress: Option<u16>,
    /// What came of it, JSON.
    pub result: Option<String>,
    /// What it made, JSON.
    pub artifacts: Option<String>,
    /// What it counted, JSON.
    pub metrics: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What an agent may say of a task by the original's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It works on it.
    Running,
    /// It has done it.
    Completed,
    /// It could not.
    Failed,
}

/// What somebody wants of the tasks.
#[derive(Debug, Clone)]
pub enum TaskRequest {
    /// A check failed.
    Received(Box<NewTask>),
    /// An agent registers, or registers again.
    Register(Box<Registration>),
    /// A person changes an agent.
    ChangeAgent {
        /// Which.
        id: String,
        /// What.
        change: Box<AgentChange>,
    },
    /// An agent is forgotten. Its tasks stay.
    RemoveAgent {
        /// Which.
        id: String,
    },
    /// An agent says how it is.
    Heartbeat {
        /// Which.
        id: String,
        /// In thousandths.
        health: u16,
    },
    /// Work of any kind, for the healthiest agent that does it.
    Create(Box<OtherTask>),
    /// An agent of the original's API wants its next task.
    Dequeue {
        /// Which.
        agent: String,
        /// Drawn by the shell.
        lease: String,
    },
    /// An agent of the original's API says how its task goes.
    Report {
        /// Which task.
        id: String,
        /// What.
        report: Box<Report>,
    },
    /// Give a task to another agent.
    Reassign {
        /// Which task.
        id: String,
        /// To whom; `None`: the healthiest other one.
        agent: Option<String>,
    },
    /// A person agrees to what policy wants a person for.
    Approve {
        /// Which task.
        id: String,
        /// Why.
        reason: String,
    },
    /// An agent wants work.
    Lease {
        /// Its name and instance.
        agent: String,
        /// Drawn by the shell.
        lease: String,
    },
    /// An agent is still at it.
    Extend {
        /// Which right it uses.
        right: Right,
        /// What it does.
        phase: String,
        /// How far, in thousandths.
        progress: u16,
    },
    /// An agent proposes a patch. The shell has checked the certificate and stored the patch.
    Propose {
        /// Which right it uses.
        right: Right,
        /// What it is.
        proposal: Box<Proposal>,
        /// What the failing check said, for people.
        message: String,
        /// Codes of all gates that refuse it.
        refusals: Vec<String>,
        /// The lowest chance at which the repository's owner wants it published, in hundredths of a percent.
        least_bp: u16,
    },
    /// An agent ends without a patch.
    Finish {
        /// Which right it uses.
        right: Right,
        /// Why, a stable code.
        code: String,
        /// For people.
        reason: String,
        /// Another attempt may succeed.
        retry: bool,
    },
    /// A leased task may not go on before a time: it waits in the queue, and this was no attempt.
    PutOff {
        /// Which right it uses.
        right: Right,
        /// Why, and until when.
        pause: Box<super::wishes::Pause>,
    },
    /// The pull request is open.
    Published {
        /// Which task.
        id: String,
        /// Its address.
        url: String,
        /// Its number.
        number: u64,
        /// Our commit, where the forge told it.
        head: Option<String>,
    },
    /// It could not be opened, and will not be.
    NotPublished {
        /// Which task.
        id: String,
        /// Why, a stable code.
        code: String,
        /// For people.
        reason: String,
    },
    /// The forge says what became of a pull request.
    Ended(Box<Ended>),
    /// A check passed.
    Passed {
        /// Name of the source.
        source: String,
        /// `owner/name`.
        repository: String,
        /// Of which commit.
        commit: String,
        /// Which check.
        check: String,
    },
    /// Have the open pull requests of a source looked at.
    Look {
        /// Name of the source.
        source: String,
    },
    /// The shell has looked at an open pull request.
    Seen(Box<Seen>),
    /// The shell has done what was decided for a pull request whose checks are green.
    Settled {
        /// Which task.
        id: String,
        /// The commit that the merge made, if it was merged.
        merged_as: Option<String>,
        /// Why the forge did not merge it, empty otherwise.
        refused: String,
    },
    /// The forge was asked to run the failed jobs of a task once more, or cannot be.
    Rerun {
        /// Which task.
        id: String,
        /// What came of it, for people.
        what: String,
    },
    /// Somebody at the forge wants nothing more done by itself.
    Stop {
        /// Which task.
        id: String,
        /// Who.
        who: String,
    },
    /// What was stopped goes on.
    Resume {
        /// Which task.
        id: String,
        /// Who.
        who: String,
    },
    /// Stop it.
    Cancel {
        /// Which task.
        id: String,
        /// Why.
        reason: String,
    },
    /// Try it again.
    Retry {
        /// Which task.
        id: String,
        /// Why.
        reason: String,
    },
}

/// What policy says of repairs in one repository, at one time.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Each step, for a lint failure without an earlier one.
    pub steps: Vec<(Step, Judged)>,
    /// How likely a repair of each category is to be merged, by what became of earlier ones.
    pub chances: Vec<(&'static str, Chance)>,
    /// Its open pull requests.
    pub open: usize,
}

/// The right to write to a leased task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Which task.
    pub task: String,
    /// The lease.
    pub lease: String,
    /// Its epoch.
    pub epoch: u64,
}

impl NewTask {
    /// The task that it becomes.
    pub(super) fn into_task(self, now: Wall) -> Task {
        Task {
            id: self.id,
            source: self.source,
            repository: self.repository,
            commit: self.commit,
            check: self.check,
            branch: self.branch,
            log_url: self.log_url,
            delivery: self.delivery,
            correlation_id: self.correlation_id,
            from_fork: self.from_fork,
            priority: self.priority,
            ..Task::fresh(now)
        }
    }
}
