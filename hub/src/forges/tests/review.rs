//! What comes after the opening: checks, drafts, merges, the owner's file, orders and another run, in each forge's own words.

use hub_core::tasks::review::Checks;
use hub_core::tasks::wishes::Wishes;

use super::*;
use crate::forges::review::{Looked, Merging, Person, Stands};

fn pull_of_github(merged: bool) -> Value {
    json!({"number": 7, "state": if merged { "closed" } else { "open" }, "merged": merged, "draft": true, "title": "fix(lint): ruff",
        "node_id": "PR_7", "merge_commit_sha": "3d4e5f", "head": {"sha": "b00b1e", "ref": "patchbot/lint/f"}})
}

#[tokio::test]
async fn on_github_green_means_statuses_and_check_runs_and_a_draft_is_made_ready_and_merged_at_its_head() {
    let runs = |runs: Value| {
        (
            "GET",
            "/repos/org/repo/commits/b00b1e/check-runs?per_page=100",
            200,
            json!({"check_runs": runs}),
        )
    };
    let run = |status: &str, conclusion: &str| json!({"status": status, "conclusion": conclusion});
    let script = |statuses: Value, found: Value| Script {
        lines: vec![
            ("GET", "/repos/org/repo/pulls/7", 200, pull_of_github(false)),
            (
                "GET",
                "/repos/org/repo/commits/b00b1e/status",
                200,
                json!({"statuses": statuses}),
            ),
            runs(found),
            ("POST", "/graphql", 200, json!({"data": {}})),
            (
                "PUT",
                "/repos/org/repo/pulls/7/merge",
                200,
                json!({"sha": "3d4e5f", "merged": true}),
            ),
        ],
        ..Script::default()
    };
    let green = run("completed", "success");
    for (statuses, found, expected) in [
        (json!([]), json!([]), Checks::Unknown),
        (json!([]), json!([green]), Checks::Green),
        (json!([{"state": "pending"}]), json!([green]), Checks::Pending),
        (
            json!([{"state": "success"}]),
            json!([green, run("in_progress", "")]),
            Checks::Pending,
        ),
        (json!([{"state": "failure"}]), json!([run("queued", "")]), Checks::Red),
        (json!([]), json!([green, run("completed", "timed_out")]), Checks::Red),
    ] {
        let forges = serve("github", &script(statuses, found)).await;
        assert_eq!(
            forges.look("s", "org/repo", 7).await.expect("it is there").checks,
            expected
        );
    }
    let script = script(json!([]), json!([green]));
    let forges = serve("github", &script).await;
    let looked = forges.look("s", "org/repo", 7).await.expect("it is there");
    assert_eq!(
        (&looked.stands, looked.is_draft, looked.head.as_str()),
        (&Stands::Open, true, "b00b1e")
    );
    forges.ready("s", "org/repo", 7, &looked).await.expect("ready");
    assert_eq!(script.body("POST /graphql")["variables"]["id"], "PR_7");
    let merging = forges.merge("s", "org/repo", 7, "b00b1e").await.expect("answered");
    assert_eq!(merging, Merging::Merged(Some("3d4e5f".to_owned())));
    assert_eq!(script.body("PUT /repos/org/repo/pulls/7/merge")["sha"], "b00b1e");
}

#[tokio::test]
async fn what_graphql_refuses_with_200_is_refused_and_a_merge_that_is_not_wanted_is_told() {
    let script = Script {
        lines: vec![
            (
                "POST",
                "/graphql",
                200,
                json!({"errors": [{"message": "Resource not accessible"}]}),
            ),
            (
                "PUT",
                "/repos/org/repo/pulls/7/merge",
                409,
                json!({"message": "Head branch was modified. Review and try the merge again."}),
            ),
            (
                "PUT",
                "/repos/org/repo/pulls/8/merge",
                405,
                json!({"message": "Required status check is expected"}),
            ),
        ],
        ..Script::default()
    };
    let forges = serve("github", &script).await;
    let looked = Looked {
        stands: Stands::Open,
        head: "b00b1e".to_owned(),
        is_draft: true,
        title: String::new(),
        node: "PR_7".to_owned(),
        checks: Checks::Green,
    };
    let error = forges.ready("s", "org/repo", 7, &looked).await.expect_err("refused");
    assert!(error.reason.contains("Resource not accessible"), "{error}");
    for number in [7, 8] {
        let merging = forges.merge("s", "org/repo", number, "b00b1e").await.expect("answered");
        assert!(matches!(merging, Merging::Refused(_)), "{merging:?}");
    }
}

#[tokio::test]
async fn the_owner_s_file_is_that_of_the_default_branch_and_a_forge_that_does_not_tell_is_no_permission() {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "enabled = false\n");
    let broken = format!("{}\n{}\n", &text[..8], &text[8..]);
    let script = Script {
        lines: vec![
            (
                "GET",
                "/repos/org/repo/contents/.patchbot.toml",
                200,
                json!({"content": broken, "encoding": "base64"}),
            ),
            ("GET", "/repos/org/odd/contents/.patchbot.toml", 200, json!([])),
        ],
        ..Script::default()
    };
    let forges = serve("github", &script).await;
    let wishes = forges.wishes("s", "org/repo").await.expect("a file");
    assert_eq!(
        wishes.objects_to(Some("main"), false).map(|(code, _)| code),
        Some("repo_disabled")
    );
    assert_eq!(
        forges.wishes("s", "org/none").await.expect("no file"),
        Wishes::default()
    );
    assert!(forges.wishes("s", "org/odd").await.is_err());
}

#[tokio::test]
async fn only_who_may_write_may_order_whatever_they_are_called() {
    let of = |login: &str, permission: &str| {
        let path: &'static str = format!("/repos/org/repo/collaborators/{login}/permission").leak();
        ("GET", path, 200, json!({"permission": permission}))
    };
    let script = Script {
        lines: vec![
            of("ada", "write"),
            of("eve", "read"),
            of("root", "admin"),
            of("renovate%5Bbot%5D", "none"),
        ],
        ..Script::default()
    };
    let forges = serve("gitea", &script_of_gitea(script)).await;
    for (login, expected) in [
        ("ada", true),
        ("eve", false),
        ("root", true),
        ("renovate[bot]", false),
        ("nobody", false),
    ] {
        let who = Person {
            login: login.to_owned(),
            id: 1,
        };
        assert_eq!(
            forges.may_write("s", "org/repo", &who).await.expect("answered"),
            expected,
            "{login}"
        );
    }
}

/// The same lines, below Gitea's root.
fn script_of_gitea(script: Script) -> Script {
    let below =
        |(method, path, status, body): Line| -> Line { (method, format!("/api/v1{path}").leak(), status, body) };
    Script {
        lines: script.lines.into_iter().map(below).collect(),
        ..Script::default()
    }
}

#[tokio::test]
async fn on_gitlab_a_title_makes_the_draft_and_the_pipeline_is_the_check() {
    let request = |state: &str, pipeline: &str| {
        json!({"iid": 3, "state": state, "sha": "b00b1e", "draft": true, "title": "Draft: fix(lint): ruff", "merge_commit_sha": null,
            "head_pipeline": {"status": pipeline}})
    };
    let script = Script {
        lines: vec![
            (
                "GET",
                "/api/v4/projects/org%2Frepo/merge_requests/3",
                200,
                request("opened", "success"),
            ),
            (
                "GET",
                "/api/v4/projects/org%2Frepo/merge_requests/4",
                200,
                request("opened", "running"),
            ),
            (
                "GET",
                "/api/v4/projects/org%2Frepo/merge_requests/5",
                200,
                request("closed", "failed"),
            ),
            ("PUT", "/api/v4/projects/org%2Frepo/merge_requests/3", 200, json!({})),
            (
                "PUT",
                "/api/v4/projects/org%2Frepo/merge_requests/3/merge",
                200,
                json!({"merge_commit_sha": "3d4e5f"}),
            ),
            (
                "GET",
                "/api/v4/projects/org%2Frepo/members/all/7",
                200,
                json!({"access_level": 30}),
            ),
            (
                "GET",
                "/api/v4/projects/org%2Frepo/members/all/8",
                200,
                json!({"access_level": 20}),
            ),
            (
                "POST",
                "/api/v4/projects/org%2Frepo/merge_requests/3/notes",
                201,
                json!({}),
            ),
        ],
        ..Script::default()
    };
    let forges = serve("gitlab", &script).await;
    let looked = forges.look("s", "org/repo", 3).await.expect("it is there");
    assert_eq!((looked.checks, looked.is_draft), (Checks::Green, true));
    assert_eq!(
        forges.look("s", "org/repo", 4).await.expect("it is there").checks,
        Checks::Pending
    );
    let closed = forges.look("s", "org/repo", 5).await.expect("it is there");
    assert_eq!((closed.stands, closed.checks), (Stands::Closed, Checks::Red));
    forges.ready("s", "org/repo", 3, &looked).await.expect("ready");
    assert_eq!(
        script.body("PUT /api/v4/projects/org%2Frepo/merge_requests/3")["title"],
        "fix(lint): ruff"
    );
    let merging = forges.merge("s", "org/repo", 3, "b00b1e").await.expect("answered");
    assert_eq!(merging, Merging::Merged(Some("3d4e5f".to_owned())));
    for (id, expected) in [(7, true), (8, false), (9, false)] {
        let who = Person {
            login: "ada".to_owned(),
            id,
        };
        assert_eq!(
            forges.may_write("s", "org/repo", &who).await.expect("answered"),
            expected
        );
    }
    forges.comment("s", "org/repo", 3, "hello").await.expect("written");
}

#[tokio::test]
async fn failed_jobs_run_again_where_the_forge_can_be_asked() {
    let script = Script {
        lines: vec![
            (
                "POST",
                "/repos/org/repo/actions/runs/9/rerun-failed-jobs",
                201,
                json!({}),
            ),
            ("POST", "/api/v4/projects/org%2Frepo/jobs/77/retry", 201, json!({})),
        ],
        ..Script::default()
    };
    for (provider, page, expected) in [
        ("github", "https://github.com/org/repo/actions/runs/9/job/4", true),
        ("github", "https://ci.example.org/9", false),
        ("gitlab", "https://gitlab.com/org/repo/-/jobs/77", true),
        ("gitea", "https://git.example.org/org/repo/actions/runs/9", false),
    ] {
        let forges = serve(provider, &script).await;
        assert_eq!(
            forges.rerun("s", "org/repo", page).await.expect("answered"),
            expected,
            "{provider} {page}"
        );
    }
}
