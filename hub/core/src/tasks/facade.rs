//! The original's verbs: agents that register and beat, tasks of any kind that are bound to the healthiest of them.
//!
//! They work on the same tasks as leases do, with the same fencing below: a dequeued task is a leased one whose lease lasts as long as
//! its timeout, since the original's agents do not extend.

use wire::change::{Caller, ChangeRecord};

use super::agents::{AgentRefusal, Registration, RemediationAgent};
use super::record::{Lease, Priority, Task, TaskState, Told};
use super::{OtherTask, Report, Reported, Tasks, after, cut, queue, rejected, target};
use crate::cx::Cx;
use crate::effect::Answer;

/// Bytes of one JSON text in a task; a document has 64 KiB.
const JSON_BYTES: usize = 12 * 1024;

pub(super) fn answer_agent(request: u64, result: Result<RemediationAgent, AgentRefusal>, cx: &mut Cx<'_>) {
    match result {
        Ok(agent) => cx.reply_when_stored(request, Answer::Remediator(Box::new(agent))),
        Err(refusal) => cx.reply(request, refused(refusal)),
    }
}

fn refused(refusal: AgentRefusal) -> Answer {
    let reason = refusal.to_string();
    match refusal {
        AgentRefusal::Unknown(_) => Answer::NoAgent { reason },
        AgentRefusal::OtherKey { .. } | AgentRefusal::OtherOwner { .. } => Answer::NotYours { reason },
        AgentRefusal::Keys(_) | AgentRefusal::Row(_) => rejected(reason),
    }
}

impl Tasks {
    pub(super) fn register(&mut self, request: u64, caller: &Caller, new: Registration, cx: &mut Cx<'_>) {
        let result = self.agents.register(caller, new, cx);
        answer_agent(request, result, cx);
    }

    pub(super) fn heartbeat(&mut self, request: u64, caller: &Caller, id: &str, health: u16, cx: &mut Cx<'_>) {
        if let Err(answer) = self.owned(caller, id) {
            return cx.reply(request, answer);
        }
        let result = self.agents.heard(id, health, cx);
        answer_agent(request, result, cx);
    }

    /// The agent, if the caller registered it.
    fn owned(&self, caller: &Caller, id: &str) -> Result<&RemediationAgent, Answer> {
        let agent = self
            .agents
            .get(id)
            .ok_or_else(|| refused(AgentRefusal::Unknown(id.to_owned())))?;
        if agent.owner == caller.name {
            return Ok(agent);
        }
        Err(Answer::NotYours {
            reason: format!(
                "agent `{}` was registered by `{}`, not by `{}`",
                agent.name, agent.owner, caller.name
            ),
        })
    }

    /// Work for the healthiest agent that does it; one that has no room gets it at low priority.
    pub(super) fn create(&mut self, caller: Caller, new: OtherTask, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let Some((agent, has_room)) = self.agents.choose(&new.kind, None, self.tasks.iter()) else {
            return Err(Answer::NoAgent {
                reason: format!("no active agent does tasks of kind `{}`", new.kind),
            });
        };
        bounded("context", &new.context)?;
        let now = cx.now.wall;
        let task = Task {
            delivery: new.id.clone(),
            id: new.id,
            source: "api".to_owned(),
            check: new.kind.clone(),
            correlation_id: new.correlation_id,
            priority: if has_room { Priority::Normal } else { Priority::Low },
            kind: new.kind,
            context: new.context,
            agent: Some(agent.clone()),
            timeout_ms: new.timeout_ms,
            ..Task::fresh(now)
        };
        self.make_room(cx);
        let change = ChangeRecord::new(caller, "task.create", target(&task.id))
            .with("kind", &task.kind)
            .with("agent", agent);
        self.put(task, change, cx)
    }

    /// The next task of an agent: one that it works on already, else the first that is bound to it.
    pub(super) fn dequeue(&mut self, caller: Caller, id: &str, lease: String, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let now = cx.now.wall;
        let agent = self.owned(&caller, id)?.clone();
        let its = |state: TaskState| {
            let of_it = move |task: &&Task| task.agent.as_deref() == Some(id) && task.state == state;
            self.tasks.iter().filter(of_it)
        };
        if its(TaskState::Leased).count() >= agent.capabilities.max_concurrent_tasks as usize {
            return Err(Answer::NoTask);
        }
        let waiting = its(TaskState::Queued).filter(|task| task.not_before <= now);
        let next = waiting.min_by_key(|task| (std::cmp::Reverse(task.priority), task.created_at, &task.id));
        let task = next.cloned().ok_or(Answer::NoTask)?;
        let deadline = after(now, task.timeout_ms);
        let lease = Lease {
            id: lease,
            agent: agent.name,
            until: deadline,
            deadline,
        };
        self.leased(caller, task, lease, cx)
    }

    /// How a task goes, by its own agent. What is over already stays as it is.
    pub(super) fn report(&mut self, caller: Caller, id: &str, report: Report, cx: &mut Cx<'_>) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        let agent = task.agent.clone().ok_or_else(|| Answer::NotYours {
            reason: format!("task `{id}` is bound to no agent: its lease is the right to write to it"),
        })?;
        let agent = self.owned(&caller, &agent)?.clone();
        if task.state.is_over() {
            return Ok(task);
        }
        for (name, told) in [
            ("result", &report.result),
            ("artifacts", &report.artifacts),
            ("metrics", &report.metrics),
        ] {
            bounded(name, told.as_deref().unwrap_or_default())?;
        }
        task.progress = report.progress.unwrap_or(task.progress).min(1_000);
        task.told = Told {
            result: report.result.unwrap_or(task.told.result),
            artifacts: report.artifacts.unwrap_or(task.told.artifacts),
            metrics: report.metrics.unwrap_or(task.told.metrics),
        };
        match report.status {
            None => {
                let put = self.tasks.put(task.clone(), 0).map_err(super::refused)?;
                cx.put(put);
                Ok(task)
            }
            Some(Reported::Running) if task.state == TaskState::Leased => Ok(task),
            Some(Reported::Running) => {
                let deadline = after(cx.now.wall, task.timeout_ms);
                let lease = Lease {
                    id: task.id.clone(),
                    agent: agent.name,
                    until: deadline,
                    deadline,
                };
                self.leased(caller, task, lease, cx)
            }
            Some(Reported::Completed) => {
                (task.state, task.lease, task.progress) = (TaskState::Completed, None, 1_000);
                let change = ChangeRecord::new(caller, "task.finish", target(id)).with("state", task.state.name());
                let task = self.put(task, change, cx)?;
                self.agents.count(&agent.id, true, cx);
                Ok(task)
            }
            Some(Reported::Failed) => {
                task.lease = None;
                task.reason = cut(report.error.as_deref().unwrap_or_default());
                if task.retries < queue::ATTEMPTS {
                    task.state = TaskState::Queued;
                    task.retries += 1;
                    task.started_at = None;
                    task.priority = Priority::Normal;
                    task.not_before = after(cx.now.wall, queue::backoff_ms(task.retries));
                } else {
                    task.state = TaskState::Dead;
                    task.codes = vec!["attempts".to_owned()];
                }
                let change = ChangeRecord::new(caller, "task.finish", target(id))
                    .because(&task.reason)
                    .with("state", task.state.name());
                let task = self.put(task, change, cx)?;
                self.agents.count(&agent.id, false, cx);
                Ok(task)
            }
        }
    }

    /// Another agent gets it; that counts as a retry.
    pub(super) fn reassign(
        &mut self,
        caller: Caller,
        id: &str,
        agent: Option<String>,
        cx: &mut Cx<'_>,
    ) -> Result<Task, Answer> {
        let mut task = self.newest(id)?;
        if !matches!(task.state, TaskState::Queued | TaskState::Leased) || task.agent.is_none() {
            return Err(rejected(format!(
                "task `{id}` is {}: only a waiting or running one that is bound to an agent can be given to another",
                task.state.name()
            )));
        }
        let to = match agent {
            Some(agent) => self.agents.get(&agent).map(|agent| agent.id.clone()),
            None => self
                .agents
                .choose(&task.kind, task.agent.as_deref(), self.tasks.iter())
                .map(|(agent, _)| agent),
        };
        let to = to.ok_or_else(|| rejected(format!("no other active agent does tasks of kind `{}`", task.kind)))?;
        task.state = TaskState::Queued;
        task.lease = None;
        task.started_at = None;
        task.retries += 1;
        task.not_before = cx.now.wall;
        task.agent = Some(to.clone());
        let change = ChangeRecord::new(caller, "task.reassign", target(id)).with("agent", to);
        self.put(task, change, cx)
    }
}

fn bounded(name: &str, text: &str) -> Result<(), Answer> {
    if text.len() <= JSON_BYTES {
        return Ok(());
    }
    Err(rejected(format!(
        "{name} has {} bytes, the most is {JSON_BYTES}: keep it elsewhere and name it",
        text.len()
    )))
}
