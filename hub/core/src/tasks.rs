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
//! Read next: `tasks/queue.rs` (which is next), `tasks/judge.rs` (what policy says), `tasks/gates.rs` (what is refused),
//! `tasks/pause.rs` (what must wait), `tasks/review.rs` (drafts, green checks, merges), `tasks/outcome.rs` (what became of pull requests),
//! `tasks/wishes.rs` (what an owner asks for), `tasks/facade.rs` (the original's verbs), `tasks/request.rs` (what is asked),
//! `tasks/record.rs`.

pub mod agents;
pub mod calibration;
mod facade;
pub mod gates;
pub mod judge;
mod outcome;
mod pause;
pub mod queue;
mod record;
mod request;
pub mod review;
pub mod wishes;

use std::time::Duration;

use wire::change::{Caller, ChangeRecord, Via};
use wire::time::{Now, Wall};

use self::agents::{Agents, RemediationAgent};
use self::judge::{Facts, Step};
pub use self::outcome::Ended;
use self::review::Review;
pub use record::{CI_FAILURE, ChangedFile, Label, Lease, Priority, Proposal, TIMEOUT_MS, Task, TaskState, Told};
pub use request::{Explained, NewTask, OtherTask, Report, Reported, Right, TaskRequest};

use crate::cx::{Cx, Then};
use crate::documents::{Document as _, Documents, StoredDocument, Unreadable};
use crate::effect::{Answer, Effect};
use crate::timers::Timer;

/// Finished tasks that stay at hand; beyond it the oldest leave.
const MOST_FINISHED: usize = 5_000;
/// So many tasks come until it is looked again how many are finished.
const AT_ONCE: usize = 32;
/// What names of our branches begin with. A red check there that is no pull request's head makes no task: nothing repairs itself.
const OWN_BRANCHES: &str = "patchbot/";
/// Leases are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest text that an agent may write into a task.
const TEXT_BYTES: usize = 2_000;

/// Categories that a tool may repair.
const CATEGORIES: [&str; 4] = ["format", "lint", "lockfile", "test"];

/// All tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: Documents<Task>,
    agents: Agents,
}

impl Tasks {
    pub(crate) fn recovered(
        (tasks, task_keys): (Vec<StoredDocument>, Vec<(String, String)>),
        (agents, agent_keys): (Vec<StoredDocument>, Vec<(String, String)>),
    ) -> Result<Self, Unreadable> {
        Ok(Self {
            tasks: Documents::recovered(tasks, task_keys)?,
            agents: Agents::recovered(Documents::recovered(agents, agent_keys)?),
        })
    }

    /// After a start: what was being published is published, and leases are looked at.
    pub(crate) fn resume(&mut self, cx: &mut Cx<'_>) {
        let is_begun = |task: &&Task| match task.state {
            TaskState::Publishing => true,
            TaskState::Proposed => task.review.is_decided(),
            TaskState::NoFix => task.review.rerun == Some(false),
            _ => false,
        };
        for task in self.tasks.iter_stored().filter(is_begun) {
            cx.effect(Effect::Publish(Box::new(task.clone())));
        }
        cx.at(cx.now.mono, Timer::Tasks);
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, kind: &str, id: &str, revision: u64, is_stored: bool) {
        if kind == RemediationAgent::KIND {
            self.agents.settle(id, revision, is_stored);
        } else {
            self.tasks.settle(id, revision, is_stored);
        }
    }

    /// What the shell is to do for a task's pull request is stored: it may be seen outside now.
    pub(crate) fn may_publish(&mut self, id: &str, cx: &mut Cx<'_>) {
        let is_begun = |task: &&Task| match task.state {
            TaskState::Publishing | TaskState::Proposed => true,
            TaskState::NoFix => task.review.rerun == Some(false),
            _ => false,
        };
        if let Some(task) = self.tasks.stored(id).filter(is_begun) {
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

    /// Every stored agent, by id.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &RemediationAgent> {
        self.agents.all()
    }

    /// What policy says of repairs in a repository now.
    pub(crate) fn explain(
        &self,
        repository: &str,
        rules: Option<&std::sync::Arc<policy::Bundle>>,
        now: Now,
    ) -> Explained {
        let chance = |category: &'static str| {
            let chance = calibration::chance(category, "", repository, self.tasks.iter());
            (category, chance)
        };
        let mut probe = NewTask {
            id: String::new(),
            source: String::new(),
            repository: repository.to_owned(),
            commit: String::new(),
            check: String::new(),
            branch: String::new(),
            log_url: String::new(),
            delivery: String::new(),
            correlation_id: None,
            from_fork: false,
            priority: Priority::Normal,
        }
        .into_task(now.wall);
        probe.chance = Some(chance("lint").1);
        let facts = Facts::count(&probe, self.tasks.iter(), now.wall);
        let step = |step: Step| (step, judge::judge(step, repository, &facts, rules, now));
        let is_open = |task: &&Task| task.repository == repository && task.state == TaskState::Proposed;
        Explained {
            steps: [Step::Start, Step::Propose, Step::Merge].map(step).into(),
            chances: CATEGORIES.map(chance).into(),
            open: self.tasks.iter().filter(is_open).count(),
        }
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: TaskRequest, cx: &mut Cx<'_>) {
        let result = match what {
            TaskRequest::Received(new) => return self.received(request, caller, *new, cx),
            TaskRequest::Lease { agent, lease } => return self.lease(request, caller, agent, lease, cx),
            TaskRequest::Register(new) => return self.register(request, &caller, *new, cx),
            TaskRequest::ChangeAgent { id, change } => {
                let result = self.agents.change(caller, &id, *change, cx);
                return facade::answer_agent(request, result, cx);
            }
            TaskRequest::RemoveAgent { id } => {
                let result = self.agents.remove(caller, &id, cx);
                return facade::answer_agent(request, result, cx);
            }
            TaskRequest::Heartbeat { id, health } => return self.heartbeat(request, &caller, &id, health, cx),
            TaskRequest::Create(new) => self.create(caller, *new, cx),
            TaskRequest::Dequeue { agent, lease } => self.dequeue(caller, &agent, lease, cx),
            TaskRequest::Report { id, report } => self.report(caller, &id, *report, cx),
            TaskRequest::Reassign { id, agent } => self.reassign(caller, &id, agent, cx),
            TaskRequest::Approve { id, reason } => self.approve(caller, &id, &reason, cx),
            TaskRequest::Extend { right, phase, progress } => self.extend(&right, &phase, progress, cx),
            TaskRequest::Propose {
                right,
                proposal,
                message,
                refusals,
                least_bp,
            } => self.propose(caller, &right, (*proposal, least_bp), &message, refusals, cx),
            TaskRequest::Finish {
                right,
                code,
                reason,
                retry,
            } => self.finish(caller, &right, &code, &reason, retry, cx),
            TaskRequest::PutOff { right, pause } => self.put_off(caller, &right, &pause, cx),
            TaskRequest::Published { id, url, number, head } => self.published(caller, &id, (url, number), head, cx),
            TaskRequest::NotPublished { id, code, reason } => self.not_published(caller, &id, &code, &reason, cx),
            TaskRequest::Ended(ended) => self.ended(caller, &ended, cx),
            TaskRequest::Passed {
                source,
                repository,
                commit,
                check,
            } => self.passed(caller, (&source, &repository, &commit), &check, cx),
            TaskRequest::Look { source } => {
                self.look(&source, cx);
                Err(Answer::NoTask)
            }
            TaskRequest::Seen(seen) => self.seen(caller, &seen, cx),
            TaskRequest::Settled { id, merged_as, refused } => {
                self.settled_at_forge(caller, &id, merged_as, &refused, cx)
            }
            TaskRequest::Rerun { id, what } => self.rerun(caller, &id, &what, cx),
            TaskRequest::Stop { id, who } => self.stop(caller, &id, &who, cx),
            TaskRequest::Resume { id, who } => self.resumed(caller, &id, &who, cx),
            TaskRequest::Cancel { id, reason } => self.cancel(caller, &id, &reason, cx),
            TaskRequest::Retry { id, reason } => self.retry(caller, &id, &reason, cx),
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
        // A red check of our own commit is what became of its task, and no task of its own.
        if let Some(ours) = self.of_head(&task.source, &task.repository, &task.commit) {
            return match self.labelled(caller, ours, Label::Red, &task.check, cx) {
                Ok(task) => cx.reply_when_stored(request, Answer::Task(Box::new(task))),
                Err(refusal) => cx.reply(request, refusal),
            };
        }
        if task.branch.starts_with(OWN_BRANCHES) {
            return cx.reply(request, Answer::NoTask);
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

    /// Lets the oldest finished tasks go where there are too many. All of them are looked at for that, so it is done for some at once.
    fn make_room(&mut self, cx: &mut Cx<'_>) {
        if self.tasks.len() < MOST_FINISHED || !self.tasks.len().is_multiple_of(AT_ONCE) {
            return;
        }
        let finished = self.tasks.iter().filter(|task| task.state.is_over());
        let mut finished: Vec<(Wall, String)> = finished.map(|task| (task.updated_at, task.id.clone())).collect();
        let surplus = (finished.len() + AT_ONCE).saturating_sub(MOST_FINISHED);
        finished.sort_unstable();
        for (_, id) in finished.into_iter().take(surplus) {
            if let Some(put) = self.tasks.remove(&id) {
                cx.put(put);
            }
        }
    }

    fn lease(&mut self, request: u64, caller: Caller, agent: String, lease: String, cx: &mut Cx<'_>) {
        let now = cx.now.wall;
        self.agents.note(name_of(&agent), now);
        let known = self.agents.named(name_of(&agent));
        if known.is_some_and(|agent| agent.status == agents::AgentStatus::Paused) {
            return cx.reply(request, Answer::NoTask);
        }
        let Some(task) = self.next(cx) else {
            return cx.reply(request, Answer::NoTask);
        };
        let until = after(now, queue::LEASE_MS);
        let deadline = after(now, task.timeout_ms);
        let lease = Lease {
            id: lease,
            agent,
            until: until.min(deadline),
            deadline,
        };
        match self.leased(caller, task, lease, cx) {
            Ok(task) => cx.reply_when_stored(request, Answer::Task(Box::new(task))),
            Err(refusal) => cx.reply(request, refusal),
        }
    }

    /// The first task in line that policy lets begin. One that it holds does not hide the next.
    fn next(&self, cx: &Cx<'_>) -> Option<Task> {
        let line = queue::line(self.tasks.iter(), cx.now.wall);
        let may_start = |task: &&Task| {
            let facts = Facts::count(task, self.tasks.iter(), cx.now.wall);
            judge::judge(Step::Start, &task.repository, &facts, cx.rules, cx.now).runs()
        };
        line.into_iter().find(may_start).cloned()
    }

    /// A task is given to an agent: the attempt counts now.
    fn leased(&mut self, caller: Caller, mut task: Task, lease: Lease, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        task.state = TaskState::Leased;
        task.attempts += 1;
        task.epoch += 1;
        task.started_at = Some(cx.now.wall);
        task.completed_at = None;
        task.codes.clear();
        task.reason.clear();
        let change = ChangeRecord::new(caller, "task.lease", target(&task.id))
            .with("agent", &lease.agent)
            .with("epoch", task.epoch)
            .with("attempt", task.attempts);
        task.lease = Some(lease);
        self.put(task, change, cx)
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
        (proposal, least_bp): (Proposal, u16),
        message: &str,
        refusals: Vec<String>,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.held(right)?;
        let chance = calibration::chance(&proposal.category, &proposal.fixer, &task.repository, self.tasks.iter());
        let mut change = ChangeRecord::new(caller, "task.propose", target(&task.id))
            .because(cut(message))
            .with("fixer", &proposal.fixer)
            .with("certificate", &proposal.certificate)
            .with("files", proposal.files.len())
            .with(
                "chance",
                format!(
                    "{} bp, at least {} bp, {} outcomes",
                    chance.mean_bp, chance.at_least_bp, chance.outcomes
                ),
            );
        task.lease = None;
        task.message = cut(message);
        task.chance = Some(chance);
        task.proposal = Some(proposal);
        task.review = Review {
            least_bp,
            ..Review::default()
        };
        if refusals.is_empty() {
            change = change.with("gates", "passed");
            return self.judged(task, change, cx);
        }
        change = change.with("gates", refusals.join(" "));
        task.state = TaskState::Refused;
        task.codes = refusals;
        self.put(task, change, cx)
    }

    /// A patch that passed its gates is published if policy lets it, and waits if not.
    fn judged(&mut self, mut task: Task, change: ChangeRecord, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let facts = Facts::count(&task, self.tasks.iter(), cx.now.wall);
        let mut judged = judge::judge(Step::Propose, &task.repository, &facts, cx.rules, cx.now);
        if judged.runs()
            && task
                .chance
                .is_some_and(|chance| chance.at_least_bp < task.review.least_bp)
        {
            judged = judge::Judged::less_than_the_owner_wants();
        }
        let consented = task.approved && judged.verdict == wire::decision::Verdict::RequireApproval;
        if judged.runs() || consented {
            task.state = TaskState::Publishing;
            task.codes.clear();
            let task = self.put(task, change.with("policy", "allow"), cx)?;
            cx.then(Then::Publish { task: task.id.clone() });
            return Ok(task);
        }
        let is_news = task.state != TaskState::Held || task.codes != [judged.code.as_str()];
        if !is_news {
            return Ok(task);
        }
        task.state = if judged.verdict == wire::decision::Verdict::Deny {
            TaskState::Refused
        } else {
            TaskState::Held
        };
        task.codes = vec![judged.code];
        self.put(
            task,
            change.with("policy", format!("{} by rule {}", judged.verdict.name(), judged.rule)),
            cx,
        )
    }

    fn approve(&mut self, caller: Caller, id: &str, reason: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if task.state != TaskState::Held {
            return Err(rejected(format!(
                "task `{id}` is {}, only a held one waits for consent",
                task.state.name()
            )));
        }
        task.approved = true;
        let change = ChangeRecord::new(caller, "task.approve", target(id)).because(cut(reason));
        self.put(task.clone(), change, cx)?;
        let change = ChangeRecord::new(Caller::hub(), "task.judge", target(id));
        self.judged(task, change, cx)
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
        task.message = cut(reason);
        task.codes = vec![cut(code)];
        task.reason = cut(reason);
        let again = retry && task.attempts < queue::ATTEMPTS;
        if again {
            task.state = TaskState::Queued;
            task.retries += 1;
            task.not_before = after(cx.now.wall, queue::backoff_ms(task.attempts));
        } else {
            task.state = if retry { TaskState::Dead } else { TaskState::NoFix };
        }
        let change = ChangeRecord::new(caller, "task.finish", target(&task.id))
            .because(cut(reason))
            .with("code", code)
            .with("state", task.state.name());
        // The machinery failed, not the change: once more, and then a person.
        let once_more = code == "infra" && task.state == TaskState::NoFix && task.review.rerun.is_none();
        if !once_more {
            return self.put(task, change, cx);
        }
        task.review.rerun = Some(false);
        let task = self.put(task, change, cx)?;
        cx.then(Then::Publish { task: task.id.clone() });
        Ok(task)
    }

    fn published(
        &mut self,
        caller: Caller,
        id: &str,
        (url, number): (String, u64),
        head: Option<String>,
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
        task.head = head;
        let task = self.put(task, change, cx)?;
        // Its checks may have ended before we knew its commit.
        cx.then(Then::Publish { task: task.id.clone() });
        Ok(task)
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

    fn cancel(&mut self, caller: Caller, id: &str, reason: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if !matches!(task.state, TaskState::Queued | TaskState::Leased | TaskState::Held) {
            return Err(rejected(format!(
                "task `{id}` is {}, only a queued, leased or held one can be cancelled",
                task.state.name()
            )));
        }
        let change = ChangeRecord::new(caller, "task.cancel", target(id)).because(cut(reason));
        task.state = TaskState::Cancelled;
        task.lease = None;
        task.reason = cut(reason);
        self.put(task, change, cx)
    }

    fn retry(&mut self, caller: Caller, id: &str, reason: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
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
        let change = ChangeRecord::new(caller, "task.retry", target(id)).because(cut(reason));
        task.state = TaskState::Queued;
        task.attempts = 0;
        task.retries += 1;
        (task.started_at, task.completed_at) = (None, None);
        task.not_before = cx.now.wall;
        task.codes.clear();
        task.reason.clear();
        self.put(task, change, cx)
    }

    /// Leases that were not extended are lost, agents that are silent are offline, and what policy held is asked about again.
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.wall;
        let offline = self.agents.silent(cx);
        let is_lost = |task: &&Task| {
            let of_silent = task.agent.as_ref().is_some_and(|agent| offline.contains(agent));
            task.lease.as_ref().is_some_and(|lease| lease.until <= now || of_silent)
        };
        let lost: Vec<Task> = self.tasks.iter().filter(is_lost).cloned().collect();
        for task in lost {
            self.lost(task, cx);
        }
        let held: Vec<Task> = self
            .tasks
            .iter()
            .filter(|task| task.state == TaskState::Held)
            .cloned()
            .collect();
        for task in held {
            let change = ChangeRecord::new(Caller::hub(), "task.judge", target(&task.id));
            // A refused row means that the store is full of documents, which it was not when this one was written.
            let _ = self.judged(task, change, cx);
        }
        cx.at(cx.now.mono + LOOK_EVERY, Timer::Tasks);
    }

    /// A task whose agent is gone goes back, or is dead after its last attempt; one that took too long by the original's API has failed.
    fn lost(&mut self, mut task: Task, cx: &mut Cx<'_>) {
        let now = cx.now.wall;
        let Some(lease) = task.lease.take() else { return };
        let timed_out = lease.deadline <= now;
        task.reason = if timed_out {
            format!("timed out: `{}` had {} s for it", lease.agent, task.timeout_ms / 1_000)
        } else {
            format!("its lease by `{}` was not extended", lease.agent)
        };
        if timed_out && task.agent.is_some() {
            task.state = TaskState::Dead;
            task.codes = vec!["timeout".to_owned()];
        } else if task.attempts < queue::ATTEMPTS {
            task.state = TaskState::Queued;
            task.retries += 1;
            task.started_at = None;
            task.not_before = after(now, queue::backoff_ms(task.attempts));
        } else {
            task.state = TaskState::Dead;
            task.codes = vec!["lease_lost".to_owned()];
        }
        let change = ChangeRecord::new(Caller::hub(), "task.lease-lost", target(&task.id))
            .because(&task.reason)
            .with("agent", lease.agent)
            .with("state", task.state.name());
        let _ = self.put(task, change, cx);
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
        if task.state.is_over() && task.completed_at.is_none() {
            task.completed_at = Some(cx.now.wall);
        }
        let put = self.tasks.put(task.clone(), 0).map_err(refused)?;
        cx.record(change);
        cx.put(put);
        Ok(task)
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

/// `patchbot` of `patchbot/0.1.0/4711`.
fn name_of(agent: &str) -> &str {
    agent.split('/').next().unwrap_or(agent)
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
