//! What a verified delivery says, in words of our own: a failed or passed check, the end of a pull request, an order in a comment, or
//! nothing that matters.
//!
//! Tolerant: unknown members and events are ignored; only what names the commit and the check must be there.
//!
//! Sources: GitHub's `workflow_run`, `workflow_job`, `check_run`, `status`, `pull_request`; GitLab's pipeline and job events; Gitea's
//! commit status, `workflow_run`, `workflow_job` and pull request events, which have GitHub's shape.

use serde_json::{Value, json};

use super::{Provider, Refusal};
use crate::forges::review::Person;

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
    /// A check passed.
    Passed {
        /// `owner/name`.
        repository: String,
        /// Of which commit.
        commit: String,
        /// Name of the check.
        check: String,
    },
    /// Somebody wrote an order at a pull request. Whether they may is asked of the forge.
    Ordered {
        /// `owner/name`.
        repository: String,
        /// Number of the pull request.
        number: u64,
        /// Who.
        who: Person,
        /// What.
        order: Order,
    },
    /// Nothing to do, and why: a stable code.
    Ignored(String),
}

/// What may be ordered in a comment, as the first line of it that begins with `/patchbot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Try again what ended without a pull request.
    Retry,
    /// Say what was done and why.
    Explain,
    /// Do nothing more by yourself.
    Stop,
    /// Go on.
    Resume,
    /// Say why there is no repair.
    WhyNot,
    /// A word that is none of these.
    Unknown,
}

/// What begins an order.
const CALL: &str = "/patchbot";

impl Order {
    /// The order in a comment, if there is one.
    pub fn of(comment: &str) -> Option<Self> {
        // A quoted line begins with `>` and orders nothing.
        let line = comment
            .lines()
            .find(|line| line.split_whitespace().next() == Some(CALL))?;
        Some(match line.split_whitespace().nth(1) {
            Some("fix" | "retry") => Self::Retry,
            Some("explain") => Self::Explain,
            Some("stop") => Self::Stop,
            Some("resume") => Self::Resume,
            Some("why-not") => Self::WhyNot,
            _ => Self::Unknown,
        })
    }
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
        "issue_comment" => comment(value),
        other => ignored(format!("event({other})")),
    }
}

fn completed(name: &str, value: &Value) -> Event {
    let run = &value[name];
    if value["action"].as_str() != Some("completed") {
        return ignored("not_candidate(not completed)");
    }
    let conclusion = run["conclusion"].as_str().unwrap_or_default();
    if conclusion == "success" {
        return passed(&value["repository"]["full_name"], &run["head_sha"], &run["name"]);
    }
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
    if state == "success" {
        return passed(&value["repository"]["full_name"], &value["sha"], &value["context"]);
    }
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

/// A new comment at a pull request. A bot's is no order, whatever it says: two of them would talk for ever.
fn comment(value: &Value) -> Event {
    let (issue, comment) = (&value["issue"], &value["comment"]);
    let is_pull = issue["pull_request"].is_object() || value["is_pull"].as_bool() == Some(true);
    let is_bot = comment["user"]["type"].as_str() == Some("Bot");
    let is_new = value["action"].as_str() == Some("created");
    ordered(
        &value["repository"]["full_name"],
        issue["number"].as_u64().filter(|_| is_pull && is_new && !is_bot),
        &comment["body"],
        Person {
            login: text(&comment["user"]["login"]),
            id: comment["user"]["id"].as_u64().unwrap_or_default(),
        },
    )
}

fn ordered(repository: &Value, number: Option<u64>, body: &Value, who: Person) -> Event {
    let order = body.as_str().and_then(Order::of);
    match (number, order) {
        (Some(number), Some(order)) if !who.login.is_empty() => Event::Ordered {
            repository: text(repository),
            number,
            who,
            order,
        },
        _ => ignored("event(comment)"),
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
            if status == "success" {
                let check = Value::from("pipeline");
                return passed(&project["path_with_namespace"], &pipeline["sha"], &check);
            }
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
        "merge_request" => merge_request(value),
        "push" => push_of_gitlab(value),
        "note" => {
            let (note, user) = (&value["object_attributes"], &value["user"]);
            let at_request = note["noteable_type"].as_str() == Some("MergeRequest");
            // Older servers leave the action out; only then a note is new.
            let is_new = matches!(note["action"].as_str(), None | Some("create"));
            ordered(
                &project["path_with_namespace"],
                value["merge_request"]["iid"].as_u64().filter(|_| at_request && is_new),
                &note["note"],
                Person {
                    login: text(&user["username"]),
                    id: user["id"]
                        .as_u64()
                        .or_else(|| note["author_id"].as_u64())
                        .unwrap_or_default(),
                },
            )
        }
        other => ignored(format!("event({other})")),
    }
}

/// The end of a merge request.
fn merge_request(value: &Value) -> Event {
    let request = &value["object_attributes"];
    let merged = match request["action"].as_str() {
        Some("merge") => true,
        Some("close") => false,
        _ => return ignored("merge_request"),
    };
    let labels = value["labels"].as_array().into_iter().flatten();
    let mut labels = labels.map(|label| json!({"name": label["title"]}));
    match request["iid"].as_u64() {
        Some(number) => Event::PullRequestEnded {
            repository: text(&value["project"]["path_with_namespace"]),
            number,
            merged,
            merged_as: request["merge_commit_sha"].as_str().map(str::to_owned),
            rejected: labels.any(|label| says_no(&label)),
        },
        None => ignored("incomplete"),
    }
}

/// GitLab's push has GitHub's commits and other names around them.
fn push_of_gitlab(value: &Value) -> Event {
    let project = &value["project"];
    push(&json!({
        "ref": value["ref"], "commits": value["commits"],
        "repository": {"full_name": project["path_with_namespace"], "default_branch": project["default_branch"]},
    }))
}

fn gitlab_job(value: &Value) -> Event {
    let status = value["build_status"].as_str().unwrap_or_default();
    if status == "success" {
        return passed(
            &value["project"]["path_with_namespace"],
            &value["sha"],
            &value["build_name"],
        );
    }
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

fn passed(repository: &Value, commit: &Value, check: &Value) -> Event {
    let (repository, commit, check) = (text(repository), text(commit), text(check));
    if repository.is_empty() || commit.is_empty() || check.is_empty() {
        return ignored("incomplete");
    }
    Event::Passed {
        repository,
        commit,
        check,
    }
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
    fn a_check_that_passed_is_told_with_its_commit() {
        let passed = |check: &str| {
            Ok(Event::Passed {
                repository: "a/b".to_owned(),
                commit: "c0ffee".to_owned(),
                check: check.to_owned(),
            })
        };
        let body = br#"{"sha": "c0ffee", "state": "success", "context": "lint", "repository": {"full_name": "a/b"}}"#;
        assert_eq!(read(Provider::Gitea, "status", body), passed("lint"));
        let body =
            br#"{"action": "completed", "workflow_run": {"name": "CI", "head_sha": "c0ffee", "conclusion": "success"},
            "repository": {"full_name": "a/b"}}"#;
        assert_eq!(read(Provider::Github, "workflow_run", body), passed("CI"));
        let body = br#"{"object_kind": "build", "build_status": "success", "build_name": "t", "sha": "c0ffee",
            "project": {"path_with_namespace": "a/b"}}"#;
        assert_eq!(read(Provider::Gitlab, "Job Hook", body), passed("t"));
    }

    #[test]
    fn an_order_is_a_person_s_new_comment_at_a_pull_request() {
        let comment = |action: &str, pull: &str, kind: &str, body: &str| {
            let body = format!(
                r#"{{"action": "{action}", "issue": {{"number": 4{pull}}}, "repository": {{"full_name": "a/b"}},
                "comment": {{"body": "{body}", "user": {{"login": "ada", "id": 7, "type": "{kind}"}}}}}}"#
            );
            read(Provider::Github, "issue_comment", body.as_bytes()).expect("an object")
        };
        let pull = r#", "pull_request": {}"#;
        let ordered = |order| Event::Ordered {
            repository: "a/b".to_owned(),
            number: 4,
            who: Person {
                login: "ada".to_owned(),
                id: 7,
            },
            order,
        };
        assert_eq!(
            comment("created", pull, "User", "/patchbot retry"),
            ordered(Order::Retry)
        );
        assert_eq!(
            comment("created", pull, "User", "thanks\\n /patchbot why-not now"),
            ordered(Order::WhyNot)
        );
        assert_eq!(
            comment("created", pull, "User", "/patchbot dance"),
            ordered(Order::Unknown)
        );
        for quiet in [
            comment("edited", pull, "User", "/patchbot retry"),
            comment("created", "", "User", "/patchbot retry"),
            comment("created", pull, "Bot", "/patchbot retry"),
            comment("created", pull, "User", "> /patchbot retry"),
            comment("created", pull, "User", "/patchbots retry"),
        ] {
            assert_eq!(quiet, ignored("event(comment)"));
        }
        let note = br#"{"object_kind": "note", "user": {"id": 7, "username": "ada"}, "project": {"path_with_namespace": "a/b"},
            "object_attributes": {"note": "/patchbot stop", "noteable_type": "MergeRequest"}, "merge_request": {"iid": 4}}"#;
        assert_eq!(read(Provider::Gitlab, "Note Hook", note), Ok(ordered(Order::Stop)));
    }

    #[test]
    fn the_end_of_a_merge_request_is_told() {
        let body = |action: &str| {
            format!(
                r#"{{"object_kind": "merge_request", "project": {{"path_with_namespace": "a/b"}}, "labels": [{{"title": "wontfix"}}],
                "object_attributes": {{"iid": 4, "action": "{action}", "merge_commit_sha": "3d4e5f"}}}}"#
            )
        };
        let read =
            |action: &str| read(Provider::Gitlab, "Merge Request Hook", body(action).as_bytes()).expect("an object");
        assert!(matches!(
            read("merge"),
            Event::PullRequestEnded {
                number: 4,
                merged: true,
                ..
            }
        ));
        assert!(matches!(
            read("close"),
            Event::PullRequestEnded {
                merged: false,
                rejected: true,
                ..
            }
        ));
        assert_eq!(read("update"), ignored("merge_request"));
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
