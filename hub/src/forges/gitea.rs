//! Gitea and Forgejo: one call commits all files on a new branch, another opens the pull request as a draft, by its title.
//!
//! Source: Gitea's API, `POST /repos/{owner}/{repo}/contents` and `/pulls`, as its own 1.26 answers them.

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, said};
use super::review::WIP;
use super::{ForgeError, Opened, PullRequest, lasting, passing};
use crate::webhooks::event::Failed;

/// Branches of a repository whose heads are looked at.
const BRANCHES: usize = 50;

/// Opens the pull request, or finds the one that is open.
pub async fn open(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<Opened, ForgeError> {
    let base = base_branch(api, wanted).await?;
    if let Some(open) = open_pull(api, wanted.branch).await? {
        return Ok(open);
    }
    if !has_branch(api, wanted.branch).await? {
        commit(api, wanted, &base).await?;
    }
    let title = format!("{WIP}{}", wanted.title);
    let body = json!({"title": title, "body": wanted.body, "base": base, "head": wanted.branch});
    let (status, answer) = api.ask(Method::POST, "/pulls", Some(body)).await?;
    if let Some(open) = opened(&answer).filter(|_| (200..300).contains(&status)) {
        return Ok(open);
    }
    let reason = format!("the forge answers {status}: {}", said(&answer));
    let refused = match status {
        // It does not know the branch yet that it has just made.
        404 | 409 => passing("host_error", reason),
        _ => lasting("host_error", reason),
    };
    open_pull(api, wanted.branch).await?.ok_or(refused)
}

/// The branch to repair, whose head must still be the failing commit.
async fn base_branch(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<String, ForgeError> {
    let names = if wanted.base.is_empty() {
        let (_, repository) = api.get("").await?;
        let default = repository["default_branch"].as_str().unwrap_or("main").to_owned();
        let branches = branches(api).await?;
        std::iter::once(default)
            .chain(branches.into_iter().map(|(name, _)| name))
            .collect()
    } else {
        vec![wanted.base.to_owned()]
    };
    for name in names {
        let (status, branch) = api.get(&format!("/branches/{name}")).await?;
        if status == 200 && branch["commit"]["id"].as_str() == Some(wanted.commit) {
            return Ok(name);
        }
    }
    Err(lasting(
        "base_moved",
        format!("no branch has {} as its head any more", wanted.commit),
    ))
}

async fn branches(api: &Api<'_>) -> Result<Vec<(String, String)>, ForgeError> {
    let (_, branches) = api.get(&format!("/branches?limit={BRANCHES}")).await?;
    let named = |branch: &Value| {
        Some((
            branch["name"].as_str()?.to_owned(),
            branch["commit"]["id"].as_str()?.to_owned(),
        ))
    };
    Ok(branches.as_array().into_iter().flatten().filter_map(named).collect())
}

async fn has_branch(api: &Api<'_>, name: &str) -> Result<bool, ForgeError> {
    Ok(api.get(&format!("/branches/{name}")).await?.0 == 200)
}

async fn open_pull(api: &Api<'_>, branch: &str) -> Result<Option<Opened>, ForgeError> {
    let (_, pulls) = api.get("/pulls?state=open&limit=50").await?;
    let mut pulls = pulls.as_array().into_iter().flatten();
    Ok(pulls
        .find(|pull| pull["head"]["ref"].as_str() == Some(branch))
        .and_then(opened))
}

/// One commit with all files on the new branch.
async fn commit(api: &Api<'_>, wanted: &PullRequest<'_>, base: &str) -> Result<(), ForgeError> {
    let base64 = &base64::engine::general_purpose::STANDARD;
    let mut files = Vec::new();
    for (path, text) in wanted.files {
        let (status, old) = api.get(&format!("/contents/{path}?ref={}", wanted.commit)).await?;
        let Some(blob) = old["sha"].as_str().filter(|_| status == 200) else {
            return Err(lasting(
                "base_moved",
                format!("`{path}` is not in the failing commit any more"),
            ));
        };
        files.push(json!({"operation": "update", "path": path, "sha": blob, "content": base64.encode(text)}));
    }
    let body = json!({"branch": base, "new_branch": wanted.branch, "message": wanted.title, "files": files});
    let (status, answer) = api.ask(Method::POST, "/contents", Some(body)).await?;
    match status {
        200..=299 => Ok(()),
        // Somebody else, or we before a crash, made the branch in this moment.
        409 if has_branch(api, wanted.branch).await? => Ok(()),
        _ => Err(lasting(
            "push_rejected",
            format!("the forge answers {status}: {}", said(&answer)),
        )),
    }
}

/// A pull request as Gitea and GitHub describe it.
pub fn opened(pull: &Value) -> Option<Opened> {
    Some(Opened {
        url: pull["html_url"].as_str()?.to_owned(),
        number: pull["number"].as_u64()?,
        head: pull["head"]["sha"].as_str().map(str::to_owned),
    })
}

/// Repositories that the token sees, the latest changed first.
pub async fn repositories(forge: &Api<'_>) -> Result<Vec<String>, ForgeError> {
    let (_, found) = forge.get("/repos/search?limit=50&sort=updated&order=desc").await?;
    let names = found["data"].as_array().into_iter().flatten();
    Ok(names
        .filter_map(|one| one["full_name"].as_str().map(str::to_owned))
        .collect())
}

/// Checks that are red at the head of a branch.
pub async fn failed(api: &Api<'_>, repository: &str) -> Result<Vec<(String, Failed)>, ForgeError> {
    let (_, about) = api.get("").await?;
    let default = about["default_branch"].as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for (branch, commit) in branches(api).await? {
        let (status, combined) = api.get(&format!("/commits/{commit}/status")).await?;
        if status != 200 {
            continue;
        }
        for check in combined["statuses"].as_array().into_iter().flatten() {
            if !matches!(check["status"].as_str(), Some("failure" | "error")) {
                continue;
            }
            let word = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
            all.push((
                format!("recon:{commit}:{}", check["id"]),
                Failed {
                    repository: repository.to_owned(),
                    commit: commit.clone(),
                    check: word("context"),
                    branch: branch.clone(),
                    default_branch: default.clone(),
                    log_url: word("target_url"),
                    from_fork: false,
                },
            ));
        }
    }
    Ok(all)
}
