//! Opens the pull requests that the core asks for, follows them until they are ready or merged, and tells it what became of each.
//!
//! Every step is idempotent by the branch's name, so what was begun before a crash is finished after it and nothing is opened twice.
//! A forge that does not answer is asked again, a few times further and further apart; then the task says so.

use std::sync::Arc;
use std::time::Duration;

use hub_core::tasks::review::{Checks, Seen};
use hub_core::tasks::wishes::Mode;
use hub_core::tasks::{Ended, forge};
use hub_core::{Request, Task, TaskRequest, TaskState};
use hub_remediation_sdk::certificate::{Certificate, Phase};
use tokio::sync::mpsc;

use crate::artifacts::Artifacts;
use crate::clock::Clock;
use crate::forges::review::{Looked, Merging, Stands};
use crate::forges::{ForgeError, Forges, Opened, PullRequest};
use crate::hub::Handle;

/// Pull requests that wait here. The core leases three tasks at once, so as many can be asked for, and after a start a few more.
pub const WAITING: usize = 256;
/// Waits between tries.
const WAITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// Longest body; GitHub takes 65,536 letters.
const BODY_BYTES: usize = 60_000;

/// What it works with.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// The forges.
    pub forges: Arc<Forges>,
    /// The patches.
    pub artifacts: Artifacts,
    /// The core.
    pub hub: Handle,
    /// What time it is.
    pub clock: Clock,
}

impl Publisher {
    /// Works until the core is gone.
    pub async fn run(self, mut wanted: mpsc::Receiver<Task>) {
        let mut running = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                task = wanted.recv() => match task {
                    Some(task) if task.state == TaskState::Publishing => drop(running.spawn(self.clone().publish(task))),
                    Some(task) => drop(running.spawn(self.clone().follow(task))),
                    None => return running.shutdown().await,
                },
                Some(_) = running.join_next(), if !running.is_empty() => {}
            }
        }
    }

    async fn publish(self, task: Task) {
        let (caller, id) = (forge(&task.source), task.id.clone());
        let what = match self.open(&task).await {
            Ok(Opened { url, number, head }) => {
                tracing::info!(task = %id, %url, "pull request is open");
                self.label(&task, number).await;
                TaskRequest::Published { id, url, number, head }
            }
            Err(error) => {
                tracing::warn!(task = %id, code = error.code, reason = %error.reason, "no pull request was opened");
                TaskRequest::NotPublished {
                    id,
                    code: error.code.to_owned(),
                    reason: error.reason,
                }
            }
        };
        // A hub that stops asks again after its next start.
        let _ = self.hub.request(Request::Tasks { caller, what }).await;
    }

    /// Looks at an open pull request; with green checks it does what the core has decided. A forge that does not answer is asked again, as
    /// when one is opened, and then in the reconciler's next round.
    async fn follow(self, task: Task) {
        let (caller, id) = (forge(&task.source), task.id.clone());
        match patiently(|| self.bring_on(&task)).await {
            Ok(what) => drop(self.hub.request(Request::Tasks { caller, what }).await),
            Err(error) => {
                tracing::warn!(task = %id, code = error.code, reason = %error.reason, "a pull request was not brought on")
            }
        }
    }

    async fn bring_on(&self, task: &Task) -> Result<TaskRequest, ForgeError> {
        if task.state == TaskState::NoFix {
            return self.rerun(task).await;
        }
        let (source, repository, number) = (&task.source, &task.repository, task.pull_number.unwrap_or_default());
        let looked = self.forges.look(source, repository, number).await?;
        let (merged, merged_as) = match &looked.stands {
            Stands::Open => return self.open_one(task, number, &looked).await,
            Stands::Merged(commit) => (true, commit.clone()),
            Stands::Closed => (false, None),
        };
        Ok(TaskRequest::Ended(Box::new(Ended::PullRequest {
            source: source.clone(),
            repository: repository.clone(),
            number,
            merged_as,
            merged,
            rejected: false,
        })))
    }

    /// Has the failed jobs run once more, unless the repository's owner does not want that.
    async fn rerun(&self, task: &Task) -> Result<TaskRequest, ForgeError> {
        let wishes = self.forges.wishes(&task.source, &task.repository).await?;
        let is_wanted =
            wishes.mode("infra") >= Mode::Propose && wishes.objects_to(Some(&task.branch), task.from_fork).is_none();
        let what = if !is_wanted {
            "its owner does not want the failed jobs to run again"
        } else if self.forges.rerun(&task.source, &task.repository, &task.log_url).await? {
            "the failed jobs run once more"
        } else {
            "this forge cannot be asked to run the failed jobs again"
        };
        Ok(TaskRequest::Rerun {
            id: task.id.clone(),
            what: what.to_owned(),
        })
    }

    async fn open_one(&self, task: &Task, number: u64, looked: &Looked) -> Result<TaskRequest, ForgeError> {
        let is_ours = task.head.as_deref() == Some(looked.head.as_str());
        let is_decided = task.review.checks == Checks::Green && !task.review.is_ready;
        if !is_ours || looked.checks != Checks::Green || !is_decided {
            let wishes = self.forges.wishes(&task.source, &task.repository).await?;
            let category = task.proposal.as_ref().map_or("", |proposal| proposal.category.as_str());
            return Ok(TaskRequest::Seen(Box::new(Seen {
                id: task.id.clone(),
                checks: looked.checks,
                is_ours,
                merge_wanted: wishes.wants_merge(category)
                    && wishes.objects_to(Some(&task.branch), task.from_fork).is_none()
                    && wishes.frozen(self.clock.now().wall).is_none(),
            })));
        }
        let (source, repository) = (&task.source, &task.repository);
        self.forges.ready(source, repository, number, looked).await?;
        let wishes = self.forges.wishes(source, repository).await?;
        if looked.is_draft {
            self.forges.invite(source, repository, number, &wishes.reviewers).await;
        }
        if let Some(frozen) = wishes.frozen(self.clock.now().wall).filter(|_| task.review.merge) {
            // It is looked at again in the reconciler's next round.
            return Err(ForgeError {
                code: "frozen",
                reason: frozen.reason,
                may_pass: false,
            });
        }
        let merging = match task.review.merge {
            true => Some(self.forges.merge(source, repository, number, &looked.head).await?),
            false => None,
        };
        let (merged_as, refused) = match merging {
            None => (None, String::new()),
            Some(Merging::Refused(reason)) => (None, reason),
            // Where the forge does not say which commit it made, ours is what is on the branch.
            Some(Merging::Merged(commit)) => (commit.or_else(|| Some(looked.head.clone())), String::new()),
        };
        let id = task.id.clone();
        Ok(TaskRequest::Settled { id, merged_as, refused })
    }

    /// Puts the owner's labels on a pull request. It is open with or without them.
    async fn label(&self, task: &Task, number: u64) {
        match self.forges.wishes(&task.source, &task.repository).await {
            Ok(wishes) => {
                self.forges
                    .label(&task.source, &task.repository, number, &wishes.labels)
                    .await
            }
            Err(error) => tracing::warn!(task = %task.id, reason = %error.reason, "a pull request has no labels"),
        }
    }

    async fn open(&self, task: &Task) -> Result<Opened, ForgeError> {
        let lost = |reason: String| ForgeError {
            code: "tree_mismatch",
            reason,
            may_pass: false,
        };
        let proposal = task
            .proposal
            .as_ref()
            .ok_or_else(|| lost("the task has no patch".to_owned()))?;
        let (artifacts, name) = (self.artifacts.clone(), proposal.certificate.clone());
        let read = tokio::task::spawn_blocking(move || artifacts.read(&name)).await;
        let bytes = read
            .map_err(|cause| lost(cause.to_string()))?
            .map_err(|cause| lost(format!("the patch is gone: {cause}")))?;
        let certificate: Certificate = serde_json::from_slice(&bytes).map_err(|cause| lost(cause.to_string()))?;
        let files: Vec<(String, String)> = certificate
            .files
            .iter()
            .map(|file| (file.path.clone(), file.text.clone()))
            .collect();
        let executable: Vec<String> = certificate
            .files
            .iter()
            .filter(|file| file.mode == "100755")
            .map(|file| file.path.clone())
            .collect();
        let title = title(task, &certificate);
        let body = body(task, &certificate);
        let wanted = PullRequest {
            repository: &task.repository,
            commit: &task.commit,
            base: &task.branch,
            branch: &proposal.branch,
            title: &title,
            body: &body,
            files: &files,
            executable: &executable,
        };
        patiently(|| self.forges.open(&task.source, &wanted)).await
    }
}

/// Asks again, further and further apart, what may pass.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, ForgeError>
where
    F: Future<Output = Result<T, ForgeError>>,
{
    let mut waits = WAITS.iter();
    loop {
        match ask().await {
            Err(error) if error.may_pass => match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(error),
            },
            result => return result,
        }
    }
}

fn title(task: &Task, certificate: &Certificate) -> String {
    let (category, tool) = task.proposal.as_ref().map_or(("", ""), |proposal| {
        (proposal.category.as_str(), proposal.tool.as_str())
    });
    let scope = match certificate.files.as_slice() {
        [one] => plain(&one.path),
        many => format!("{} files", many.len()),
    };
    format!("fix({category}): {} in {scope}", plain(tool))
}

/// The body: what failed, what was run before and after, what was not looked at, how to reproduce, and a trailer for machines.
fn body(task: &Task, certificate: &Certificate) -> String {
    let mut text = format!("Check `{}` failed on {}.\n\n", plain(&task.check), plain(&task.commit));
    if !task.log_url.is_empty() {
        text.push_str(&format!(
            "Log: <{}>\n\n",
            task.log_url.replace(['<', '>', ' ', '\n'], "")
        ));
    }
    text.push_str(&format!(
        "Repaired by `{}` {}.\n\n",
        plain(&certificate.fixer),
        plain(&certificate.fixer_version)
    ));
    text.push_str("| what was run | result | time |\n|---|---|---|\n");
    for command in certificate.commands.iter().take(20) {
        let argv: Vec<String> = command.argv.iter().map(|word| plain(word)).collect();
        let why = match command.phase {
            Phase::Reproduce => "before",
            Phase::Fix => "repair",
            Phase::FixAgain => "repair again: no further change",
            Phase::Check => "after",
            Phase::Canary => "after, with one file as it was",
            Phase::Sibling => "another check",
        };
        let result = if command.passed { "passes" } else { "fails" };
        text.push_str(&format!(
            "| {why}: `{}` | {result} ({}) | {} ms |\n",
            argv.join(" "),
            command.status,
            command.wall_ms
        ));
    }
    text.push_str(&format!(
        "\nThe check was seen to look at: {}.\n",
        list(&certificate.examined)
    ));
    text.push_str(&format!(
        "Sandbox level {:?}, network {}, self-test `{}`.\n",
        certificate.sandbox,
        plain(&certificate.network),
        plain(&certificate.self_test)
    ));
    text.push_str("\nNot verified: anything that this check does not look at. Your own checks decide.\n");
    text.push_str(
        "\nIt is a draft until the checks here are green. Whoever may write here may comment `/patchbot stop`, `resume`, `retry`, \
         `explain` or `why-not`; `.patchbot.toml` on the default branch says what is wished.\n",
    );
    text.push_str("\nTo run the proof again: `sentinel-patchbot verify-cert FILE --repo PATH`.\n");
    let trailer = format!(
        "\n<!-- sentinel-patchbot schema=1 task={} fingerprint={} patch={} certificate={} -->\n",
        plain(&task.id),
        plain(&certificate.fingerprint),
        plain(&certificate.patch),
        task.proposal
            .as_ref()
            .map(|proposal| plain(&proposal.certificate))
            .unwrap_or_default(),
    );
    let mut end = text.len().min(BODY_BYTES - trailer.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text + &trailer
}

fn list(paths: &[String]) -> String {
    paths
        .iter()
        .map(|path| format!("`{}`", plain(path)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Text of the repository, harmless in Markdown: no mention, no reference, no fence, no markup, one line.
pub fn plain(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control() && !matches!(letter, '`' | '<' | '>' | '|' | '@' | '#' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'))
        .take(200)
        .collect()
}
