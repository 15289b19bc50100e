//! Each forge's own words, against a server that answers as its documentation says and keeps what it was asked.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::*;

mod people;
mod review;

/// One answer: method, path with query, status, body.
type Line = (&'static str, &'static str, u16, Value);

#[derive(Clone, Default)]
struct Script {
    lines: Vec<Line>,
    /// Answers to the second and later askings of the same.
    later: Vec<Line>,
    asked: Arc<Mutex<Vec<(String, HeaderMap, Value)>>>,
}

impl Script {
    fn asked(&self) -> Vec<(String, HeaderMap, Value)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn body(&self, what: &str) -> Value {
        let asked = self.asked();
        let found = asked.iter().find(|(line, ..)| line == what);
        found
            .map(|(_, _, body)| body.clone())
            .unwrap_or_else(|| panic!("`{what}` was not asked: {asked:#?}"))
    }

    fn times(&self, what: &str) -> usize {
        self.asked().iter().filter(|(line, ..)| line == what).count()
    }
}

async fn answer(State(script): State<Script>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let line = format!("{method} {path}");
    let before = script.times(&line);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    script
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((line, headers, body));
    let fits = |(known, place, ..): &&Line| *known == method.as_str() && *place == path;
    let later = (before > 0).then(|| script.later.iter().find(fits)).flatten();
    match later.or_else(|| script.lines.iter().find(fits)) {
        Some((_, _, 302, place)) => {
            let place = place.as_str().unwrap_or_default().to_owned();
            (StatusCode::FOUND, [("location", place)]).into_response()
        }
        Some((_, _, 403, body)) => {
            (StatusCode::FORBIDDEN, [("retry-after", "60")], axum::Json(body.clone())).into_response()
        }
        Some((_, _, _, Value::String(text))) => text.clone().into_response(),
        Some((_, _, status, body)) => {
            let status = StatusCode::from_u16(*status).expect("a status");
            (status, axum::Json(body.clone())).into_response()
        }
        None => (StatusCode::NOT_FOUND, axum::Json(json!({"message": "Not Found"}))).into_response(),
    }
}

/// Serves a script and gives the forges that know it as source `s`.
async fn serve(provider: &str, script: &Script) -> Forges {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "t0ken\n").expect("written");
    serve_as(provider, script, &format!("token_file = \"{}\"", token.display())).await
}

/// The same, with this line of the file for what lets us in.
async fn serve_as(provider: &str, script: &Script, credential: &str) -> Forges {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let router = Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    load(&format!(
        "[[source]]\nid = \"s\"\nprovider = \"{provider}\"\nurl = \"http://{address}\"\n{credential}\nsecret = \"long enough\"\n"
    ))
    .expect("a source")
}

fn load(text: &str) -> Result<Forges, ForgesError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("forges.toml");
    std::fs::write(&file, text).expect("written");
    Forges::load(&file, &crate::secrets::Sources::default())
}

fn files() -> Vec<(String, String)> {
    vec![
        ("app.py".to_owned(), "print(1)\n".to_owned()),
        ("run.sh".to_owned(), "true\n".to_owned()),
    ]
}

fn wanted<'a>(files: &'a [(String, String)], executable: &'a [String]) -> PullRequest<'a> {
    PullRequest {
        repository: "org/repo",
        commit: "c0ffee",
        base: "main",
        branch: "patchbot/lint/f",
        title: "fix(lint): ruff",
        body: "the proof",
        files,
        executable,
    }
}

fn github() -> Script {
    let pull = json!({"html_url": "https://github.com/org/repo/pull/7", "number": 7,
        "head": {"ref": "patchbot/lint/f", "sha": "b00b1e"}});
    Script {
        lines: vec![
            (
                "GET",
                "/repos/org/repo/branches/main",
                200,
                json!({"commit": {"sha": "c0ffee"}}),
            ),
            (
                "GET",
                "/repos/org/repo/pulls?state=open&head=org%3Apatchbot%2Flint%2Ff",
                200,
                json!([]),
            ),
            (
                "GET",
                "/repos/org/repo/git/commits/c0ffee",
                200,
                json!({"tree": {"sha": "7ree"}}),
            ),
            ("POST", "/repos/org/repo/git/blobs", 201, json!({"sha": "b10b"})),
            ("POST", "/repos/org/repo/git/trees", 201, json!({"sha": "2222"})),
            ("POST", "/repos/org/repo/git/commits", 201, json!({"sha": "b00b1e"})),
            ("POST", "/repos/org/repo/git/refs", 201, json!({})),
            ("POST", "/repos/org/repo/pulls", 201, pull.clone()),
        ],
        later: vec![(
            "GET",
            "/repos/org/repo/pulls?state=open&head=org%3Apatchbot%2Flint%2Ff",
            200,
            json!([pull]),
        )],
        ..Script::default()
    }
}

#[tokio::test]
async fn on_github_a_commit_is_built_from_blobs_and_a_draft_is_opened_once() {
    let script = github();
    let forges = serve("github", &script).await;
    let (files, executable) = (files(), ["run.sh".to_owned()]);
    let wanted = wanted(&files, &executable);
    let opened = forges.open("s", &wanted).await.expect("opened");
    assert_eq!((opened.number, opened.head.as_deref()), (7, Some("b00b1e")));
    let tree = script.body("POST /repos/org/repo/git/trees");
    assert_eq!(
        (&tree["base_tree"], &tree["tree"][0]["mode"], &tree["tree"][1]["mode"]),
        (&json!("7ree"), &json!("100644"), &json!("100755"))
    );
    assert_eq!(
        script.body("POST /repos/org/repo/git/commits")["parents"],
        json!(["c0ffee"])
    );
    assert_eq!(
        script.body("POST /repos/org/repo/git/refs")["ref"],
        "refs/heads/patchbot/lint/f"
    );
    assert_eq!(script.body("POST /repos/org/repo/pulls")["draft"], true);
    let (_, headers, _) = script.asked().swap_remove(0);
    assert_eq!(headers["authorization"], "Bearer t0ken");

    assert_eq!(forges.open("s", &wanted).await.expect("it is open"), opened);
    assert_eq!(script.times("POST /repos/org/repo/pulls"), 1, "opened twice");
}

#[tokio::test]
async fn a_crash_between_branch_and_pull_request_ends_in_one_of_each() {
    let mut script = github();
    // The branch was made before the crash, and the pull request in the moment of the second try.
    script
        .lines
        .push(("GET", "/repos/org/repo/git/ref/heads/patchbot/lint/f", 200, json!({})));
    script
        .lines
        .retain(|(method, path, ..)| (*method, *path) != ("POST", "/repos/org/repo/pulls"));
    script.lines.push((
        "POST",
        "/repos/org/repo/pulls",
        422,
        json!({"message": "Validation Failed", "errors": [{"message": "A pull request already exists for org:patchbot/lint/f."}]}),
    ));
    let forges = serve("github", &script).await;
    let files = files();
    let opened = forges
        .open("s", &wanted(&files, &[]))
        .await
        .expect("the open one is found");
    assert_eq!(opened.number, 7);
    assert_eq!(script.times("POST /repos/org/repo/git/commits"), 0, "committed twice");
}

#[tokio::test]
async fn limits_pass_and_permissions_do_not_and_a_moved_branch_is_told() {
    let mut script = github();
    script.lines[0] = (
        "GET",
        "/repos/org/repo/branches/main",
        403,
        json!({"message": "secondary rate limit"}),
    );
    let forges = serve("github", &script).await;
    let files = files();
    let error = forges.open("s", &wanted(&files, &[])).await.expect_err("a limit");
    assert_eq!((error.code, error.may_pass), ("host_rate_limited", true));
    let mut script = github();
    script.lines[0] = (
        "GET",
        "/repos/org/repo/branches/main",
        401,
        json!({"message": "Bad credentials"}),
    );
    let forges = serve("github", &script).await;
    let error = forges.open("s", &wanted(&files, &[])).await.expect_err("no permission");
    assert_eq!((error.code, error.may_pass), ("permission_missing", false));
    let mut script = github();
    script.lines[0] = (
        "GET",
        "/repos/org/repo/branches/main",
        200,
        json!({"commit": {"sha": "d1ff"}}),
    );
    let forges = serve("github", &script).await;
    let error = forges.open("s", &wanted(&files, &[])).await.expect_err("it moved");
    assert_eq!(error.code, "base_moved");
}

#[tokio::test]
async fn a_log_that_is_kept_elsewhere_is_fetched_without_the_credential() {
    let elsewhere = Script {
        lines: vec![("GET", "/signed?sig=1", 200, json!("a.py:1:8: F401"))],
        ..Script::default()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let router = Router::new().fallback(answer).with_state(elsewhere.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let place = format!("http://{address}/signed?sig=1");
    let script = Script {
        lines: vec![
            (
                "GET",
                "/repos/org/repo/actions/jobs/456/logs",
                302,
                json!(place.clone()),
            ),
            ("GET", "/repos/org/repo/actions/runs/123/logs", 302, json!(place)),
        ],
        ..Script::default()
    };
    let forges = serve("github", &script).await;
    for page in ["actions/runs/123/job/456", "actions/runs/123"] {
        let url = format!("https://github.com/org/repo/{page}");
        let log = forges.log("s", "org/repo", &url).await.expect("a log");
        assert_eq!(log, b"a.py:1:8: F401");
    }
    assert!(
        elsewhere
            .asked()
            .iter()
            .all(|(_, headers, _)| !headers.contains_key("authorization"))
    );
}

fn gitlab() -> Script {
    let request = json!({"web_url": "https://gitlab.com/org/repo/-/merge_requests/3", "iid": 3, "sha": "b00b1e"});
    Script {
        lines: vec![
            (
                "GET",
                "/api/v4/projects/org%2Frepo/repository/branches/main",
                200,
                json!({"commit": {"id": "c0ffee"}}),
            ),
            (
                "GET",
                "/api/v4/projects/org%2Frepo/merge_requests?state=opened&source_branch=patchbot%2Flint%2Ff",
                200,
                json!([]),
            ),
            (
                "POST",
                "/api/v4/projects/org%2Frepo/repository/commits",
                201,
                json!({"id": "b00b1e"}),
            ),
            (
                "POST",
                "/api/v4/projects/org%2Frepo/merge_requests",
                201,
                request.clone(),
            ),
            ("GET", "/api/v4/projects/org%2Frepo/jobs/77/trace", 200, json!("trace")),
        ],
        later: vec![(
            "GET",
            "/api/v4/projects/org%2Frepo/merge_requests?state=opened&source_branch=patchbot%2Flint%2Ff",
            200,
            json!([request]),
        )],
        ..Script::default()
    }
}

#[tokio::test]
async fn on_gitlab_one_commit_holds_all_files_and_a_draft_is_opened_once() {
    let script = gitlab();
    let forges = serve("gitlab", &script).await;
    let files = files();
    let wanted = wanted(&files, &[]);
    let opened = forges.open("s", &wanted).await.expect("opened");
    assert_eq!((opened.number, opened.head.as_deref()), (3, Some("b00b1e")));
    let commit = script.body("POST /api/v4/projects/org%2Frepo/repository/commits");
    assert_eq!(
        (
            &commit["start_sha"],
            &commit["branch"],
            commit["actions"].as_array().map(Vec::len)
        ),
        (&json!("c0ffee"), &json!("patchbot/lint/f"), Some(2))
    );
    let request = script.body("POST /api/v4/projects/org%2Frepo/merge_requests");
    assert_eq!(request["title"], "Draft: fix(lint): ruff");
    assert_eq!(script.asked()[0].1["private-token"], "t0ken");
    assert_eq!(forges.open("s", &wanted).await.expect("it is open"), opened);
    assert_eq!(script.times("POST /api/v4/projects/org%2Frepo/merge_requests"), 1);
    let log = forges
        .log("s", "org/repo", "https://gitlab.com/org/repo/-/jobs/77")
        .await;
    assert_eq!(log.expect("a log"), b"trace");
}

#[tokio::test]
async fn runs_that_no_webhook_told_of_are_listed_with_what_a_webhook_would_say() {
    let run = json!({"id": 9, "run_attempt": 2, "head_sha": "c0ffee", "name": "CI", "head_branch": "main",
        "html_url": "https://github.com/org/repo/actions/runs/9", "repository": {"default_branch": "main"},
        "head_repository": {"full_name": "fork/repo"}});
    let script = Script {
        lines: vec![
            (
                "GET",
                "/user/repos?sort=pushed&per_page=50",
                200,
                json!([{"full_name": "org/repo"}]),
            ),
            (
                "GET",
                "/repos/org/repo/actions/runs?status=failure&created=%3E%3D2026-12-01T00%3A00%3A00Z&per_page=100",
                200,
                json!({"workflow_runs": [run]}),
            ),
        ],
        ..Script::default()
    };
    let forges = serve("github", &script).await;
    assert_eq!(forges.repositories("s").await.expect("listed"), ["org/repo"]);
    let found = forges
        .failed("s", "org/repo", "2026-12-01T00:00:00Z")
        .await
        .expect("listed");
    let (delivery, failed) = &found[0];
    assert_eq!(
        (found.len(), delivery.as_str(), failed.check.as_str(), failed.from_fork),
        (1, "recon:9:2", "CI", true)
    );
}

/// An App signs for a token of the installation, and uses it until it is old.
#[tokio::test]
async fn a_github_app_comes_with_a_token_of_each_owner_s_installation() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let folder = tempfile::tempdir().expect("a folder");
    let pem = folder.path().join("app.pem");
    std::fs::write(&pem, key.serialize_pem()).expect("written");
    let mut script = github();
    script.lines.extend([
        ("GET", "/repos/org/repo/installation", 200, json!({"id": 77})),
        (
            "POST",
            "/app/installations/77/access_tokens",
            201,
            json!({"token": "ghs_installation", "expires_at": "2026-12-01T01:00:00Z"}),
        ),
        (
            "GET",
            "/app/installations?per_page=100",
            200,
            json!([{"id": 77, "account": {"login": "org"}}]),
        ),
        (
            "GET",
            "/installation/repositories?per_page=100",
            200,
            json!({"repositories": [{"full_name": "org/repo"}]}),
        ),
    ]);
    let forges = serve_as(
        "github",
        &script,
        &format!("app = {{ id = \"4711\", key = \"file:{}\" }}", pem.display()),
    )
    .await;
    let files = files();
    let opened = forges.open("s", &wanted(&files, &[])).await.expect("opened");
    assert_eq!(opened.number, 7);
    assert_eq!(forges.repositories("s").await.expect("listed"), ["org/repo"]);
    assert_eq!(
        script.times("POST /app/installations/77/access_tokens"),
        1,
        "a token is used until it is old"
    );

    let asked = script.asked();
    let shown = |line: &str| {
        let (_, headers, _) = asked.iter().find(|(known, ..)| known == line).expect("asked");
        headers["authorization"].to_str().expect("text").to_owned()
    };
    assert_eq!(shown("POST /repos/org/repo/pulls"), "Bearer ghs_installation");
    let claim = shown("POST /app/installations/77/access_tokens").replace("Bearer ", "");
    let public = jsonwebtoken::DecodingKey::from_rsa_der(key.public_key_raw());
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    rules.set_required_spec_claims(&["exp", "iss"]);
    rules.set_issuer(&["4711"]);
    let claim = jsonwebtoken::decode::<Value>(&claim, &public, &rules)
        .expect("signed by the App")
        .claims;
    let life = claim["exp"]
        .as_u64()
        .zip(claim["iat"].as_u64())
        .map(|(exp, iat)| exp - iat);
    assert!(
        life.is_some_and(|life| life <= 600),
        "GitHub takes ten minutes: {claim}"
    );
}

#[test]
fn a_source_names_one_way_in_and_an_app_only_at_github() {
    let source = |provider: &str, credential: &str| {
        let text = format!(
            "[[source]]\nid = \"s\"\nprovider = \"{provider}\"\nurl = \"http://x\"\nsecret = \"long enough\"\n{credential}\n"
        );
        load(&text).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(source("gitea", "token = \"t\""), Ok(()));
    for (provider, credential, why) in [
        ("github", "", "one of them"),
        (
            "github",
            "token = \"t\"\napp = { id = \"1\", key = \"k\" }",
            "one of them",
        ),
        ("gitea", "app = { id = \"1\", key = \"k\" }", "only github has"),
        ("github", "app = { id = \"1\", key = \"no key\" }", "no RSA key in PEM"),
    ] {
        let refused = source(provider, credential).expect_err(credential);
        assert!(refused.contains(why), "{refused}");
    }
}
