//! What one user of a forge can do over its API: repositories, commits, webhooks, commit statuses, kept files, clones.
//!
//! Asks a forge that somebody else started; holds its address and one token and nothing else.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::ServiceError;

/// A user of a forge.
#[derive(Debug, Clone)]
pub struct Account {
    url: String,
    user: String,
    token: String,
}

impl Account {
    /// The user with this token at the forge at `url`.
    pub fn new(url: &str, user: &str, token: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            user: user.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Address of the forge.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name of the user, who owns what is made here.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Token of the user.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Asks the API (`path` begins after `/api/v1`) and gives the answer; anything but success is an error.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ServiceError> {
        let url = format!("{}/api/v1{path}", self.url);
        self.send(method, &url, body.map(|body| body.to_string().into_bytes()))
    }

    /// Makes an empty public repository and gives `owner/name`.
    pub fn create_repository(&self, name: &str) -> Result<String, ServiceError> {
        let wanted = json!({"name": name, "auto_init": true, "default_branch": "main"});
        self.api("POST", "/user/repos", Some(&wanted))?;
        Ok(format!("{}/{name}", self.user))
    }

    /// Commits new files (path, text) to `main` in one commit and gives its id.
    pub fn commit(&self, repository: &str, message: &str, files: &[(&str, &str)]) -> Result<String, ServiceError> {
        let files: Vec<Value> = files
            .iter()
            .map(|(path, text)| json!({"operation": "create", "path": path, "content": STANDARD.encode(text)}))
            .collect();
        let wanted = json!({"branch": "main", "message": message, "files": files});
        let path = format!("/repos/{repository}/contents");
        let answer = self.api("POST", &path, Some(&wanted))?;
        let id = answer["commit"]["sha"].as_str();
        id.map(str::to_owned)
            .ok_or_else(|| self.refused("POST", &path, format!("no commit id in {answer}")))
    }

    /// Has commit statuses, pull requests, comments and pushes of a repository told to `hub`, signed with `secret`.
    pub fn add_webhook(&self, repository: &str, hub: &str, secret: &str) -> Result<(), ServiceError> {
        let config = json!({"url": hub, "content_type": "json", "secret": secret});
        let events = [
            "status",
            "pull_request",
            "pull_request_comment",
            "issue_comment",
            "push",
        ];
        let wanted = json!({"type": "gitea", "active": true, "events": events, "config": config});
        self.api("POST", &format!("/repos/{repository}/hooks"), Some(&wanted))
            .map(drop)
    }

    /// Reports what a check says of a commit: `state` is `success`, `failure`, `error` or `pending`.
    pub fn report(
        &self,
        repository: &str,
        commit: &str,
        check: &str,
        state: &str,
        log: &str,
    ) -> Result<(), ServiceError> {
        let wanted =
            json!({"state": state, "context": check, "description": format!("{check}: {state}"), "target_url": log});
        self.api("POST", &format!("/repos/{repository}/statuses/{commit}"), Some(&wanted))
            .map(drop)
    }

    /// The open pull requests of a repository.
    pub fn open_pulls(&self, repository: &str) -> Result<Vec<Value>, ServiceError> {
        let answer = self.api("GET", &format!("/repos/{repository}/pulls?state=open&limit=50"), None)?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    /// Keeps a file in the package registry and gives its address. A file that is there already stays as it is.
    pub fn keep_file(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<String, ServiceError> {
        let url = format!("{}/api/packages/{}/generic/{folder}/1/{name}", self.url, self.user);
        self.send("PUT", &url, Some(bytes.to_vec()))?;
        Ok(url)
    }

    /// Clones one branch of a repository into a folder that is not there yet. The token goes by a header, so it is in no file.
    pub fn clone_branch(&self, repository: &str, branch: &str, into: &Path) -> Result<(), ServiceError> {
        let done = Command::new("git")
            .arg("-c")
            .arg(format!("http.extraHeader=Authorization: token {}", self.token))
            .args(["clone", "--quiet", "--branch", branch])
            .arg(format!("{}/{repository}.git", self.url))
            .arg(into)
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .map_err(|cause| ServiceError::Run {
                program: "git".to_owned(),
                hint: "install git",
                cause,
            })?;
        if done.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(self.refused("clone", repository, reason))
    }

    fn send(&self, method: &str, url: &str, body: Option<Vec<u8>>) -> Result<Value, ServiceError> {
        let refused = |reason: String| self.refused(method, url, reason);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", format!("token {}", self.token))
            .header("content-type", "application/json")
            .body(body.unwrap_or_default())
            .map_err(|cause| refused(cause.to_string()))?;
        let mut answer = agent.run(request).map_err(|cause| refused(cause.to_string()))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|cause| refused(cause.to_string()))?;
        if !answer.status().is_success() {
            return Err(refused(format!("{} {text}", answer.status())));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn refused(&self, method: &str, what: &str, reason: String) -> ServiceError {
        ServiceError::Refused {
            name: "gitea",
            request: format!("{method} {what}"),
            reason,
        }
    }
}
