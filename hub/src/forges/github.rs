//! GitHub: the commit is built from blobs, a tree and a parent, then a branch points at it, then the pull request is opened as a draft.
//!
//! Every object but the branch is content-addressed or harmless when it is made twice; the branch is refused when it exists, and so is a
//! second pull request, both with 422.
//!
//! Source: GitHub's REST API 2022-11-28, "Git database", "Pulls", "Actions".

use base64::Engine as _;
use reqwest::Method;
use serde_json::json;

use super::api::{Api, escaped, said};
use super::gitea::opened;
use super::{ForgeError, Opened, PullRequest, lasting};
use crate::webhooks::event::Failed;

/// Opens the pull request, or finds the one that is open.
pub async fn open(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<Opened, ForgeError> {
    let base = base_branch(api, wanted).await?;
    if let Some(open) = open_pull(api, wanted).await? {
        return Ok(open);
    }
    let (status, _) = api.get(&format!("/git/ref/heads/{}", wanted.branch)).await?;
    if status != 200 {
        let commit = commit(api, wanted).await?;
        branch(api, wanted.branch, &commit).await?;
    }
    let body = json!({"title": wanted.title, "body": wanted.body, "base": base, "head": wanted.branch, "draft": true});
    let (status, answer) = api.ask(Method::POST, "/pulls", Some(body)).await?;
    if let Some(open) = opened(&answer).filter(|_| (200..300).contains(&status)) {
        return Ok(open);
    }
    let refused = lasting("host_error", format!("the forge answers {status}: {}", said(&answer)));
    open_pull(api, wanted).await?.ok_or(refused)
}

async fn base_branch(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<String, ForgeError> {
    let name = if wanted.base.is_empty() {
        let (_, repository) = api.get("").await?;
        repository["default_branch"].as_str().unwrap_or("main").to_owned()
    } else {
        wanted.base.to_owned()
    };
    let (status, branch) = api.get(&format!("/branches/{}", escaped(&name))).await?;
    if status == 200 && branch["commit"]["sha"].as_str() == Some(wanted.commit) {
        return Ok(name);
    }
    Err(lasting(
        "base_moved",
        format!("branch `{name}` has not {} as its head any more", wanted.commit),
    ))
}

async fn open_pull(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<Option<Opened>, ForgeError> {
    let owner = wanted.repository.split('/').next().unwrap_or_default();
    let head = escaped(&format!("{owner}:{}", wanted.branch));
    let (_, pulls) = api.get(&format!("/pulls?state=open&head={head}")).await?;
    let mut pulls = pulls.as_array().into_iter().flatten();
    // The filter is ignored for a head that does not exist.
    Ok(pulls
        .find(|pull| pull["head"]["ref"].as_str() == Some(wanted.branch))
        .and_then(opened))
}

/// One commit with all files, on nothing yet.
async fn commit(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<String, ForgeError> {
    let (status, parent) = api.get(&format!("/git/commits/{}", wanted.commit)).await?;
    let Some(tree) = parent["tree"]["sha"].as_str().filter(|_| status == 200) else {
        return Err(lasting(
            "base_moved",
            format!("{} is not in the repository any more", wanted.commit),
        ));
    };
    let base64 = &base64::engine::general_purpose::STANDARD;
    let mut entries = Vec::new();
    for (path, text) in wanted.files {
        let blob = json!({"content": base64.encode(text), "encoding": "base64"});
        let blob = api.make("/git/blobs", blob, "push_rejected").await?;
        let mode = wanted.mode(path);
        entries.push(json!({"path": path, "mode": mode, "type": "blob", "sha": blob["sha"]}));
    }
    let tree = json!({"base_tree": tree, "tree": entries});
    let tree = api.make("/git/trees", tree, "push_rejected").await?;
    let commit = json!({"message": wanted.title, "tree": tree["sha"], "parents": [wanted.commit]});
    let commit = api.make("/git/commits", commit, "push_rejected").await?;
    commit["sha"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| lasting("push_rejected", "the forge made a commit without an id"))
}

/// The branch, unless it is there: somebody else, or we before a crash, made it in this moment.
async fn branch(api: &Api<'_>, name: &str, commit: &str) -> Result<(), ForgeError> {
    let body = json!({"ref": format!("refs/heads/{name}"), "sha": commit});
    match api.ask(Method::POST, "/git/refs", Some(body)).await? {
        (200..=299, _) => Ok(()),
        (422, answer) if said(&answer).contains("already exists") => Ok(()),
        (status, answer) => Err(lasting(
            "push_rejected",
            format!("the forge answers {status}: {}", said(&answer)),
        )),
    }
}

/// Path of the log of a run or a job, below the repository, from its page's address.
pub fn log_path(page: &str) -> Option<String> {
    let number = |after: &str| -> Option<String> {
        let (_, rest) = page.split_once(after)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    if let Some(job) = number("/job/") {
        return Some(format!("/actions/jobs/{job}/logs"));
    }
    number("/actions/runs/").map(|run| format!("/actions/runs/{run}/logs"))
}

/// Repositories that the token sees: a user's, the latest pushed first, or those of an App's installation.
pub async fn repositories(forge: &Api<'_>, of_app: bool) -> Result<Vec<String>, ForgeError> {
    let path = if of_app {
        "/installation/repositories?per_page=100"
    } else {
        "/user/repos?sort=pushed&per_page=50"
    };
    let (_, found) = forge.get(path).await?;
    let found = if of_app { &found["repositories"] } else { &found };
    let names = found.as_array().into_iter().flatten();
    Ok(names
        .filter_map(|one| one["full_name"].as_str().map(str::to_owned))
        .collect())
}

/// Runs that failed since a time, RFC 3339.
pub async fn failed(api: &Api<'_>, repository: &str, since: &str) -> Result<Vec<(String, Failed)>, ForgeError> {
    let mut all = Vec::new();
    for conclusion in ["failure", "timed_out"] {
        let since = escaped(&format!(">={since}"));
        let path = format!("/actions/runs?status={conclusion}&created={since}&per_page=100");
        let (_, found) = api.get(&path).await?;
        for run in found["workflow_runs"].as_array().into_iter().flatten() {
            let word = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
            let head = &run["head_repository"]["full_name"];
            all.push((
                format!("recon:{}:{}", run["id"], run["run_attempt"]),
                Failed {
                    repository: repository.to_owned(),
                    commit: word("head_sha"),
                    check: word("name"),
                    branch: word("head_branch"),
                    default_branch: run["repository"]["default_branch"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    log_url: word("html_url"),
                    from_fork: head.is_string() && head != repository,
                },
            ));
        }
    }
    Ok(all)
}
