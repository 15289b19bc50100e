//! A pull request between its opening and its end, in the words of each kind of forge: how it stands, no draft any more, merged; who may
//! give orders at it, and what is answered there; and the file in which its repository's owner says what is wished.
//!
//! Sources: GitHub's REST API 2022-11-28 (pulls, commit statuses, check runs, collaborators, contents) and its GraphQL
//! `markPullRequestReadyForReview`, which has no REST form; Gitea's API 1.26 (a title that begins with `WIP:` makes a draft); GitLab's
//! REST API v4 (a title that begins with `Draft:`).

use base64::Engine as _;
use hub_core::tasks::review::Checks;
use hub_core::tasks::wishes::{self, Wishes};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, escaped, said};
use super::{ForgeError, Forges, lasting, passing};
use crate::webhooks::Provider;

/// What titles of drafts begin with on Gitea and Forgejo.
pub const WIP: &str = "WIP: ";
/// What titles of drafts begin with on GitLab.
const DRAFT: &str = "Draft: ";

/// How a pull request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Open, or how it ended.
    pub stands: Stands,
    /// Its head.
    pub head: String,
    /// It is a draft.
    pub is_draft: bool,
    /// Its title.
    pub title: String,
    /// GitHub's name of it in GraphQL; empty elsewhere.
    pub node: String,
    /// What the checks say of its head.
    pub checks: Checks,
}

/// Whether a pull request is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// It is.
    Open,
    /// It was merged, as this commit where the forge tells.
    Merged(Option<String>),
    /// It was closed without that.
    Closed,
}

/// What came of the wish to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merging {
    /// It is merged, as this commit where the forge tells.
    Merged(Option<String>),
    /// The forge does not want it, or not yet.
    Refused(String),
}

impl Forges {
    /// How a pull request stands, with what the checks say of its head.
    pub async fn look(&self, source: &str, repository: &str, number: u64) -> Result<Looked, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        if source.provider == Provider::Gitlab {
            return look_at_gitlab(&api, number).await;
        }
        let (status, pull) = api.get(&format!("/pulls/{number}")).await?;
        if status != 200 {
            return Err(lasting(
                "host_error",
                format!("the forge answers {status} for pull request {number}"),
            ));
        }
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let title = word(&pull["title"]);
        let merged_as = [&pull["merge_commit_sha"], &pull["merged_commit_id"]]
            .into_iter()
            .find_map(|commit| commit.as_str().map(str::to_owned));
        let stands = match (pull["merged"].as_bool(), pull["state"].as_str()) {
            (Some(true), _) => Stands::Merged(merged_as),
            (_, Some("closed")) => Stands::Closed,
            _ => Stands::Open,
        };
        let head = word(&pull["head"]["sha"]);
        let checks = match source.provider {
            Provider::Github => github_checks(&api, &head).await?,
            _ => statuses(&api, &head).await?,
        };
        Ok(Looked {
            stands,
            is_draft: pull["draft"].as_bool().unwrap_or(false) || is_wip(&title),
            head,
            title,
            node: word(&pull["node_id"]),
            checks,
        })
    }

    /// Makes a draft ready for review. What is none stays as it is.
    pub async fn ready(&self, source: &str, repository: &str, number: u64, looked: &Looked) -> Result<(), ForgeError> {
        if !looked.is_draft {
            return Ok(());
        }
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let (status, answer) = match source.provider {
            Provider::Github => {
                let query = "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { clientMutationId } }";
                let body = json!({"query": query, "variables": {"id": looked.node}});
                let (status, answer) = Api::of_graph(&self.client, source, &token)
                    .ask(Method::POST, "", Some(body))
                    .await?;
                // GraphQL answers 200 to what it refuses.
                match answer["errors"].as_array().and_then(|all| all.first()) {
                    Some(error) => (422, error.clone()),
                    None => (status, answer),
                }
            }
            Provider::Gitlab => {
                let title = looked.title.trim_start_matches(DRAFT);
                api.ask(
                    Method::PUT,
                    &format!("/merge_requests/{number}"),
                    Some(json!({"title": title})),
                )
                .await?
            }
            Provider::Gitea | Provider::Forgejo => {
                let title = looked.title.trim_start_matches(WIP);
                api.ask(
                    Method::PATCH,
                    &format!("/pulls/{number}"),
                    Some(json!({"title": title})),
                )
                .await?
            }
        };
        match status {
            200..=299 => Ok(()),
            _ => Err(lasting(
                "host_error",
                format!("the forge answers {status}: {}", said(&answer)),
            )),
        }
    }

    /// Merges a pull request whose head is still `head`.
    pub async fn merge(&self, source: &str, repository: &str, number: u64, head: &str) -> Result<Merging, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let (method, path, body) = match source.provider {
            Provider::Github => (Method::PUT, format!("/pulls/{number}/merge"), json!({"sha": head})),
            Provider::Gitlab => (
                Method::PUT,
                format!("/merge_requests/{number}/merge"),
                json!({"sha": head}),
            ),
            Provider::Gitea | Provider::Forgejo => {
                let body = json!({"Do": "merge", "head_commit_id": head});
                (Method::POST, format!("/pulls/{number}/merge"), body)
            }
        };
        match api.ask(method, &path, Some(body)).await? {
            (200..=299, answer) => {
                let commit = [&answer["sha"], &answer["merge_commit_sha"]];
                Ok(Merging::Merged(
                    commit.into_iter().find_map(|commit| commit.as_str().map(str::to_owned)),
                ))
            }
            // Forges compute whether it can be merged for a moment after each change.
            (405 | 409, answer) if said(&answer).to_ascii_lowercase().contains("try again") => Err(passing(
                "host_error",
                format!("the forge does not merge it yet: {}", said(&answer)),
            )),
            (status, answer) => Ok(Merging::Refused(format!(
                "the forge answers {status}: {}",
                said(&answer)
            ))),
        }
    }

    /// Asks for the failed jobs of a run, or for the one failed job, whose page this is, once more. `Ok(false)`: this kind of forge or
    /// this page knows no such thing.
    pub async fn rerun(&self, source: &str, repository: &str, page: &str) -> Result<bool, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let number = |after: &str| -> Option<String> {
            let (_, rest) = page.split_once(after)?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (!digits.is_empty()).then_some(digits)
        };
        let path = match source.provider {
            Provider::Github => number("/actions/runs/").map(|run| format!("/actions/runs/{run}/rerun-failed-jobs")),
            Provider::Gitlab => number("/-/jobs/").map(|job| format!("/jobs/{job}/retry")),
            Provider::Gitea | Provider::Forgejo => None,
        };
        let Some(path) = path else { return Ok(false) };
        api.make(&path, json!({}), "host_error").await.map(|_| true)
    }

    /// What the owner of a repository wishes: the file of the default branch.
    pub async fn wishes(&self, source: &str, repository: &str) -> Result<Wishes, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let path = match source.provider {
            Provider::Gitlab => format!("/repository/files/{}?ref=HEAD", escaped(wishes::FILE)),
            // Without `ref` it is the default branch's.
            Provider::Github | Provider::Gitea | Provider::Forgejo => format!("/contents/{}", wishes::FILE),
        };
        let (status, file) = api.get(&path).await?;
        if status == 404 {
            return Ok(Wishes::default());
        }
        let text = file["content"].as_str().filter(|_| status == 200).and_then(|text| {
            let letters: String = text.split_ascii_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(letters).ok()?;
            String::from_utf8(bytes).ok()
        });
        let unread = || {
            passing(
                "host_error",
                format!("the forge answers {status} for {} and no text", wishes::FILE),
            )
        };
        text.map(|text| Wishes::parse(&text)).ok_or_else(unread)
    }

    /// Whether somebody may write to a repository. Not by what they are called, and not by what the event says of them.
    pub async fn may_write(&self, source: &str, repository: &str, who: &Person) -> Result<bool, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        if source.provider == Provider::Gitlab {
            let (status, member) = api.get(&format!("/members/all/{}", who.id)).await?;
            // 30 is a developer, who may push.
            return Ok(status == 200 && member["access_level"].as_u64().is_some_and(|level| level >= 30));
        }
        let path = format!("/collaborators/{}/permission", escaped(&who.login));
        let (status, answer) = api.get(&path).await?;
        let permission = answer["permission"].as_str().unwrap_or_default();
        Ok(status == 200 && matches!(permission, "admin" | "write" | "maintain" | "owner"))
    }

    /// The head of a pull request.
    pub async fn head_of(&self, source: &str, repository: &str, number: u64) -> Result<String, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let (path, head) = match source.provider {
            Provider::Gitlab => (format!("/merge_requests/{number}"), "/sha"),
            Provider::Github | Provider::Gitea | Provider::Forgejo => (format!("/pulls/{number}"), "/head/sha"),
        };
        let (_, pull) = api.get(&path).await?;
        Ok(pull
            .pointer(head)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned())
    }

    /// Writes a comment at a pull request.
    pub async fn comment(&self, source: &str, repository: &str, number: u64, text: &str) -> Result<(), ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let path = match source.provider {
            Provider::Gitlab => format!("/merge_requests/{number}/notes"),
            Provider::Github | Provider::Gitea | Provider::Forgejo => format!("/issues/{number}/comments"),
        };
        api.make(&path, json!({"body": text}), "host_error").await.map(drop)
    }
}

/// Who wrote a comment, as the event names them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// Their name at the forge.
    pub login: String,
    /// Their number there.
    pub id: u64,
}

fn is_wip(title: &str) -> bool {
    title.starts_with(WIP.trim_end()) || title.starts_with("[WIP]")
}

async fn look_at_gitlab(api: &Api<'_>, number: u64) -> Result<Looked, ForgeError> {
    let (status, request) = api.get(&format!("/merge_requests/{number}")).await?;
    if status != 200 {
        return Err(lasting(
            "host_error",
            format!("the forge answers {status} for merge request {number}"),
        ));
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let title = word(&request["title"]);
    let merged_as = request["merge_commit_sha"].as_str().map(str::to_owned);
    Ok(Looked {
        stands: match request["state"].as_str() {
            Some("merged") => Stands::Merged(merged_as),
            Some("closed") => Stands::Closed,
            _ => Stands::Open,
        },
        head: word(&request["sha"]),
        is_draft: request["draft"].as_bool().unwrap_or_else(|| title.starts_with(DRAFT)),
        title,
        node: String::new(),
        checks: match request["head_pipeline"]["status"].as_str() {
            Some("success") => Checks::Green,
            Some("failed") => Checks::Red,
            Some("canceled" | "skipped") | None => Checks::Unknown,
            Some(_) => Checks::Pending,
        },
    })
}

/// GitHub has two kinds of checks: statuses, which anybody may set, and check runs of Apps, its own Actions among them.
async fn github_checks(api: &Api<'_>, head: &str) -> Result<Checks, ForgeError> {
    let by_status = statuses(api, head).await?;
    let (status, found) = api.get(&format!("/commits/{head}/check-runs?per_page=100")).await?;
    let runs = found["check_runs"].as_array().filter(|_| status == 200);
    let runs = runs.into_iter().flatten().map(|run| match run["conclusion"].as_str() {
        _ if run["status"].as_str() != Some("completed") => Checks::Pending,
        Some("success" | "neutral" | "skipped") => Checks::Green,
        _ => Checks::Red,
    });
    Ok(together(runs.chain([by_status])))
}

/// The newest status of each check of a commit.
async fn statuses(api: &Api<'_>, head: &str) -> Result<Checks, ForgeError> {
    let (status, combined) = api.get(&format!("/commits/{head}/status")).await?;
    let all = combined["statuses"].as_array().filter(|_| status == 200);
    Ok(together(all.into_iter().flatten().map(|one| {
        // Gitea calls it `status`, GitHub `state`.
        match one["status"].as_str().or_else(|| one["state"].as_str()) {
            Some("success" | "skipped" | "warning") => Checks::Green,
            Some("failure" | "error") => Checks::Red,
            _ => Checks::Pending,
        }
    })))
}

/// All checks as one: red if one is, else pending if one is, green if there is one.
fn together(all: impl Iterator<Item = Checks>) -> Checks {
    let rank = |checks: Checks| match checks {
        Checks::Unknown => 0,
        Checks::Green => 1,
        Checks::Pending => 2,
        Checks::Red => 3,
    };
    all.max_by_key(|checks| rank(*checks)).unwrap_or_default()
}
