//! GitLab: one call commits all files on a new branch, another opens the merge request as a draft.
//!
//! Source: GitLab's REST API v4, "Commits", "Merge requests", "Jobs", "Pipelines".

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, escaped, said};
use super::{ForgeError, Opened, PullRequest, lasting};
use crate::webhooks::event::Failed;

/// Opens the merge request, or finds the one that is open.
pub async fn open(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<Opened, ForgeError> {
    let base = base_branch(api, wanted).await?;
    if let Some(open) = open_request(api, wanted.branch).await? {
        return Ok(open);
    }
    if head_of(api, wanted.branch).await?.is_none() {
        commit(api, wanted).await?;
    }
    let body = json!({
        "source_branch": wanted.branch, "target_branch": base, "title": format!("Draft: {}", wanted.title),
        "description": wanted.body, "remove_source_branch": true,
    });
    let (status, answer) = api.ask(Method::POST, "/merge_requests", Some(body)).await?;
    if let Some(open) = opened(&answer).filter(|_| (200..300).contains(&status)) {
        return Ok(open);
    }
    let refused = lasting("host_error", format!("the forge answers {status}: {}", said(&answer)));
    open_request(api, wanted.branch).await?.ok_or(refused)
}

async fn base_branch(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<String, ForgeError> {
    let name = if wanted.base.is_empty() {
        let (_, project) = api.get("").await?;
        project["default_branch"].as_str().unwrap_or("main").to_owned()
    } else {
        wanted.base.to_owned()
    };
    if head_of(api, &name).await?.as_deref() == Some(wanted.commit) {
        return Ok(name);
    }
    Err(lasting(
        "base_moved",
        format!("branch `{name}` has not {} as its head any more", wanted.commit),
    ))
}

async fn head_of(api: &Api<'_>, branch: &str) -> Result<Option<String>, ForgeError> {
    let (status, found) = api.get(&format!("/repository/branches/{}", escaped(branch))).await?;
    Ok(found["commit"]["id"]
        .as_str()
        .filter(|_| status == 200)
        .map(str::to_owned))
}

async fn open_request(api: &Api<'_>, branch: &str) -> Result<Option<Opened>, ForgeError> {
    let path = format!("/merge_requests?state=opened&source_branch={}", escaped(branch));
    let (_, requests) = api.get(&path).await?;
    Ok(requests.as_array().and_then(|all| all.first()).and_then(opened))
}

async fn commit(api: &Api<'_>, wanted: &PullRequest<'_>) -> Result<(), ForgeError> {
    let base64 = &base64::engine::general_purpose::STANDARD;
    let update = |(path, text): &(String, String)| json!({"action": "update", "file_path": path, "content": base64.encode(text), "encoding": "base64"});
    let body = json!({
        "branch": wanted.branch, "start_sha": wanted.commit, "commit_message": wanted.title,
        "actions": wanted.files.iter().map(update).collect::<Vec<_>>(),
    });
    match api.ask(Method::POST, "/repository/commits", Some(body)).await? {
        (200..=299, _) => Ok(()),
        // Somebody else, or we before a crash, made the branch in this moment.
        (400, _) if head_of(api, wanted.branch).await?.is_some() => Ok(()),
        (status, answer) => Err(lasting(
            "push_rejected",
            format!("the forge answers {status}: {}", said(&answer)),
        )),
    }
}

fn opened(request: &Value) -> Option<Opened> {
    Some(Opened {
        url: request["web_url"].as_str()?.to_owned(),
        number: request["iid"].as_u64()?,
        head: request["sha"].as_str().map(str::to_owned),
    })
}

/// Path of a job's log, below the project, from its page's address.
pub fn log_path(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("/-/jobs/")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("/jobs/{digits}/trace"))
}

/// Projects of the token's owner, the latest active first.
pub async fn repositories(forge: &Api<'_>) -> Result<Vec<String>, ForgeError> {
    let (_, found) = forge
        .get("/projects?membership=true&order_by=last_activity_at&per_page=50&simple=true")
        .await?;
    let names = found.as_array().into_iter().flatten();
    Ok(names
        .filter_map(|one| one["path_with_namespace"].as_str().map(str::to_owned))
        .collect())
}

/// Jobs of pipelines that failed since a time, RFC 3339.
pub async fn failed(api: &Api<'_>, repository: &str, since: &str) -> Result<Vec<(String, Failed)>, ForgeError> {
    let (_, project) = api.get("").await?;
    let default = project["default_branch"].as_str().unwrap_or_default().to_owned();
    let path = format!("/pipelines?status=failed&updated_after={}&per_page=100", escaped(since));
    let (_, pipelines) = api.get(&path).await?;
    let mut all = Vec::new();
    for pipeline in pipelines.as_array().into_iter().flatten() {
        let (_, jobs) = api
            .get(&format!("/pipelines/{}/jobs?scope=failed", pipeline["id"]))
            .await?;
        for job in jobs.as_array().into_iter().flatten() {
            if job["allow_failure"].as_bool() == Some(true) {
                continue;
            }
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            all.push((
                format!("recon:{}", job["id"]),
                Failed {
                    repository: repository.to_owned(),
                    commit: word(&pipeline["sha"]),
                    check: word(&job["name"]),
                    branch: word(&pipeline["ref"]),
                    default_branch: default.clone(),
                    log_url: word(&job["web_url"]),
                    from_fork: false,
                },
            ));
        }
    }
    Ok(all)
}
