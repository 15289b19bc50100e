//! What a program may rely on: once for each key, nothing overwritten unseen, and errors that lead to their page.

use super::*;

const KEY: (&str, &str) = ("idempotency-key", "\"2f1c9f9e-0b1a-4d53-9a58-3d9c1c9a2f61\"");

async fn ask(hub: &TestHub, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answered {
    let bearer = format!("Bearer {TOKEN}");
    let headers: Vec<(&str, &str)> = [("authorization", bearer.as_str())]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    hub.ask(method, path, &headers, body).await
}

#[tokio::test]
async fn a_request_that_is_sent_twice_with_one_key_is_done_once() {
    let hub = TestHub::start().await;
    let publish = async |key: &str| {
        ask(
            &hub,
            "POST",
            "/api/v1/policies",
            &[("idempotency-key", key)],
            policy::DEMO_BUNDLE,
        )
        .await
    };
    let first = publish("a").await;
    assert_eq!(first.status, 200, "{}", first.text());
    let second = publish("a").await;
    assert_eq!((second.status, &second.bytes), (first.status, &first.bytes));
    assert_eq!(second.header("idempotency-replayed"), "true");
    assert_eq!(first.header("idempotency-replayed"), "");
    let third = publish("b").await;
    assert_ne!(third.bytes, first.bytes, "another key is another request");
    let bundles = hub.admin("GET", "/api/v1/policies", "", 200).await;
    assert_eq!(bundles["items"].as_array().map(Vec::len), Some(2));
    hub.stop().await;
}

#[tokio::test]
async fn a_key_is_for_one_request_and_an_answer_with_a_secret_is_given_once() {
    let hub = TestHub::start().await;
    let create = async |body: &str| ask(&hub, "POST", "/api/v1/users", &[KEY], body).await;
    let ann = "{\"name\":\"ann\",\"role\":\"viewer\"}";
    assert_eq!(create(ann).await.status, 200);
    let again = create(ann).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["code"]),
        (409, &Value::from("already_done"))
    );
    let other = create("{\"name\":\"bob\",\"role\":\"viewer\"}").await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (422, &Value::from("key_reused"))
    );
    let wrong = ask(&hub, "POST", "/api/v1/users", &[("idempotency-key", "a b")], ann).await;
    assert_eq!(wrong.status, 400);
    hub.stop().await;
}

#[tokio::test]
async fn what_was_refused_was_not_done_and_its_key_is_free() {
    let hub = TestHub::start().await;
    let ann = "{\"name\":\"ann\",\"role\":\"viewer\"}";
    hub.admin("POST", "/api/v1/users", ann, 200).await;
    assert_eq!(ask(&hub, "POST", "/api/v1/users", &[KEY], ann).await.status, 409);
    hub.admin("POST", "/api/v1/users", "{\"name\":\"root\",\"role\":\"admin\"}", 200)
        .await;
    hub.admin("DELETE", "/api/v1/users/ann", "", 200).await;
    let now = ask(&hub, "POST", "/api/v1/users", &[KEY], ann).await;
    assert_eq!(now.status, 200, "{}", now.text());
    hub.stop().await;
}

#[tokio::test]
async fn a_change_of_what_somebody_else_changed_is_refused() {
    let hub = TestHub::start().await;
    for name in ["root", "ann"] {
        let body = format!("{{\"name\":\"{name}\",\"role\":\"admin\"}}");
        hub.admin("POST", "/api/v1/users", &body, 200).await;
    }
    let read = ask(&hub, "GET", "/api/v1/users/ann", &[], "").await;
    let tag = read.header("etag").to_owned();
    let change = async |role: &str| {
        let body = format!("{{\"role\":\"{role}\"}}");
        ask(&hub, "PATCH", "/api/v1/users/ann", &[("if-match", &tag)], &body).await
    };
    assert_eq!(change("viewer").await.status, 200);
    let second = change("operator").await;
    assert_eq!(
        (second.status.as_u16(), &second.json()["code"]),
        (412, &Value::from("changed_since"))
    );
    assert_eq!(hub.admin("GET", "/api/v1/users/ann", "", 200).await["role"], "viewer");
    hub.stop().await;
}

#[tokio::test]
async fn the_type_of_a_problem_is_a_page_that_anyone_may_read() {
    let hub = TestHub::start().await;
    let refused = hub.ask("GET", "/api/v1/nodes", &[], "").await;
    assert_eq!(refused.status, 401);
    let kind = refused.json()["type"].as_str().expect("a type").to_owned();
    assert_eq!(kind, "/problems/unauthorized");
    for problem in crate::http::problems::KINDS {
        let page = hub.ask("GET", &format!("/problems/{}", problem.code), &[], "").await;
        assert_eq!(page.status, 200, "{}", problem.code);
        assert!(page.text().contains(problem.code), "{}", problem.code);
    }
    assert_eq!(hub.ask("GET", "/problems/other", &[], "").await.status, 404);
    hub.stop().await;
}

#[tokio::test]
async fn the_api_describes_itself_to_programs_and_to_people() {
    let hub = TestHub::start().await;
    let document = hub.ask("GET", "/api/openapi.json", &[], "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let publish = &document["paths"]["/api/v1/policies"]["post"];
    assert_eq!(publish["x-sentinel-permission"], "policies:write");
    let page = hub.ask("GET", "/docs", &[], "").await;
    assert!(page.text().contains("/api/v1/webhooks/{name}/resend"));
    hub.stop().await;
}
