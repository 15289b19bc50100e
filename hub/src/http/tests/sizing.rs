//! Sizes of builds from an InfraMind 2.1, played by what its own suite demands of it: routes, key, answers, and what it refuses.

use std::sync::Mutex;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::inframind::sizing::Sizing;
use crate::secrets::Sources;

/// An InfraMind, and what it heard.
struct Mind {
    url: String,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

#[derive(Clone)]
struct Inside {
    heard: Arc<Mutex<Vec<(String, Value)>>>,
    /// What it answers to `/optimize`, whatever it is asked.
    says: Value,
}

impl Mind {
    async fn start(says: Value) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let inside = Inside {
            heard: Arc::clone(&heard),
            says,
        };
        let routes = Router::new()
            .route("/runs", post(runs))
            .route("/optimize", post(optimize))
            .with_state(inside);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        // Ends with the test.
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, heard }
    }

    fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().expect("nobody panics with it").clone()
    }
}

/// Without the key it says 403, and 422 where a field is missing.
fn refused(headers: &HeaderMap, body: &Value, fields: &[&str]) -> Option<(StatusCode, Json<Value>)> {
    if headers.get("x-im-token").is_none_or(|token| token != "the-key") {
        return Some((StatusCode::FORBIDDEN, Json(json!({ "detail": "Invalid API key" }))));
    }
    let missing = fields.iter().find(|field| body.get(**field).is_none())?;
    let detail = json!({ "detail": [{ "loc": ["body", missing], "msg": "field required" }] });
    Some((StatusCode::UNPROCESSABLE_ENTITY, Json(detail)))
}

async fn runs(State(inside): State<Inside>, headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    const FIELDS: [&str; 13] = [
        "pipeline",
        "build_number",
        "git_sha",
        "git_branch",
        "start_time",
        "end_time",
        "duration_s",
        "status",
        "tool",
        "concurrency",
        "cpu_req",
        "mem_req_gb",
        "steps",
    ];
    if let Some(refused) = refused(&headers, &body, &FIELDS) {
        return refused;
    }
    let mut heard = inside.heard.lock().expect("nobody panics with it");
    heard.push(("run".to_owned(), body));
    (
        StatusCode::CREATED,
        Json(json!({ "status": "ingested", "run_id": heard.len() })),
    )
}

async fn optimize(
    State(inside): State<Inside>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    if let Some(refused) = refused(&headers, &body, &["pipeline", "run_id", "context"]) {
        return refused;
    }
    inside
        .heard
        .lock()
        .expect("nobody panics with it")
        .push(("optimize".to_owned(), body));
    (StatusCode::OK, Json(inside.says))
}

/// What it answers unless its model was trained, which it never is.
fn smallest() -> Value {
    json!({
        "suggestions": { "concurrency": 2, "cpu_req": 3, "mem_req_gb": 6, "cache": 10 },
        "rationale": "Selected from 20 candidates",
        "confidence": 0.7,
    })
}

async fn hub_with(url: &str, key: &str) -> TestHub {
    let mut hub = TestHub::start().await;
    let file = hub.folder.path().join("sizing.key");
    std::fs::write(&file, format!("{key}\n")).expect("a folder");
    let sizing = Sizing::new(url, &format!("file:{}", file.display()), &Sources::default()).expect("good settings");
    hub.app.sizing = Some(Arc::new(sizing));
    hub.router = router(hub.app.clone());
    hub
}

async fn post_to(hub: &TestHub, path: &str, body: &str) -> Answered {
    let bearer = format!("Bearer {TOKEN}");
    hub.ask("POST", path, &[("authorization", &bearer)], body).await
}

const BUILD: &str =
    r#"{ "pipeline": "acme/shop test", "tool": "cargo", "peak_memory_bytes": 10737418240, "most_concurrency": 1 }"#;

#[tokio::test]
async fn a_build_gets_a_size_within_its_bounds_and_the_journal_tells_of_it() {
    let mind = Mind::start(smallest()).await;
    let hub = hub_with(&mind.url, "the-key").await;
    let answer = post_to(&hub, "/api/v1/sizing", BUILD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let view = answer.json();
    assert_eq!(view["size"], json!({ "concurrency": 1, "cpus": 3, "memory_gib": 12 }));
    assert_eq!((&view["cache_gib"], &view["confidence"]), (&json!(10), &json!(0.7)));
    assert_eq!(view["adjusted"].as_array().map(Vec::len), Some(2), "{view}");
    let [(what, body)] = &mind.heard()[..] else {
        panic!("{:?}", mind.heard());
    };
    assert_eq!(what, "optimize");
    assert_eq!(body["constraints"], json!({ "max_concurrency": 1 }));
    assert_eq!(
        (&body["run_id"], &body["context"]["max_rss_bytes"]),
        (&view["id"], &json!(10_737_418_240_u64))
    );
    let told = hub.admin("GET", "/api/v1/audits?verb=build.size", "", 200).await;
    let row = &told["items"][0];
    assert_eq!(
        row["target"],
        format!("build/{}", view["id"].as_str().expect("an id")),
        "{told}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_run_is_told_and_gets_its_id() {
    let mind = Mind::start(smallest()).await;
    let hub = hub_with(&mind.url, "the-key").await;
    let run = json!({
        "pipeline": "acme/shop test", "number": 7, "commit": "4f1c", "branch": "main", "began": "2026-11-24T12:01:07Z",
        "took_seconds": 90.5, "ok": true, "tool": "cargo", "size": { "concurrency": 4, "cpus": 4, "memory_gib": 8 },
        "steps": [{ "name": "test", "began": "2026-11-24T12:01:07Z", "took_seconds": 90, "exit": 0 }],
    });
    let answer = post_to(&hub, "/api/v1/sizing/runs", &run.to_string()).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::CREATED, json!({ "id": "1" }))
    );
    assert_eq!(mind.heard()[0].1["status"], "success");
    let wrong = post_to(&hub, "/api/v1/sizing/runs", &run.to_string().replace("main", "")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.text());
    assert!(wrong.text().contains("branch"), "{}", wrong.text());
    assert_eq!(mind.heard().len(), 1, "it hears nothing that it would refuse");
    hub.stop().await;
}

#[tokio::test]
async fn whatever_is_wrong_with_it_whoever_asks_hears_what_and_the_hub_goes_on() {
    let huge = "x".repeat(100_000);
    let mind = Mind::start(json!({ "suggestions": huge })).await;
    let hub = hub_with(&mind.url, "the-key").await;
    let check_as = async |hub: &TestHub, status: StatusCode, part: &str| {
        let answer = post_to(hub, "/api/v1/sizing", BUILD).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(part), "`{part}` is missing in {}", answer.text());
    };
    let check = async |hub: &TestHub, part: &str| check_as(hub, StatusCode::SERVICE_UNAVAILABLE, part).await;
    check(&hub, "more than 65536 bytes").await;
    hub.stop().await;

    let mind = Mind::start(json!({ "suggestions": {}, "confidence": "very" })).await;
    let hub = hub_with(&mind.url, "the-key").await;
    check(&hub, "no usable `suggestions.concurrency`: null").await;
    hub.stop().await;

    let hub = hub_with(&mind.url, "another-key").await;
    check(
        &hub,
        "403 to /optimize: the token of `--sizing-token` is not its API key",
    )
    .await;
    hub.stop().await;

    // A port that nobody listens at any more.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gone = format!("http://{}", port.local_addr().expect("an address"));
    drop(port);
    let hub = hub_with(&gone, "the-key").await;
    check(&hub, "no answer to /optimize").await;
    hub.stop().await;

    let hub = TestHub::start().await;
    check_as(
        &hub,
        StatusCode::NOT_FOUND,
        "start the hub with --sizing URL and --sizing-token",
    )
    .await;
    hub.stop().await;
}

#[test]
fn settings_that_cannot_work_say_what_would() {
    let refused = |url: &str, token: &str| {
        Sizing::new(url, token, &Sources::default())
            .expect_err("refused")
            .to_string()
    };
    assert!(refused("ftp://mind", "env:KEY").contains("https://HOST"));
    assert!(refused("http://mind:8081", "s3cret").contains("is not the key: file:/PATH"));
    assert!(refused("http://mind:8081", "file:/nonexistent").contains("/nonexistent"));
}
