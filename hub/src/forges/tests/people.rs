//! Labels and reviewers, in each forge's words.

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn gitea_s_missing_label_is_made_and_people_and_teams_are_asked() {
    let script = Script {
        lines: vec![
            (
                "GET",
                "/api/v1/repos/org/repo/labels?limit=50",
                200,
                json!([{"id": 7, "name": "bot"}]),
            ),
            (
                "POST",
                "/api/v1/repos/org/repo/labels",
                201,
                json!({"id": 8, "name": "new"}),
            ),
            ("POST", "/api/v1/repos/org/repo/issues/3/labels", 200, json!([])),
            (
                "POST",
                "/api/v1/repos/org/repo/pulls/3/requested_reviewers",
                201,
                json!([]),
            ),
        ],
        ..Script::default()
    };
    let forges = serve("gitea", &script).await;
    forges.label("s", "org/repo", 3, &names(&["bot", "new"])).await;
    forges.invite("s", "org/repo", 3, &names(&["ada", "org/team"])).await;
    assert_eq!(script.body("POST /api/v1/repos/org/repo/labels")["name"], "new");
    assert_eq!(
        script.body("POST /api/v1/repos/org/repo/issues/3/labels"),
        json!({"labels": [7, 8]})
    );
    assert_eq!(
        script.body("POST /api/v1/repos/org/repo/pulls/3/requested_reviewers"),
        json!({"reviewers": ["ada"], "team_reviewers": ["team"]})
    );
}

#[tokio::test]
async fn github_makes_labels_itself_and_gitlab_wants_numbers_of_people() {
    let script = Script {
        lines: vec![("POST", "/repos/org/repo/issues/3/labels", 200, json!([]))],
        ..Script::default()
    };
    let forges = serve("github", &script).await;
    forges.label("s", "org/repo", 3, &names(&["bot"])).await;
    assert_eq!(
        script.body("POST /repos/org/repo/issues/3/labels"),
        json!({"labels": ["bot"]})
    );

    let request = "/api/v4/projects/org%2Frepo/merge_requests/3";
    let script = Script {
        lines: vec![
            ("PUT", request, 200, json!({})),
            ("GET", "/api/v4/users?username=ada", 200, json!([{"id": 42}])),
        ],
        ..Script::default()
    };
    let forges = serve("gitlab", &script).await;
    forges.invite("s", "org/repo", 3, &names(&["ada"])).await;
    assert_eq!(script.body(&format!("PUT {request}")), json!({"reviewer_ids": [42]}));
}

/// Nothing is asked where nothing is wished, and a forge that does not take it changes nothing.
#[tokio::test]
async fn what_nobody_wished_is_not_asked_and_a_refusal_is_no_failure() {
    let script = Script::default();
    let forges = serve("gitea", &script).await;
    forges.label("s", "org/repo", 3, &[]).await;
    forges.invite("s", "org/repo", 3, &[]).await;
    assert!(script.asked().is_empty());
    forges.invite("s", "org/repo", 3, &names(&["nobody"])).await;
    assert_eq!(
        script.times("POST /api/v1/repos/org/repo/pulls/3/requested_reviewers"),
        1
    );
}

/// A forge that is busy is asked again for a log; one that has none is not.
#[tokio::test]
async fn a_log_of_a_forge_that_is_busy_may_come_later() {
    for (status, may_pass) in [(503, true), (429, true), (404, false)] {
        let script = Script {
            lines: vec![("GET", "/log", status, json!({}))],
            ..Script::default()
        };
        let forges = serve("gitea", &script).await;
        let url = format!("{}/log", forges.source("s").expect("it is there").url);
        let error = forges.log("s", "org/repo", &url).await.expect_err("no log");
        assert_eq!(error.may_pass, may_pass, "{status}: {error}");
    }
}
