//! Orders in comments at a forge: `/patchbot retry`, `fix`, `explain`, `why-not`, `stop`, `resume`.
//!
//! Whoever may write to the repository may order, and the forge is asked whether somebody may; nobody else is answered, so that
//! strangers cannot make us talk. The webhook has its answer before anything here begins.
//!
//! Read next: `webhooks/event.rs` (what an order is), `forges/review.rs` (who may).

use std::sync::Arc;

use hub_core::tasks::forge;
use hub_core::{Answer, Request, Task, TaskRequest, TaskState};
use tokio::sync::{Notify, mpsc};

use crate::forges::review::Person;
use crate::forges::{ForgeError, Forges};
use crate::hub::Handle;
use crate::webhooks::event::Order;

/// Orders that wait here; people do not type faster.
pub const WAITING: usize = 64;
/// Tasks of one pull request that an answer tells of.
const SHOWN: usize = 10;

/// An order, as a webhook told of it.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// Name of the source.
    pub source: String,
    /// `owner/name`.
    pub repository: String,
    /// Number of the pull request.
    pub number: u64,
    /// Who.
    pub who: Person,
    /// What.
    pub order: Order,
}

/// What it works with.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The forges.
    pub forges: Arc<Forges>,
    /// The core.
    pub hub: Handle,
    /// Told when a task may be waiting.
    pub work: Arc<Notify>,
}

impl Orders {
    /// Works until nobody can tell of orders any more.
    pub async fn run(self, mut told: mpsc::Receiver<Ordered>) {
        while let Some(ordered) = told.recv().await {
            if let Err(error) = self.follow(&ordered).await {
                tracing::warn!(
                    source = %ordered.source, repository = %ordered.repository, number = ordered.number,
                    code = error.code, reason = %error.reason, "an order in a comment was not followed"
                );
            }
        }
    }

    /// Follows one order, and says at the forge what came of it. `Ok(false)`: whoever gave it may not.
    pub async fn follow(&self, ordered: &Ordered) -> Result<bool, ForgeError> {
        let (source, repository, number) = (&ordered.source, &ordered.repository, ordered.number);
        if !self.forges.may_write(source, repository, &ordered.who).await? {
            tracing::info!(%source, %repository, number, who = %ordered.who.login, "an order of somebody who may not");
            return Ok(false);
        }
        let head = self.forges.head_of(source, repository, number).await?;
        let is_its = |task: &Task| {
            let ours = task.pull_number == Some(number);
            let theirs = task.commit == head;
            task.source == *source && task.repository == *repository && (ours || theirs)
        };
        let tasks = self.hub.tasks().await.map_err(|stopped| ForgeError {
            code: "host_error",
            reason: stopped.to_string(),
            may_pass: true,
        })?;
        let its: Vec<Task> = tasks.into_iter().filter(is_its).rev().take(SHOWN).collect();
        let mut lines = Vec::new();
        for task in &its {
            lines.push(self.one(ordered, task).await);
        }
        let answer = match (&lines[..], ordered.order) {
            (_, Order::Unknown) => {
                "Orders are `/patchbot retry`, `fix`, `explain`, `why-not`, `stop` and `resume`.".to_owned()
            }
            ([], _) => "There is no task for this pull request.".to_owned(),
            (lines, _) => lines.join("\n"),
        };
        self.forges.comment(source, repository, number, &answer).await?;
        self.work.notify_one();
        Ok(true)
    }

    /// What an order does to one task, in a sentence.
    async fn one(&self, ordered: &Ordered, task: &Task) -> String {
        let (id, who) = (task.id.clone(), ordered.who.login.clone());
        let what = match ordered.order {
            Order::Explain | Order::WhyNot | Order::Unknown => return told(task),
            Order::Stop => TaskRequest::Stop { id, who },
            Order::Resume => TaskRequest::Resume { id, who },
            Order::Retry => TaskRequest::Retry {
                id,
                reason: format!("`{who}` asked for it at the forge"),
            },
        };
        let caller = forge(&ordered.source);
        match self.hub.request(Request::Tasks { caller, what }).await {
            Ok(Answer::Task(task)) => told(&task),
            Ok(Answer::Rejected { reason } | Answer::Unavailable { reason }) => {
                format!("- `{}`: nothing was done: {}", plain(&task.check), plain(&reason))
            }
            Ok(_) | Err(_) => format!("- `{}`: nothing was done", plain(&task.check)),
        }
    }
}

/// How a task stands, in a line.
fn told(task: &Task) -> String {
    let mut line = format!("- `{}`: {}", plain(&task.check), task.state.name().replace('_', " "));
    if let Some(who) = &task.review.stopped_by {
        line.push_str(&format!(", stopped by {}", plain(who)));
    }
    if !task.codes.is_empty() {
        line.push_str(&format!(", because `{}`", plain(&task.codes.join(" "))));
    }
    if !task.reason.is_empty() {
        line.push_str(&format!(": {}", plain(&task.reason)));
    }
    if task.state == TaskState::Held {
        line.push_str("; a person lets it go on with `sentinel task approve`");
    }
    line.push_str(&format!(" (task `{}`)", task.id));
    line
}

/// Text of others, harmless in Markdown.
fn plain(text: &str) -> String {
    crate::publisher::plain(text)
}
