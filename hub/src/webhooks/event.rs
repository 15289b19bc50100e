//! What a verified delivery says, in words of our own: a failed check, the end of a pull request, or nothing that matters.
//!
//! Tolerant: unknown members and events are ignored; only what names the commit and the check must be there.
//!
//! Sources: GitHub's `workflow_run`, `workflow_job`, `check_run`, `status`, `pull_request`; GitLab's pipeline and job events; Gitea's
//! commit status, `workflow_run`, `workflow_job` and pull request events, which have GitHub's shape.

use serde_json::Value;

use super::{Provider, Refusal};

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A check of a commit failed.
    Failed(Failed),
    /// A pull request was merged or closed.
    PullRequestEnded {
        /// `owner/name`.
        repository: String,
        /// Its number.
        number: u64,
        /// Merged, or closed without it.
        merged: bool,
        /// The commit that the merge made.
        merged_as: Option<String>,
        /// Closed with an explicit no.
        rejected: bool,
    },
    /// A commit was taken back on the default branch.
    Reverted {
        /// `owner/name`.
        repository: String,
        /// The commit that was taken back.
        commit: String,
    },
    /// Nothing to do, and why: a stable code.
    Ignored(String),
}

/// A failed check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// `owner/name`.
    pub repository: String,
    /// The failing commit.
    pub commit: String,
    /// Name of the check.
    pub check: String,
    /// The branch; empty where the event does not name it.
    pub branch: String,
    /// The default branch; empty where the event does not name it.
    pub default_branch: String,
    /// Where the log, or the page of the run, is.
    pub log_url: String,
    /// The code comes from a fork.
    pub from_fork: bool,
}

/// Reads a delivery whose signature is good.
pub fn read(provider: Provider, name: &str, body: &[u8]) -> Result<Event, Refusal> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Refusal::NotAnObject)?;
    if !value.is_object() {
        return Err(Refusal::NotAnObject);
    }
    Ok(match provider {
        Provider::Gitlab => gitlab(&value),
        Provider::Github | Provider::Gitea | Provider::Forgejo => github(name, &value),
    })
}

fn ignored(code: impl Into<String>) -> Event {
    Event::Ignored(code.into())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn github(name: &str, value: &Value) -> Event {
    match name {
        "workflow_run" | "workflow_job" | "check_run" => completed(name, value),
        "status" => status(value),
        "pull_request" => pull_request(value),
        "push" => push(value),
        other => ignored(format!("event({other})")),
    }
}

fn completed(name: &str, value: &Value) -> Event {
    let run = &value[name];
    if value["action"].as_str() != Some("completed") {
        return ignored("not_candidate(not completed)");
    }
    let conclusion = run["conclusion"].as_str().unwrap_or_default();
    if !matches!(conclusion, "failure" | "timed_out") {
        return ignored(format!("not_candidate({conclusion})"));
    }
    let repository = &value["repository"];
    let head = &run["head_repository"]["full_name"];
    failed(Failed {
        repository: text(&repository["full_name"]),
        commit: text(&run["head_sha"]),
        check: text(&run["name"]),
        branch: text(&run["head_branch"]),
        default_branch: text(&repository["default_branch"]),
        log_url: text(&run["html_url"]),
        from_fork: head.is_string() && head != &repository["full_name"],
    })
}

fn status(value: &Value) -> Event {
    let state = value["state"].as_str().unwrap_or_default();
    if !matches!(state, "failure" | "error") {
        return ignored(format!("not_candidate({state})"));
    }
    let repository = &value["repository"];
    let branch = value["branches"]
        .as_array()
        .and_then(|branches| branches.first())
        .map(|branch| text(&branch["name"]));
    failed(Failed {
        repository: text(&repository["full_name"]),
        commit: text(&value["sha"]),
        check: text(&value["context"]),
        branch: branch.unwrap_or_default(),
        default_branch: text(&repository["default_branch"]),
        log_url: text(&value["target_url"]),
        from_fork: false,
    })
}

fn pull_request(value: &Value) -> Event {
    if value["action"].as_str() != Some("closed") {
        return ignored("pull_request");
    }
    let request = &value["pull_request"];
    match request["number"].as_u64() {
        Some(number) => Event::PullRequestEnded {
            repository: text(&value["repository"]["full_name"]),
            number,
            merged: request["merged"].as_bool().unwrap_or(false),
            merged_as: request["merge_commit_sha"].as_str().map(str::to_owned),
            rejected: request["labels"].as_array().into_iter().flatten().any(says_no),
        },
        None => ignored("incomplete"),
    }
}

/// A label by which people say that they do not want it.
fn says_no(label: &Value) -> bool {
    let name = label["name"].as_str().unwrap_or_default().to_ascii_lowercase();
    [
        "wontfix",
        "won't fix",
        "invalid",
        "rejected",
        "not planned",
        "not-planned",
    ]
    .contains(&name.as_str())
}

/// git's own words in the message of a revert: `This reverts commit SHA.`
fn push(value: &Value) -> Event {
    let repository = &value["repository"];
    let is_default = value["ref"].as_str().and_then(|name| name.strip_prefix("refs/heads/"))
        == repository["default_branch"].as_str();
    let messages = value["commits"].as_array().into_iter().flatten();
    let mut reverted = messages.filter_map(|commit| {
        let (_, after) = commit["message"].as_str()?.split_once("This reverts commit ")?;
        let id: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
        (id.len() >= 7).then_some(id)
    });
    match reverted.next_back().filter(|_| is_default) {
        Some(commit) => Event::Reverted {
            repository: text(&repository["full_name"]),
            commit,
        },
        None => ignored("event(push)"),
    }
}

/// Reasons by which GitLab says that its own machinery failed. Source: GitLab's `commit_status.rb`.
const GITLAB_INFRA: &[&str] = &[
    "runner_system_failure",
    "stuck_or_timeout_failure",
    "job_execution_timeout",
    "scheduler_failure",
    "data_integrity_failure",
    "api_failure",
    "ci_quota_exceeded",
    "runner_unsupported",
    "trace_size_exceeded",
];

fn gitlab(value: &Value) -> Event {
    let project = &value["project"];
    match value["object_kind"].as_str().unwrap_or_default() {
        "pipeline" => {
            let pipeline = &value["object_attributes"];
            let status = pipeline["status"].as_str().unwrap_or_default();
            if status != "failed" {
                return ignored(format!("not_candidate({status})"));
            }
            let web = text(&project["web_url"]);
            // The first job that failed and may not explains the pipeline.
            let job =
                value["builds"].as_array().into_iter().flatten().find(|job| {
                    job["status"].as_str() == Some("failed") && job["allow_failure"].as_bool() != Some(true)
                });
            let (check, log_url) = match job {
                Some(job) => (text(&job["name"]), format!("{web}/-/jobs/{}", job["id"])),
                None => ("pipeline".to_owned(), format!("{web}/-/pipelines/{}", pipeline["id"])),
            };
            failed(Failed {
                repository: text(&project["path_with_namespace"]),
                commit: text(&pipeline["sha"]),
                check,
                branch: text(&pipeline["ref"]),
                default_branch: text(&project["default_branch"]),
                log_url,
                from_fork: false,
            })
        }
        "build" => gitlab_job(value),
        other => ignored(format!("event({other})")),
    }
}

fn gitlab_job(value: &Value) -> Event {
    let status = value["build_status"].as_str().unwrap_or_default();
    if status != "failed" {
        return ignored(format!("not_candidate({status})"));
    }
    if value["build_allow_failure"].as_bool() == Some(true) {
        return ignored("allowed_failure");
    }
    if value["build_failure_reason"]
        .as_str()
        .is_some_and(|reason| GITLAB_INFRA.contains(&reason))
    {
        return ignored("infra");
    }
    failed(Failed {
        repository: text(&value["project"]["path_with_namespace"]),
        commit: text(&value["sha"]),
        check: text(&value["build_name"]),
        branch: text(&value["ref"]),
        default_branch: text(&value["project"]["default_branch"]),
        log_url: format!("{}/-/jobs/{}", text(&value["project"]["web_url"]), value["build_id"]),
        from_fork: false,
    })
}

/// Without a repository, a commit and a check there is nothing to fix.
fn failed(found: Failed) -> Event {
    if found.repository.is_empty() || found.commit.is_empty() || found.check.is_empty() {
        return ignored("incomplete");
    }
    Event::Failed(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github_run(conclusion: &str) -> String {
        format!(
            r#"{{"action": "completed", "workflow_run": {{"id": 7, "name": "CI", "head_branch": "main", "head_sha": "abc123",
            "html_url": "https://github.com/org/repo/actions/runs/7", "conclusion": "{conclusion}"}},
            "repository": {{"full_name": "org/repo", "default_branch": "main"}}}}"#
        )
    }

    #[test]
    fn a_failed_run_is_a_failure_and_others_say_why_not() {
        let read = |conclusion: &str| super::read(Provider::Github, "workflow_run", github_run(conclusion).as_bytes());
        let Ok(Event::Failed(failed)) = read("failure") else {
            panic!("no failure")
        };
        assert_eq!(
            (
                failed.repository.as_str(),
                failed.commit.as_str(),
                failed.branch.as_str()
            ),
            ("org/repo", "abc123", "main")
        );
        assert!(matches!(read("timed_out"), Ok(Event::Failed(_))));
        assert_eq!(read("cancelled"), Ok(ignored("not_candidate(cancelled)")));
        assert_eq!(super::read(Provider::Github, "ping", b"{}"), Ok(ignored("event(ping)")));
        assert_eq!(
            super::read(Provider::Github, "workflow_run", b"[]"),
            Err(Refusal::NotAnObject)
        );
        assert_eq!(
            super::read(Provider::Github, "workflow_run", b"{}"),
            Ok(ignored("not_candidate(not completed)"))
        );
    }

    #[test]
    fn gitea_s_commit_status_names_commit_check_and_log() {
        let body = br#"{"sha": "c0ffee", "state": "failure", "context": "lint", "target_url": "http://forge/log.txt",
            "repository": {"full_name": "a/b", "default_branch": "main"}}"#;
        let Ok(Event::Failed(failed)) = read(Provider::Gitea, "status", body) else {
            panic!("no failure")
        };
        assert_eq!(
            (failed.check.as_str(), failed.log_url.as_str()),
            ("lint", "http://forge/log.txt")
        );
    }

    #[test]
    fn gitlab_s_own_trouble_and_allowed_failures_are_no_task() {
        let job = |extra: &str| {
            format!(
                r#"{{"object_kind": "build", "build_status": "failed", "build_name": "t", "sha": "1", "project": {{"path_with_namespace": "a/b"}}{extra}}}"#
            )
        };
        let read = |extra: &str| super::read(Provider::Gitlab, "Job Hook", job(extra).as_bytes());
        assert!(matches!(read(""), Ok(Event::Failed(_))));
        assert_eq!(read(r#", "build_allow_failure": true"#), Ok(ignored("allowed_failure")));
        assert_eq!(
            read(r#", "build_failure_reason": "runner_system_failure""#),
            Ok(ignored("infra"))
        );
    }

    #[test]
    fn the_end_of_a_pull_request_is_told() {
        let body = br#"{"action": "closed", "pull_request": {"number": 3, "merged": true}, "repository": {"full_name": "a/b"}}"#;
        let expected = Event::PullRequestEnded {
            repository: "a/b".to_owned(),
            number: 3,
            merged: true,
            merged_as: None,
            rejected: false,
        };
        assert_eq!(read(Provider::Gitea, "pull_request", body), Ok(expected));
        let body = br#"{"action": "closed", "pull_request": {"number": 3, "labels": [{"name": "wontfix"}]}, "repository": {"full_name": "a/b"}}"#;
        assert!(matches!(
            read(Provider::Github, "pull_request", body),
            Ok(Event::PullRequestEnded {
                merged: false,
                rejected: true,
                ..
            })
        ));
    }

    #[test]
    fn a_revert_on_the_default_branch_is_told_and_one_elsewhere_is_not() {
        let push = |branch: &str| {
            let body = format!(
                r#"{{"ref": "refs/heads/{branch}", "repository": {{"full_name": "a/b", "default_branch": "main"}},
                "commits": [{{"message": "Revert \"fix\"\n\nThis reverts commit 0a1b2c3d4e.\n"}}]}}"#
            );
            read(Provider::Gitea, "push", body.as_bytes())
        };
        let expected = Event::Reverted {
            repository: "a/b".to_owned(),
            commit: "0a1b2c3d4e".to_owned(),
        };
        assert_eq!(push("main"), Ok(expected));
        assert_eq!(push("topic"), Ok(ignored("event(push)")));
    }
}
