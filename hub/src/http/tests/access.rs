//! People: the first one, an invited one, what each may do, and what is written down of it.

use super::*;
use crate::http::{Need, ROUTES};
use wire::Role;

/// Comes in by a link, as the console does; answers with the cookie.
async fn set_up(hub: &TestHub, code: &str, name: Option<&str>, status: u16) -> String {
    let body = match name {
        Some(name) => format!(r#"{{"code":"{code}","name":"{name}","password":"correct horse"}}"#),
        None => format!(r#"{{"code":"{code}","password":"correct horse"}}"#),
    };
    let answer = hub.ask("POST", "/api/v1/auth/setup", &[], &body).await;
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn first_code(hub: &TestHub) -> String {
    hub.app.auth.new_setup().expect("random bytes")
}

/// The first person, by cookie.
async fn first(hub: &TestHub) -> String {
    set_up(hub, &first_code(hub), Some("ann"), 200).await
}

/// An invited person of this role, by cookie.
async fn invited(hub: &TestHub, name: &str, role: Role) -> String {
    let body = format!(r#"{{"name":"{name}","role":"{role}"}}"#);
    let view = hub.admin("POST", "/api/v1/users", &body, 200).await;
    let url = view["url"].as_str().expect("a link");
    let code = url
        .strip_prefix("https://hub.test:7443/setup#code=")
        .expect("of this hub")
        .to_owned();
    set_up(hub, &code, None, 200).await
}

async fn by_cookie(hub: &TestHub, cookie: &str, method: &str, path: &str, body: &str) -> Answered {
    let headers = [("cookie", cookie), ("x-sentinel-csrf", "1")];
    hub.ask(method, path, &headers, body).await
}

async fn log_in(hub: &TestHub, name: &str, password: &str) -> Answered {
    let body = format!(r#"{{"username":"{name}","password":"{password}"}}"#);
    hub.ask("POST", "/api/v1/auth/login", &[], &body).await
}

async fn by_bearer(hub: &TestHub, token: &str, method: &str, path: &str, body: &str) -> Answered {
    hub.ask(method, path, &[("authorization", &format!("Bearer {token}"))], body)
        .await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("text")
}

#[tokio::test]
async fn the_first_person_is_admin_and_an_invited_viewer_reads_and_publishes_nothing() {
    let hub = TestHub::start().await;
    let ann = first(&hub).await;
    let bob = invited(&hub, "bob", Role::Viewer).await;
    let me = by_cookie(&hub, &ann, "GET", "/api/v1/auth/me", "").await.json();
    assert_eq!((text(&me, "username"), text(&me, "role")), ("ann", "admin"));
    assert_eq!(by_cookie(&hub, &bob, "GET", "/api/v1/nodes", "").await.status, 200);
    for _ in 0..3 {
        let refused = by_cookie(&hub, &bob, "POST", "/api/v1/policies", policy::DEMO_BUNDLE).await;
        assert_eq!(refused.status, 403);
        let problem = refused.json();
        assert_eq!(problem["permission"], "policies:write", "{problem}");
        assert!(text(&problem, "detail").contains("policies:write"), "{problem}");
    }
    let published = by_cookie(&hub, &ann, "POST", "/api/v1/policies", policy::DEMO_BUNDLE).await;
    assert_eq!(published.status, 200, "{}", published.text());

    let audits = by_cookie(&hub, &bob, "GET", "/api/v1/audits", "").await.json();
    let told: Vec<String> = audits["items"]
        .as_array()
        .expect("rows")
        .iter()
        .rev()
        .map(line)
        .collect();
    assert_eq!(
        told,
        [
            "ann user.create user/ann done",
            "ann session.open user/ann done",
            "administrator user.create user/bob done",
            "bob user.accept user/bob done",
            "bob session.open user/bob done",
            "bob POST /api/v1/policies /api/v1/policies refused",
            "ann policy.publish policy/1 done",
        ]
    );
    let check = by_cookie(&hub, &bob, "GET", "/api/v1/audits/verify", "").await.json();
    assert_eq!((&check["ok"], &check["entries"]), (&Value::Bool(true), &Value::from(7)));
    let refusals = hub.admin("GET", "/api/v1/audits?result=refused&who=bob", "", 200).await;
    assert_eq!(refusals["items"].as_array().map(Vec::len), Some(1));
    hub.stop().await;
}

fn line(row: &Value) -> String {
    let part = |name| text(row, name);
    format!("{} {} {} {}", part("who"), part("verb"), part("target"), part("result"))
}

#[tokio::test]
async fn a_link_sets_one_password_once_and_the_first_link_ends_with_the_first_person() {
    let hub = TestHub::start().await;
    let code = first_code(&hub);
    set_up(&hub, "00000000000000000000000000000000", Some("eve"), 401).await;
    set_up(&hub, &code, None, 400).await;
    set_up(&hub, &code, Some("no"), 409).await;
    set_up(&hub, &code, Some("administrator"), 409).await;
    set_up(&hub, &code, Some("ann"), 200).await;
    set_up(&hub, &code, Some("eve"), 401).await;
    let view = hub
        .admin("POST", "/api/v1/users", r#"{"name":"bob","role":"viewer"}"#, 200)
        .await;
    let former = text(&view, "url").rsplit('=').next().expect("a code").to_owned();
    let view = hub.admin("POST", "/api/v1/users/bob/invite", "", 200).await;
    let code = text(&view, "url").rsplit('=').next().expect("a code").to_owned();
    set_up(&hub, &former, None, 401).await;
    set_up(&hub, &code, None, 200).await;
    set_up(&hub, &code, None, 401).await;
    hub.admin("POST", "/api/v1/users", r#"{"name":"BOB","role":"viewer"}"#, 409)
        .await;
    hub.stop().await;
}

#[tokio::test]
async fn tokens_are_refreshed_once_and_a_stolen_refresh_token_ends_the_session() {
    let hub = TestHub::start().await;
    first(&hub).await;
    let pair = log_in(&hub, "Ann", "correct horse").await;
    assert_eq!((pair.status.as_u16(), pair.header("cache-control")), (200, "no-store"));
    let pair = pair.json();
    let (access, refresh) = (text(&pair, "access_token"), text(&pair, "refresh_token"));
    assert_eq!(by_bearer(&hub, access, "GET", "/api/v1/users", "").await.status, 200);
    let body = format!(r#"{{"refresh_token":"{refresh}"}}"#);
    let next = hub.ask("POST", "/api/v1/auth/refresh", &[], &body).await;
    assert_eq!(next.status, 200, "{}", next.text());
    let next = next.json();
    let again = hub.ask("POST", "/api/v1/auth/refresh", &[], &body).await;
    assert_eq!(again.status, 401, "used twice");
    for token in [access, text(&next, "access_token")] {
        assert_eq!(by_bearer(&hub, token, "GET", "/api/v1/auth/me", "").await.status, 401);
    }
    let body = format!(r#"{{"refresh_token":"{}"}}"#, text(&next, "refresh_token"));
    assert_eq!(hub.ask("POST", "/api/v1/auth/refresh", &[], &body).await.status, 401);
    let told = hub.admin("GET", "/api/v1/audits?verb=session.refresh", "", 200).await;
    assert_eq!(told["items"][0]["code"], "reused");
    hub.stop().await;
}

#[tokio::test]
async fn logging_out_and_every_change_of_an_account_end_what_is_open_at_once() {
    let hub = TestHub::start().await;
    let ann = first(&hub).await;
    let bob = invited(&hub, "bob", Role::Operator).await;
    assert_eq!(
        by_cookie(&hub, &bob, "POST", "/api/v1/auth/logout", "").await.status,
        204
    );
    assert_eq!(by_cookie(&hub, &bob, "GET", "/api/v1/auth/me", "").await.status, 401);
    let pair = log_in(&hub, "bob", "correct horse").await.json();
    let token = text(&pair, "access_token");
    assert_eq!(by_bearer(&hub, token, "GET", "/api/v1/nodes", "").await.status, 200);
    let close = by_cookie(&hub, &ann, "PATCH", "/api/v1/users/bob", r#"{"disabled":true}"#).await;
    assert_eq!(close.status, 200, "{}", close.text());
    assert_eq!(by_bearer(&hub, token, "GET", "/api/v1/nodes", "").await.status, 401);
    assert_eq!(log_in(&hub, "bob", "correct horse").await.status, 401, "closed");
    let last = by_cookie(&hub, &ann, "DELETE", "/api/v1/users/ann", "").await;
    assert_eq!(last.status, 409, "somebody is left who manages users");
    hub.stop().await;
}

#[tokio::test]
async fn whoever_guesses_waits_and_a_name_that_nobody_has_says_no_more_than_a_wrong_password() {
    let hub = TestHub::start().await;
    first(&hub).await;
    let wrong = log_in(&hub, "ann", "wrong horse").await;
    let nobody = log_in(&hub, "eve", "wrong horse").await;
    assert_eq!(
        (wrong.status, wrong.bytes.clone()),
        (nobody.status, nobody.bytes.clone())
    );
    for _ in 0..5 {
        assert_eq!(log_in(&hub, "ann", "wrong horse").await.status, 401);
    }
    let slowed = log_in(&hub, "ANN", "correct horse").await;
    assert_eq!(slowed.status, 429, "{}", slowed.text());
    assert!(!slowed.header("retry-after").is_empty());
    let told = hub.admin("GET", "/api/v1/audits?result=refused", "", 200).await;
    assert_eq!(
        told["items"].as_array().map(Vec::len),
        Some(1),
        "known names, coalesced"
    );
    hub.stop().await;
}

#[tokio::test]
async fn an_api_token_does_what_its_scope_says_until_it_is_revoked() {
    let hub = TestHub::start().await;
    let ann = first(&hub).await;
    let bob = invited(&hub, "bob", Role::Operator).await;
    let body = r#"{"name":"ci","role":"operator","scope":["nodes:read"],"days":30}"#;
    let made = by_cookie(&hub, &bob, "POST", "/api/v1/api-tokens", body).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    let token = text(&made, "token");
    assert_eq!(by_bearer(&hub, token, "GET", "/api/v1/nodes", "").await.status, 200);
    assert_eq!(by_bearer(&hub, token, "GET", "/api/v1/policies", "").await.status, 403);
    assert_eq!(
        by_bearer(&hub, &format!("{token}0"), "GET", "/api/v1/nodes", "")
            .await
            .status,
        401
    );
    let another = r#"{"name":"more","role":"viewer"}"#;
    assert_eq!(
        by_bearer(&hub, token, "POST", "/api/v1/api-tokens", another)
            .await
            .status,
        403
    );
    for (body, status) in [
        (r#"{"name":"up","role":"admin"}"#, 403),
        (r#"{"name":"ci","role":"viewer"}"#, 409),
        (r#"{"name":"long","role":"viewer","days":366}"#, 400),
        (r#"{"name":"Bad name","role":"viewer"}"#, 400),
        (r#"{"name":"odd","role":"viewer","scope":["nodes:act"]}"#, 400),
    ] {
        let answer = by_cookie(&hub, &bob, "POST", "/api/v1/api-tokens", body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text());
    }
    let id = text(&made, "id");
    let path = format!("/api/v1/api-tokens/{id}");
    let listed = by_cookie(&hub, &ann, "GET", "/api/v1/api-tokens", "").await;
    assert!(listed.text().contains(id) && !listed.text().contains(token));
    assert_eq!(by_cookie(&hub, &ann, "DELETE", &path, "").await.status, 200);
    assert_eq!(by_bearer(&hub, token, "GET", "/api/v1/nodes", "").await.status, 401);
    hub.stop().await;
}

/// Every route, by everybody: only who holds the route's permission reaches its handler.
#[tokio::test]
async fn every_route_is_refused_to_everybody_who_lacks_its_permission() {
    let hub = TestHub::start().await;
    first(&hub).await;
    let mut tokens = Vec::new();
    for role in [Role::Viewer, Role::Operator, Role::Admin, Role::System] {
        let body = format!(r#"{{"name":"t-{role}","role":"{role}"}}"#);
        let made = hub.admin("POST", "/api/v1/api-tokens", &body, 200).await;
        tokens.push((role, text(&made, "token").to_owned()));
    }
    let gone = hub
        .admin("POST", "/api/v1/api-tokens", r#"{"name":"gone","role":"system"}"#, 200)
        .await;
    hub.admin("DELETE", &format!("/api/v1/api-tokens/{}", text(&gone, "id")), "", 200)
        .await;
    let pair = log_in(&hub, "ann", "correct horse").await.json();
    let expired = expired_token(&hub, text(&pair, "access_token"));
    let foreign = Signer::new("other.internal", &SigningKey::from_bytes(&[9; 32]), &[]);
    let foreign = foreign.sign("ann", "s", crate::clock::wall()).expect("signed");
    for route in ROUTES
        .iter()
        .filter(|route| !matches!(route.need, Need::Nothing | Need::Own))
    {
        let path = door::path_of(route.path);
        for wrong in [
            "garbage",
            "sap_x.y",
            text(&gone, "token"),
            expired.as_str(),
            foreign.as_str(),
        ] {
            let answer = by_bearer(&hub, wrong, route.method, &path, "{}").await;
            assert_eq!(answer.status, 401, "{route:?} {wrong}");
        }
        for (role, token) in &tokens {
            let answer = by_bearer(&hub, token, route.method, &path, "{}").await;
            let refused = answer.json()["permission"].is_string();
            assert_eq!(
                refused,
                !route.need.is_met_by(*role),
                "{route:?} {role}: {}",
                answer.text()
            );
            assert_eq!(
                refused,
                answer.status == 403 && answer.json()["permission"] == route.need.name()
            );
        }
    }
    hub.stop().await;
}

/// The same session's token as it was made an hour ago.
fn expired_token(hub: &TestHub, token: &str) -> String {
    let now = crate::clock::wall();
    let claims = hub.app.auth.signer.verify(token, now).expect("good");
    let hour_ago = Wall(now.0 - 3_600_000);
    hub.app
        .auth
        .signer
        .sign(&claims.sub, &claims.sid, hour_ago)
        .expect("signed")
}

#[tokio::test]
async fn events_come_in_the_order_of_arrival_and_a_stream_goes_on_where_it_was_cut() {
    let hub = TestHub::start().await;
    first(&hub).await;
    hub.publish().await;
    let page = hub.admin("GET", "/api/v1/events?limit=2", "", 200).await;
    let kinds = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("events");
        items.iter().map(|event| text(event, "type").to_owned()).collect()
    };
    let begun = ["dev.sentinel.hub.user.create.v1", "dev.sentinel.hub.session.open.v1"];
    assert_eq!(kinds(&page), begun);
    let path = format!("/api/v1/events?after={}", text(&page, "next_cursor"));
    let rest = hub.admin("GET", &path, "", 200).await;
    assert_eq!(kinds(&rest), ["dev.sentinel.hub.policy.publish.v1"]);
    let mut stream = follow(&hub, text(&page["items"][1], "sentinelcursor")).await;
    assert_eq!(
        next_event(&mut stream).await["id"],
        rest["items"][0]["id"],
        "the same event, the same id"
    );
    hub.publish().await;
    let next = next_event(&mut stream).await;
    assert_eq!(next["data"]["target"], "policy/2");
    hub.admin("GET", "/api/v1/events?after=here", "", 400).await;
    drop(stream);
    hub.stop().await;
}

async fn follow(hub: &TestHub, after: &str) -> Body {
    let request = Request::builder()
        .uri("/api/v1/events")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("accept", "text/event-stream")
        .header("last-event-id", after)
        .body(Body::empty())
        .expect("a request");
    let response = hub.router.clone().oneshot(request).await.expect("handlers never fail");
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

async fn next_event(stream: &mut Body) -> Value {
    let frame = tokio::time::timeout(PATIENCE, stream.frame()).await.expect("in time");
    let bytes = frame.expect("goes on").expect("never fails").into_data().expect("data");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .expect("an event");
    serde_json::from_str(data).expect("JSON")
}
