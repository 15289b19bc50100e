//! Tasks: a failed check of a commit, on its way to a pull request or to a code that says why there is none.
//!
//! Decides what becomes a task (one for each delivery and for each failing check of a commit), who may work on it (leases with
//! fencing epochs), when it is lost, and whether a patch may be published. It never talks to a forge: when a patch has passed every
//! gate and that is stored, [`Effect::Publish`] asks the shell to open the pull request, which is idempotent by branch name, so a
//! crash at any point ends in one pull request.
//!
//! Invariants: an attempt is counted when it is leased; only the newest epoch of a task may write; a patch is published only from
//! `Publishing`, after that is stored.
//!
//! Read next: `tasks/queue.rs` (which is next), `tasks/gates.rs` (what is refused), `tasks/record.rs`.

pub mod gates;
pub mod queue;
mod record;

use std::time::Duration;

use wire::change::{Caller, ChangeRecord, Via};
use wire::time::Wall;

pub use record::{ChangedFile, Lease, Priority, Proposal, Task, TaskState};

use crate::cx::{Cx, Then};
use crate::documents::{Documents, StoredDocument, Unreadable};
use crate::effect::{Answer, Effect};
use crate::timers::Timer;

/// Finished tasks that stay at hand; beyond it the oldest leave.
const MOST_FINISHED: usize = 5_000;
/// Leases are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest text that an agent may write into a task.
const TEXT_BYTES: usize = 2_000;

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

/// What somebody wants of the tasks.
#[derive(Debug, Clone)]
pub enum TaskRequest {
    /// A check failed.
    Received(Box<NewTask>),
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
    /// The pull request is open.
    Published {
        /// Which task.
        id: String,
        /// Its address.
        url: String,
        /// Its number.
        number: u64,
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
    /// The forge says what became of the pull request.
    PullRequestEnded {
        /// Name of the source.
        source: String,
        /// `owner/name`.
        repository: String,
        /// Its number.
        number: u64,
        /// Merged, or closed.
        merged: bool,
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
    },
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

/// All tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: Documents<Task>,
}

impl Tasks {
    pub(crate) fn recovered(
        documents: impl IntoIterator<Item = StoredDocument>,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Unreadable> {
        let tasks = Documents::recovered(documents, keys)?;
        Ok(Self { tasks })
    }

    /// After a start: what was being published is published, and leases are looked at.
    pub(crate) fn resume(&mut self, cx: &mut Cx<'_>) {
        for task in self
            .tasks
            .iter_stored()
            .filter(|task| task.state == TaskState::Publishing)
        {
            cx.effect(Effect::Publish(Box::new(task.clone())));
        }
        cx.at(cx.now.mono, Timer::Tasks);
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.tasks.settle(id, revision, is_stored);
    }

    /// A task's patch is stored as passed: it may be seen outside now.
    pub(crate) fn may_publish(&mut self, id: &str, cx: &mut Cx<'_>) {
        if let Some(task) = self.tasks.stored(id).filter(|task| task.state == TaskState::Publishing) {
            cx.effect(Effect::Publish(Box::new(task.clone())));
        }
    }

    /// A stored task.
    pub(crate) fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.stored(id)
    }

    /// Every stored task, oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter_stored()
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: TaskRequest, cx: &mut Cx<'_>) {
        let result = match what {
            TaskRequest::Received(new) => return self.received(request, caller, *new, cx),
            TaskRequest::Lease { agent, lease } => return self.lease(request, caller, agent, lease, cx),
            TaskRequest::Extend { right, phase, progress } => self.extend(&right, &phase, progress, cx),
            TaskRequest::Propose {
                right,
                proposal,
                message,
                refusals,
            } => self.propose(caller, &right, *proposal, &message, refusals, cx),
            TaskRequest::Finish {
                right,
                code,
                reason,
                retry,
            } => self.finish(caller, &right, &code, &reason, retry, cx),
            TaskRequest::Published { id, url, number } => self.published(caller, &id, url, number, cx),
            TaskRequest::NotPublished { id, code, reason } => self.not_published(caller, &id, &code, &reason, cx),
            TaskRequest::PullRequestEnded {
                source,
                repository,
                number,
                merged,
            } => self.pull_request_ended(caller, &source, &repository, number, merged, cx),
            TaskRequest::Cancel { id, reason } => self.cancel(caller, &id, &reason, cx),
            TaskRequest::Retry { id } => self.retry(caller, &id, cx),
        };
        match result {
            Ok(task) => cx.reply_when_stored(request, Answer::Task(Box::new(task))),
            Err(refusal) => cx.reply(request, refusal),
        }
    }

    /// The same delivery, or another one that tells of the same check of the same commit, is the same task.
    fn received(&mut self, request: u64, caller: Caller, new: NewTask, cx: &mut Cx<'_>) {
        let task = new.into_task(cx.now.wall);
        let known = task
            .unique_keys()
            .into_iter()
            .find_map(|key| self.tasks.holder(&key).map(str::to_owned));
        if let Some(id) = known {
            return cx.reply(request, Answer::KnownTask { id });
        }
        self.make_room(cx);
        let change = ChangeRecord::new(caller, "task.create", target(&task.id))
            .with("repository", &task.repository)
            .with("commit", &task.commit)
            .with("check", &task.check)
            .with("delivery", &task.delivery);
        match self.put(task, change, cx) {
            Ok(task) => cx.reply_when_stored(request, Answer::Task(Box::new(task))),
            Err(refusal) => cx.reply(request, refusal),
        }
    }

    fn make_room(&mut self, cx: &mut Cx<'_>) {
        let finished = || self.tasks.iter().filter(|task| task.state.is_over());
        if finished().count() < MOST_FINISHED {
            return;
        }
        let oldest = finished()
            .min_by_key(|task| task.updated_at)
            .map(|task| task.id.clone());
        if let Some(put) = oldest.and_then(|id| self.tasks.remove(&id)) {
            cx.put(put);
        }
    }

    fn lease(&mut self, request: u64, caller: Caller, agent: String, lease: String, cx: &mut Cx<'_>) {
        let now = cx.now.wall;
        let Some(mut task) = queue::next(self.tasks.iter(), now).cloned() else {
            return cx.reply(request, Answer::NoTask);
        };
        task.state = TaskState::Leased;
        task.attempts += 1;
        task.epoch += 1;
        task.lease = Some(Lease {
            id: lease,
            agent: agent.clone(),
            until: after(now, queue::LEASE_MS),
            deadline: after(now, queue::DEADLINE_MS),
        });
        let change = ChangeRecord::new(caller, "task.lease", target(&task.id))
            .with("agent", agent)
            .with("epoch", task.epoch)
            .with("attempt", task.attempts);
        match self.put(task, change, cx) {
            Ok(task) => cx.reply_when_stored(request, Answer::Task(Box::new(task))),
            Err(refusal) => cx.reply(request, refusal),
        }
    }

    /// Extends a lease. Progress is no reason of its own: it is told with the next change of the task.
    fn extend(&mut self, right: &Right, phase: &str, progress: u16, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.held(right)?;
        let until = after(cx.now.wall, queue::LEASE_MS);
        if let Some(lease) = &mut task.lease {
            lease.until = until.min(lease.deadline);
        }
        task.phase = cut(phase);
        task.progress = progress.min(1_000);
        let put = self.tasks.put(task.clone(), 0).map_err(refused)?;
        cx.put(put);
        Ok(task)
    }

    fn propose(
        &mut self,
        caller: Caller,
        right: &Right,
        proposal: Proposal,
        message: &str,
        refusals: Vec<String>,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.held(right)?;
        let change = ChangeRecord::new(caller, "task.propose", target(&task.id))
            .because(cut(message))
            .with("fixer", &proposal.fixer)
            .with("certificate", &proposal.certificate)
            .with("files", proposal.files.len())
            .with(
                "gates",
                if refusals.is_empty() {
                    "passed".to_owned()
                } else {
                    refusals.join(" ")
                },
            );
        task.lease = None;
        task.proposal = Some(proposal);
        let passes = refusals.is_empty();
        task.state = if passes {
            TaskState::Publishing
        } else {
            TaskState::Refused
        };
        task.codes = refusals;
        let task = self.put(task, change, cx)?;
        if passes {
            cx.then(Then::Publish { task: task.id.clone() });
        }
        Ok(task)
    }

    fn finish(
        &mut self,
        caller: Caller,
        right: &Right,
        code: &str,
        reason: &str,
        retry: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.held(right)?;
        task.lease = None;
        task.codes = vec![cut(code)];
        task.reason = cut(reason);
        let again = retry && task.attempts < queue::ATTEMPTS;
        if again {
            task.state = TaskState::Queued;
            task.not_before = after(cx.now.wall, queue::backoff_ms(task.attempts));
        } else {
            task.state = if retry { TaskState::Dead } else { TaskState::NoFix };
        }
        let change = ChangeRecord::new(caller, "task.finish", target(&task.id))
            .because(cut(reason))
            .with("code", code)
            .with("state", task.state.name());
        self.put(task, change, cx)
    }

    fn published(
        &mut self,
        caller: Caller,
        id: &str,
        url: String,
        number: u64,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if task.state != TaskState::Publishing {
            return Ok(task);
        }
        let change = ChangeRecord::new(caller, "task.publish", target(id)).with("pull_request", &url);
        task.state = TaskState::Proposed;
        task.pull_request = Some(url);
        task.pull_number = Some(number);
        self.put(task, change, cx)
    }

    fn not_published(
        &mut self,
        caller: Caller,
        id: &str,
        code: &str,
        reason: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if task.state != TaskState::Publishing {
            return Ok(task);
        }
        let change = ChangeRecord::new(caller, "task.publish", target(id))
            .because(cut(reason))
            .with("code", code);
        task.state = TaskState::Refused;
        task.codes = vec![cut(code)];
        task.reason = cut(reason);
        self.put(task, change, cx)
    }

    fn pull_request_ended(
        &mut self,
        caller: Caller,
        source: &str,
        repository: &str,
        number: u64,
        merged: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let ours = |task: &&Task| {
            task.source == source
                && task.repository == repository
                && task.pull_number == Some(number)
                && task.state == TaskState::Proposed
        };
        let mut task = self.tasks.iter().find(ours).cloned().ok_or(Answer::NoTask)?;
        task.state = if merged { TaskState::Merged } else { TaskState::Closed };
        let change = ChangeRecord::new(caller, "task.outcome", target(&task.id)).with("outcome", task.state.name());
        self.put(task, change, cx)
    }

    fn cancel(&mut self, caller: Caller, id: &str, reason: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if !matches!(task.state, TaskState::Queued | TaskState::Leased) {
            return Err(rejected(format!(
                "task `{id}` is {}, only a queued or leased one can be cancelled",
                task.state.name()
            )));
        }
        let change = ChangeRecord::new(caller, "task.cancel", target(id)).because(cut(reason));
        task.state = TaskState::Cancelled;
        task.lease = None;
        task.reason = cut(reason);
        self.put(task, change, cx)
    }

    fn retry(&mut self, caller: Caller, id: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if !matches!(
            task.state,
            TaskState::NoFix | TaskState::Refused | TaskState::Dead | TaskState::Cancelled
        ) {
            return Err(rejected(format!(
                "task `{id}` is {}, only one that ended without a pull request can be tried again",
                task.state.name()
            )));
        }
        let change = ChangeRecord::new(caller, "task.retry", target(id));
        task.state = TaskState::Queued;
        task.attempts = 0;
        task.not_before = cx.now.wall;
        task.codes.clear();
        task.reason.clear();
        self.put(task, change, cx)
    }

    /// Leases that were not extended are lost: the task goes back, or is dead after its last attempt.
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.wall;
        let is_lost = |task: &&Task| task.lease.as_ref().is_some_and(|lease| lease.until <= now);
        let lost: Vec<Task> = self.tasks.iter().filter(is_lost).cloned().collect();
        for mut task in lost {
            let agent = task.lease.take().map(|lease| lease.agent).unwrap_or_default();
            task.reason = format!("its lease by `{agent}` was not extended");
            if task.attempts < queue::ATTEMPTS {
                task.state = TaskState::Queued;
                task.not_before = after(now, queue::backoff_ms(task.attempts));
            } else {
                task.state = TaskState::Dead;
            }
            let change = ChangeRecord::new(Caller::hub(), "task.lease-lost", target(&task.id))
                .with("agent", agent)
                .with("state", task.state.name());
            // A refused row means that the store is full of documents, which it was not when this one was written.
            let _ = self.put(task, change, cx);
        }
        cx.at(cx.now.mono + LOOK_EVERY, Timer::Tasks);
    }

    /// The task, if this is its present lease.
    fn held(&self, right: &Right) -> Result<Task, Answer> {
        let task = self.newest(&right.task)?;
        let holds = task.epoch == right.epoch && task.lease.as_ref().is_some_and(|lease| lease.id == right.lease);
        if holds { Ok(task) } else { Err(Answer::Fenced) }
    }

    fn newest(&self, id: &str) -> Result<Task, Answer> {
        let unknown = || rejected(format!("there is no task `{id}`: `sentinel get tasks` lists them"));
        self.tasks.get(id).cloned().ok_or_else(unknown)
    }

    fn put(&mut self, mut task: Task, change: ChangeRecord, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        task.updated_at = cx.now.wall;
        let put = self.tasks.put(task.clone(), 0).map_err(refused)?;
        cx.record(change);
        cx.put(put);
        Ok(task)
    }
}

impl NewTask {
    fn into_task(self, now: Wall) -> Task {
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
        }
    }
}

impl Task {
    fn unique_keys(&self) -> [String; 2] {
        [record::delivery_key(&self.source, &self.delivery), self.check_key()]
    }
}

/// Who speaks for a forge.
pub fn forge(source: &str) -> Caller {
    Caller::new(source, Via::Forge)
}

fn target(id: &str) -> String {
    format!("task/{id}")
}

fn after(now: Wall, span_ms: i64) -> Wall {
    Wall(now.0.saturating_add(span_ms))
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn rejected(reason: String) -> Answer {
    Answer::Rejected { reason }
}

fn refused(error: crate::documents::DocumentError) -> Answer {
    rejected(error.to_string())
}
