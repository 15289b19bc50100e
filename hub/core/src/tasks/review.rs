//! A pull request between its opening and its end: a draft until the forge's own checks are green at our commit, then ready for review,
//! and merged without a person only where its repository's owner asked for that and the rules agree.
//!
//! Decides from what the shell saw at the forge. What it decides is stored before the shell carries it out, so that a crash at any
//! point ends in the same.
//!
//! Invariants: only a pull request whose head is still our commit is touched; one that somebody stopped is left alone until that person
//! lets it go on; a merge names the commit that was judged.

use serde::{Deserialize, Serialize};
use wire::change::{Caller, ChangeRecord};
use wire::decision::Verdict;

use super::judge::{Facts, Step, judge};
use super::record::{Label, Task, TaskState};
use super::{Tasks, calibration, cut, rejected, target};
use crate::cx::{Cx, Then};
use crate::effect::{Answer, Effect};

/// What the forge's own checks say of our commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checks {
    /// Nobody has looked, or none has run yet.
    #[default]
    Unknown,
    /// Some run.
    Pending,
    /// All have ended and none failed.
    Green,
    /// One failed.
    Red,
}

impl Checks {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Green => "green",
            Self::Red => "red",
        }
    }
}

/// What is wished of a task's pull request, and how it stands at the forge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Review {
    /// The lowest chance at which the repository's owner wants a pull request, in hundredths of a percent.
    pub least_bp: u16,
    /// What the checks said when they were last looked at.
    pub checks: Checks,
    /// The owner wants it merged once they are green.
    pub merge_wanted: bool,
    /// The rules agreed to that: the shell merges it.
    pub merge: bool,
    /// It is no draft any more, and what was decided is done.
    pub is_ready: bool,
    /// The failed jobs are to run once more (`false`), or have been asked to (`true`): what failed was not the change.
    pub rerun: Option<bool>,
    /// Who stopped it: nothing is done by itself until it may go on.
    pub stopped_by: Option<String>,
}

/// What the shell saw of a pull request that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which task.
    pub id: String,
    /// What the checks say of its head.
    pub checks: Checks,
    /// Its head is our commit.
    pub is_ours: bool,
    /// The default branch's file asks for a merge now.
    pub merge_wanted: bool,
}

impl Review {
    /// Whether the shell has something to do that is stored.
    pub(super) fn is_decided(&self) -> bool {
        self.checks == Checks::Green && self.is_open_end()
    }

    /// Whether there is something that the hub would do by itself.
    fn is_open_end(&self) -> bool {
        self.stopped_by.is_none() && (!self.is_ready || (self.merge_wanted && !self.merge))
    }
}

impl Tasks {
    /// Has the shell look at pull requests of a source that webhooks may have told nothing of.
    pub(super) fn look(&self, source: &str, cx: &mut Cx<'_>) {
        let is_its =
            |task: &&Task| task.source == source && task.state == TaskState::Proposed && task.pull_number.is_some();
        for task in self
            .tasks
            .iter_stored()
            .filter(is_its)
            .filter(|task| task.review.is_open_end())
        {
            cx.effect(Effect::Publish(Box::new(task.clone())));
        }
    }

    /// A check passed. At our commit that is a reason to look at all of them; at a commit where it had failed, it is a flaky one.
    pub(super) fn passed(
        &mut self,
        caller: Caller,
        (source, repository, commit): (&str, &str, &str),
        check: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        if let Some(ours) = self.of_head(source, repository, commit) {
            if ours.state == TaskState::Proposed && ours.review.is_open_end() {
                cx.effect(Effect::Publish(Box::new(ours.clone())));
            }
            return Ok(ours);
        }
        let same = |task: &&Task| {
            task.source == source && task.repository == repository && task.commit == commit && task.check == check
        };
        let mut task = self.tasks.iter().find(same).cloned().ok_or(Answer::NoTask)?;
        let waits = matches!(task.state, TaskState::Queued | TaskState::Leased | TaskState::Held);
        let is_told = task.codes.iter().any(|code| code == FLAKY);
        if is_told || !(waits || matches!(task.state, TaskState::NoFix | TaskState::Dead)) {
            return Ok(task);
        }
        let reason = format!(
            "check `{check}` failed and passed on the same commit {commit}: it is flaky, and nothing was changed"
        );
        task.lease = None;
        task.state = TaskState::NoFix;
        task.codes.push(FLAKY.to_owned());
        task.reason = cut(&reason);
        let change = ChangeRecord::new(caller, "task.flaky", target(&task.id))
            .because(cut(&reason))
            .with("code", FLAKY)
            .with("check", check);
        self.put(task, change, cx)
    }

    /// The shell has looked at an open pull request.
    pub(super) fn seen(&mut self, caller: Caller, seen: &Seen, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(&seen.id)?;
        if task.state != TaskState::Proposed || !task.review.is_open_end() {
            return Ok(task);
        }
        if !seen.is_ours {
            let change = ChangeRecord::new(caller, "task.taken-over", target(&task.id))
                .because("somebody else has pushed to its branch, so it is theirs");
            task.codes = vec!["branch_taken_over".to_owned()];
            task.review.stopped_by = Some("whoever pushed to its branch".to_owned());
            return self.put(task, change, cx);
        }
        if seen.checks == Checks::Red {
            task.review.checks = Checks::Red;
            return match task.label {
                Some(Label::Red) => Ok(task),
                _ => self.labelled(caller, task, Label::Red, "", cx),
            };
        }
        if seen.checks != Checks::Green {
            return Ok(task);
        }
        self.green(caller, task, seen.merge_wanted, cx)
    }

    /// Its checks are green: it is ready for people, and the rules are asked whether it may be merged without them.
    fn green(&mut self, caller: Caller, mut task: Task, merge_wanted: bool, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let proposal = task.proposal.clone();
        let (category, fixer) = proposal.map(|one| (one.category, one.fixer)).unwrap_or_default();
        let chance = calibration::chance(&category, &fixer, &task.repository, self.tasks.iter());
        let mut facts = Facts::count(&task, self.tasks.iter(), cx.now.wall).with_merge_wanted(merge_wanted);
        facts.set_chance(chance);
        let judged = judge(Step::Merge, &task.repository, &facts, cx.rules, cx.now);
        let is_news = task.review.checks != Checks::Green
            || task.review.merge_wanted != merge_wanted
            || task.review.merge != judged.runs();
        if !is_news {
            // What was stored is carried out again: the crash came before the forge's answer.
            if !task.review.is_ready {
                cx.then(Then::Publish { task: task.id.clone() });
            }
            return Ok(task);
        }
        task.review.checks = Checks::Green;
        task.review.merge_wanted = merge_wanted;
        task.review.merge = judged.runs();
        task.review.is_ready = false;
        // Another run of what was red is what counts now.
        if task.label == Some(Label::Red) {
            (task.label, task.codes) = (None, Vec::new());
        }
        let merge = match judged.verdict {
            _ if judged.runs() => "allow".to_owned(),
            Verdict::Deny => format!("deny by rule {}", judged.rule),
            other => format!("{} by rule {}", other.name(), judged.rule),
        };
        let change = ChangeRecord::new(caller, "task.green", target(&task.id))
            .with("checks", Checks::Green.name())
            .with(
                "chance",
                format!("at least {} bp, {} outcomes", chance.at_least_bp, chance.outcomes),
            )
            .with("merge", merge);
        let task = self.put(task, change, cx)?;
        cx.then(Then::Publish { task: task.id.clone() });
        Ok(task)
    }

    /// The shell has made a pull request ready, and merged it if that was decided. `refused`: why the forge did not merge.
    pub(super) fn settled_at_forge(
        &mut self,
        caller: Caller,
        id: &str,
        merged_as: Option<String>,
        refused: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        // The forge's own word on the merge may have come first.
        if task.state != TaskState::Proposed || task.review.is_ready && merged_as.is_none() && refused.is_empty() {
            return Ok(task);
        }
        task.review.is_ready = true;
        let mut change = ChangeRecord::new(caller.clone(), "task.ready", target(id));
        if !refused.is_empty() {
            task.review.merge = false;
            task.review.merge_wanted = false;
            task.reason = cut(refused);
            change = change.because(cut(refused)).with("merge", "refused by the forge");
        }
        if merged_as.is_none() {
            return self.put(task, change, cx);
        }
        task.state = TaskState::Merged;
        task.merged_as = merged_as;
        self.labelled(caller, task, Label::Merged, "", cx)
    }

    /// The forge was asked to run the failed jobs once more, or cannot be.
    pub(super) fn rerun(&mut self, caller: Caller, id: &str, what: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if task.review.rerun != Some(false) {
            return Ok(task);
        }
        task.review.rerun = Some(true);
        task.reason = cut(&format!("{}; {what}", task.reason));
        let change = ChangeRecord::new(caller, "task.rerun", target(id)).because(cut(what));
        self.put(task, change, cx)
    }

    /// Somebody at the forge wants nothing more done by itself.
    pub(super) fn stop(&mut self, caller: Caller, id: &str, who: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        let change = ChangeRecord::new(caller, "task.stop", target(id)).with("by", who);
        match task.state {
            TaskState::Queued | TaskState::Leased | TaskState::Held => {
                task.state = TaskState::Cancelled;
                task.lease = None;
                task.reason = format!("`{who}` stopped it at the forge");
            }
            TaskState::Proposed => task.review.stopped_by = Some(who.to_owned()),
            other => {
                return Err(rejected(format!("it is {}, there is nothing to stop", other.name())));
            }
        }
        self.put(task, change, cx)
    }

    /// What was stopped goes on.
    pub(super) fn resumed(&mut self, caller: Caller, id: &str, who: &str, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if task.state != TaskState::Proposed || task.review.stopped_by.is_none() {
            return Err(rejected(format!("it is {} and not stopped", task.state.name())));
        }
        task.review.stopped_by = None;
        let change = ChangeRecord::new(caller, "task.resume", target(id)).with("by", who);
        let task = self.put(task, change, cx)?;
        cx.then(Then::Publish { task: task.id.clone() });
        Ok(task)
    }
}

/// The code of a check that failed and passed on one commit.
const FLAKY: &str = "flaky_suspected";
