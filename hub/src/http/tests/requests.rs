//! Requests that are not valid: each answer names the field, the value and the way out.

use super::*;

async fn check(hub: &TestHub, request: (&str, &str, &str), status: u16, pointer: &str, part: &str) {
    let (method, path, body) = request;
    let problem = hub.admin(method, path, body, status).await;
    assert_eq!(problem["status"], status, "{method} {path}");
    let detail = problem["detail"].as_str().expect("a detail");
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let all = format!("{detail} {errors:?}");
    assert!(all.contains(part), "{method} {path}: `{all}` has no `{part}`");
    if !pointer.is_empty() {
        assert_eq!(errors[0]["pointer"], pointer, "{method} {path}: {errors:?}");
    }
}

#[tokio::test]
async fn requests_that_are_not_valid_are_told_why() {
    let hub = TestHub::start().await;
    let actions = "/api/v1/actions";
    let act = |more: &str| format!("{{\"node\":\"edge-03\",\"device\":\"gpu0\",\"action\":\"power_cap\"{more}}}");
    for (request, status, pointer, part) in [
        (("GET", "/api/v1/nodes/edge-03", ""), 404, "", "no node `edge-03`"),
        (("GET", "/api/v1/nodes/EDGE", ""), 400, "/node", "a-z"),
        (("GET", "/api/v1/decisions/x", ""), 400, "/id", "NODE.EPOCH.SEQ"),
        (("GET", "/api/v1/decisions/edge-03.1.1", ""), 404, "", "edge-03.1.1"),
        (("GET", "/api/v1/decisions?limit=0", ""), 400, "/limit", "1 to 500"),
        (("GET", "/api/v1/decisions?before=x", ""), 400, "/before", "next_cursor"),
        (("GET", "/api/v1/decisions?nod=x", ""), 400, "", "nod"),
        (("GET", "/api/v1/decisions?node=edge-03", ""), 404, "", "no node"),
        (("GET", "/api/v1/entries", ""), 400, "/node", "name the node"),
        (("GET", "/api/v1/series", ""), 400, "/node", "name the node"),
        (("GET", "/api/v1/verify?node=edge-03", ""), 404, "", "no node"),
        (
            ("POST", "/api/v1/break-glass", "{}"),
            400,
            "",
            "not a break-glass token",
        ),
        (("POST", actions, "{"), 400, "", "EOF"),
        (("POST", actions, &act("")), 400, "", "reason"),
        (("POST", actions, &act(",\"reason\":\" \"")), 400, "/reason", "empty"),
        (("POST", actions, &act(",\"reason\":\"r\"")), 400, "/action", "220 W"),
        (
            ("POST", actions, &act(",\"reason\":\"r\",\"wait_seconds\":\"x\"")),
            400,
            "/wait_seconds",
            "f64",
        ),
        (
            ("POST", actions, &act(",\"reason\":\"r\",\"wait_seconds\":999")),
            400,
            "/wait_seconds",
            "999, it must be 0 to 110",
        ),
        (
            ("POST", actions, &act(",\"reason\":\"r\",\"params\":{\"to\":\"220 W\"}")),
            404,
            "",
            "no node",
        ),
        (
            ("POST", actions, &act(",\"reason\":\"r\",\"why\":1")),
            400,
            "/why",
            "why",
        ),
        (
            ("POST", "/api/v1/nodes/edge-03/hold", "{\"reason\":\"r\"}"),
            404,
            "",
            "no node",
        ),
        (
            ("POST", "/api/v1/nodes/edge-03/hold", "{\"reason\":\"\"}"),
            400,
            "/reason",
            "empty",
        ),
        (("POST", "/api/v1/tokens", "{\"name\":\"A\"}"), 400, "/name", "a-z"),
        (("POST", "/api/v1/tokens", "{\"site\":\"A B\"}"), 400, "/site", "A B"),
        (
            ("POST", "/api/v1/tokens", "{\"ttl_seconds\":0.5}"),
            400,
            "/ttl_seconds",
            "1 to 2592000",
        ),
        (("POST", "/api/v1/policies", "rules: 7"), 422, "", "line"),
        (("POST", "/api/v1/policies/simulate", "rules: 7"), 422, "", "line"),
        (
            ("POST", "/api/v1/policies/simulate?since=soon", ""),
            400,
            "/since",
            "7d, 12h, 30m",
        ),
        (("GET", "/api/v1/policies/simulate", ""), 404, "", "method"),
        (("GET", "/api/v1/policies/one", ""), 400, "/generation", "number"),
        (("GET", "/api/v1/policies/7", ""), 404, "", "no policy 7"),
        (
            ("GET", "/api/v1/policies/1/calendar?from=today", ""),
            400,
            "/from",
            "RFC 3339",
        ),
        (
            ("GET", "/api/v1/policies/1/calendar?to=1970-01-01T00:00:00Z", ""),
            400,
            "/to",
            "must lie after",
        ),
        (("POST", "/api/v1/policies/signed", "rules: 7"), 400, "", "not a parcel"),
        (("POST", "/api/v1/policies/roles", "rules: 7"), 400, "", "not a parcel"),
        (("GET", "/api/v1/policies/export", ""), 409, "", "nothing to export"),
        (("DELETE", "/api/v1/policies", ""), 404, "", "method"),
        (("GET", "/api/v1/nothing", ""), 404, "", "no route"),
        (
            ("POST", "/api/v1/policies", &"x".repeat(1_200_000)),
            413,
            "",
            "1088 KiB",
        ),
    ] {
        check(&hub, request, status, pointer, part).await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_with_the_line_to_type() {
    let hub = TestHub::start().await;
    let view = hub
        .admin("POST", "/api/v1/tokens", "{\"name\":\"edge-77\",\"site\":\"lab\"}", 200)
        .await;
    let line = view["join_line"].as_str().expect("a line");
    for word in [view["token"].as_str(), view["ca_pin"].as_str(), Some("hub.test:7443")] {
        assert!(line.contains(word.expect("text")), "{line}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_bundle_is_checked_published_and_listed() {
    let hub = TestHub::start().await;
    let bad = hub.admin("POST", "/api/v1/policies/check", "rules: 7", 200).await;
    assert_eq!(bad["ok"], false);
    assert!(bad["errors"][0]["line"].as_u64().is_some_and(|line| line > 0), "{bad}");
    let good = hub
        .admin("POST", "/api/v1/policies/check", policy::DEMO_BUNDLE, 200)
        .await;
    assert_eq!(good["ok"], true, "{good}");
    assert_eq!(
        hub.admin("GET", "/api/v1/policies", "", 200).await["items"],
        Value::Array(Vec::new())
    );
    let first = hub.publish().await;
    let view = hub
        .admin("POST", "/api/v1/policies", policy::DEMO_STRICT_BUNDLE, 200)
        .await;
    let list = hub.admin("GET", "/api/v1/policies", "", 200).await;
    let items = list["items"].as_array().expect("a list");
    let seen: Vec<_> = items
        .iter()
        .map(|item| (&item["generation"], &item["active"]))
        .collect();
    assert_eq!(
        seen,
        [
            (&view["bundle"]["generation"], &Value::Bool(true)),
            (&first.generation.0.into(), &Value::Bool(false))
        ]
    );
    assert_eq!(items[1]["text"], policy::DEMO_BUNDLE);
    hub.stop().await;
}
