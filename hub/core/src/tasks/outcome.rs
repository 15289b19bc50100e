//! What became of pull requests: merged, closed, red, taken back. Each becomes a label that calibration learns from.
//!
//! A label may come late and in any order: a merge overrules an earlier red, a revert overrules the merge. What cannot be joined to a
//! task is nobody's outcome.

use wire::change::{Caller, ChangeRecord};

use super::record::{Label, Task, TaskState};
use super::review::Checks;
use super::{Tasks, target};
use crate::cx::Cx;
use crate::effect::Answer;

/// What a forge says of a pull request or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// A pull request was merged or closed.
    PullRequest {
        /// Name of the source.
        source: String,
        /// `owner/name`.
        repository: String,
        /// Its number.
        number: u64,
        /// The commit that the merge made; `None`: it was closed without one.
        merged_as: Option<String>,
        /// Merged, or closed without it.
        merged: bool,
        /// Closed with an explicit no: a label or a reason that says so.
        rejected: bool,
    },
    /// A commit was taken back.
    Reverted {
        /// Name of the source.
        source: String,
        /// `owner/name`.
        repository: String,
        /// The commit that was taken back.
        commit: String,
    },
}

impl Tasks {
    pub(super) fn ended(&mut self, caller: Caller, ended: &Ended, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        match ended {
            Ended::PullRequest {
                source,
                repository,
                number,
                merged_as,
                merged,
                rejected,
            } => {
                let ours = |task: &&Task| {
                    task.source == *source
                        && task.repository == *repository
                        && task.pull_number == Some(*number)
                        && task.state == TaskState::Proposed
                };
                let mut task = self.tasks.iter().find(ours).cloned().ok_or(Answer::NoTask)?;
                task.state = if *merged { TaskState::Merged } else { TaskState::Closed };
                task.merged_as = merged_as.clone();
                let label = match (merged, rejected, task.label) {
                    (true, ..) => Label::Merged,
                    (false, true, _) => Label::Rejected,
                    // It was closed because its checks were red.
                    (false, false, Some(Label::Red)) => Label::Red,
                    (false, false, _) => Label::Closed,
                };
                self.labelled(caller, task, label, "", cx)
            }
            Ended::Reverted {
                source,
                repository,
                commit,
            } => {
                let ours = |task: &&Task| {
                    let is_it =
                        |known: &Option<String>| known.as_deref().is_some_and(|known| known.starts_with(commit));
                    task.source == *source
                        && task.repository == *repository
                        && task.label == Some(Label::Merged)
                        && (is_it(&task.merged_as) || is_it(&task.head))
                };
                let task = self.tasks.iter().find(ours).cloned().ok_or(Answer::NoTask)?;
                self.labelled(caller, task, Label::Reverted, "", cx)
            }
        }
    }

    /// The task whose pull request has this commit as its head.
    pub(super) fn of_head(&self, source: &str, repository: &str, commit: &str) -> Option<Task> {
        let is_it = |task: &&Task| {
            // The head first: most tasks have none, and each failed check of thousands asks.
            task.head.as_deref() == Some(commit) && task.repository == repository && task.source == source
        };
        self.tasks.iter().find(is_it).cloned()
    }

    /// Writes down what became of a task's pull request. `check`: what is red, if that is it.
    pub(super) fn labelled(
        &mut self,
        caller: Caller,
        mut task: Task,
        label: Label,
        check: &str,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        task.label = Some(label);
        let mut change = ChangeRecord::new(caller, "task.outcome", target(&task.id))
            .with("outcome", label.name())
            .with("state", task.state.name());
        if label == Label::Red {
            task.codes = vec!["remote_red".to_owned()];
            task.review.checks = Checks::Red;
            change = change.with("check", check);
        }
        self.put(task, change, cx)
    }
}
