//! What `/metrics` says after things happened, and whom it tells.

use super::*;
use wire::ActionKind;
use wire::DeviceId;

async fn scrape(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> Answered {
    let answer = hub.ask("GET", path, headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// The value of one row, by the whole text before it.
fn value(text: &str, row: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(row)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test]
async fn a_stored_decision_is_counted_by_its_verdict() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let origin = Origin::Rule {
        rule: "hot-gpu".to_owned(),
    };
    let wanted = Action {
        target: DeviceId::node(),
        kind: ActionKind::Restart,
    };
    let decision = agent.decide(origin, wanted);
    let verdict = decision.judgement.verdict.name();
    let entry = agent.entry(EntryBody::Decided(Box::new(decision)));
    agent.send(&mut hub, vec![entry]).await;

    let answer = scrape(&hub, "/metrics", &[]).await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text();
    let decided = format!("sentinel_hub_decisions_total{{verdict=\"{verdict}\",mode=\"disconnected\"}}");
    for (row, expected) in [
        (decided.as_str(), 1.0),
        ("sentinel_hub_entries_stored_total{journal=\"nodes\"}", 1.0),
        ("sentinel_hub_nodes{state=\"connected\"}", 1.0),
        ("sentinel_hub_nodes{state=\"down\"}", 0.0),
        ("sentinel_hub_sessions", 1.0),
        ("sentinel_policy_generation", 1.0),
        ("sentinel_hub_store_trouble", 0.0),
        (
            "http_requests_total{method=\"POST\",endpoint=\"/api/v1/policies\",status=\"200\"}",
            1.0,
        ),
        (
            "http_request_duration_seconds_count{method=\"POST\",endpoint=\"/api/v1/policies\"}",
            1.0,
        ),
    ] {
        assert_eq!(value(&text, row), Some(expected), "{row} in\n{text}");
    }
    assert!(value(&text, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
    assert!(!text.contains("edge-03"), "the open page names nobody");
    hub.stop().await;
}

#[tokio::test]
async fn a_scraper_that_reads_openmetrics_gets_it() {
    let hub = TestHub::start().await;
    let answer = scrape(
        &hub,
        "/metrics",
        &[("accept", "application/openmetrics-text; version=1.0.0")],
    )
    .await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(answer.text().ends_with("# EOF\n"));
    hub.stop().await;
}

#[tokio::test]
async fn nobody_can_add_rows_by_inventing_paths_or_methods() {
    let hub = TestHub::start().await;
    for number in 0..5 {
        hub.ask(&format!("M{number}"), &format!("/nowhere/{number}"), &[], "")
            .await;
    }
    let text = scrape(&hub, "/metrics", &[]).await.text();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("http_requests_total"))
        .collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(
        rows[0].contains("method=\"OTHER\",endpoint=\"other\"") && rows[0].ends_with(" 5"),
        "{rows:?}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn values_of_nodes_are_behind_the_door() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let bearer = format!("Bearer {TOKEN}");
    let text = scrape(&hub, "/api/v1/metrics", &[("authorization", &bearer)])
        .await
        .text();
    let row = "sentinel_node_state{node=\"edge-03\",site=\"lab\",state=\"connected\"}";
    assert_eq!(value(&text, row), Some(1.0), "{text}");
    hub.stop().await;
}
