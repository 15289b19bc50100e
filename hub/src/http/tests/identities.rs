//! What people decide about who a node is, and the tokens by which machines come.

use super::*;

fn reason(text: &str) -> String {
    format!("{{\"reason\":\"{text}\"}}")
}

#[tokio::test]
async fn a_node_is_denied_allowed_renamed_and_removed_and_each_is_in_the_journal() {
    let hub = TestHub::start().await;
    let name = AgentId::new("edge-03").expect("valid");
    hub.enrol(&name, "lab").await;
    let post =
        async |verb: &str, body: &str, status| hub.admin("POST", &format!("/api/v1/nodes/{verb}"), body, status).await;
    let view = post("edge-03/deny", &reason("stolen"), 200).await;
    assert_eq!((&view["state"], &view["reason"]), (&"denied".into(), &"stolen".into()));
    let node = hub.admin("GET", "/api/v1/nodes/edge-03", "", 200).await;
    assert_eq!(
        (&node["shut_out"], &node["quarantined"]),
        (&"denied: stolen".into(), &serde_json::Value::Null)
    );
    assert_eq!(post("edge-03/allow", &reason("found"), 200).await["state"], "open");
    let problem = post("edge-03/deny", &reason(" "), 400).await;
    assert_eq!(problem["errors"][0]["pointer"], "/reason");
    post("edge-09/deny", &reason("x"), 404).await;
    let renamed = post("edge-03/rename", "{\"to\":\"rack-7\",\"reason\":\"moved\"}", 200).await;
    assert_eq!(renamed["renamed_to"], "rack-7");
    assert_eq!(
        post("rack-7/remove", &reason("scrapped"), 200).await["state"],
        "removed"
    );
    let nodes = hub.admin("GET", "/api/v1/nodes/rack-7", "", 404).await;
    assert_eq!(nodes["code"], "not_found");
    let audits = hub.admin("GET", "/api/v1/audits?limit=20", "", 200).await;
    let verbs: Vec<&str> = audits["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["verb"].as_str())
        .filter(|verb| verb.starts_with("node."))
        .collect();
    assert_eq!(
        verbs,
        ["node.remove", "node.rename", "node.allow", "node.deny", "node.enrol"]
    );
}

#[tokio::test]
async fn tokens_are_listed_without_the_secret_and_revoked_by_their_id() {
    let hub = TestHub::start().await;
    let body = "{\"name\":\"edge-05\",\"site\":\"lab\",\"label\":\"rack 7\"}";
    let made = hub.admin("POST", "/api/v1/tokens", body, 200).await;
    let secret = made["token"].as_str().expect("shown once").to_owned();
    let list = hub.admin("GET", "/api/v1/tokens", "", 200).await;
    assert!(!list.to_string().contains(&secret[4..]), "{list}");
    let row = &list["items"][0];
    assert_eq!(
        (&row["label"], &row["state"], &row["uses_left"], &row["name"]),
        (&"rack 7".into(), &"open".into(), &1.into(), &"edge-05".into())
    );
    let id = row["id"].as_str().expect("an id");
    assert_eq!(id.len(), 16);
    hub.admin("DELETE", &format!("/api/v1/tokens/{id}"), "", 200).await;
    hub.admin("DELETE", &format!("/api/v1/tokens/{id}"), "", 409).await;
    let list = hub.admin("GET", "/api/v1/tokens", "", 200).await;
    assert_eq!(list["items"], serde_json::json!([]));
    let long = format!("{{\"label\":\"{}\"}}", "x".repeat(201));
    let problem = hub.admin("POST", "/api/v1/tokens", &long, 400).await;
    assert_eq!(problem["errors"][0]["pointer"], "/label");
}

#[tokio::test]
async fn a_token_for_another_machine_needs_a_node_that_is_there() {
    let hub = TestHub::start().await;
    let body = reason("new disk");
    hub.admin("POST", "/api/v1/nodes/edge-03/rejoin", &body, 409).await;
    let name = AgentId::new("edge-03").expect("valid");
    hub.enrol(&name, "lab").await;
    let made = hub.admin("POST", "/api/v1/nodes/edge-03/rejoin", &body, 200).await;
    assert!(
        made["join_line"]
            .as_str()
            .is_some_and(|line| line.contains("--token sjt_"))
    );
    let list = hub.admin("GET", "/api/v1/tokens", "", 200).await;
    assert_eq!(list["items"][0]["takes_over"], true);
    assert_eq!(list["items"][0]["site"], "lab");
}
