//! Who reaches a handler, and what every answer carries.

use super::*;
use crate::http::{Need, ROUTES};

pub(super) fn path_of(pattern: &str) -> String {
    pattern
        .replace("{*page}", "introduction.html")
        .replace("{name}", "edge-03")
        .replace("{id}", "edge-03.1.1")
        .replace("{generation}", "1")
}

/// Routes that say 401 because what they were given opens nothing, and the one that ends the session.
fn is_way_in(path: &str) -> bool {
    ["/login", "/refresh", "/setup", "/logout"]
        .iter()
        .any(|end| path.ends_with(end))
}

async fn session(hub: &TestHub) -> String {
    let link = hub.admin("POST", "/api/v1/login-links", "", 200).await;
    let url = link["url"].as_str().expect("a link").to_owned();
    let code = url.strip_prefix("https://hub.test:7443/#login=").expect("of this hub");
    let body = format!("{{\"code\":\"{code}\"}}");
    let answer = hub.ask("POST", "/api/v1/login", &[], &body).await;
    assert_eq!(answer.status, 204);
    let cookie = answer.header("set-cookie").to_owned();
    for word in ["__Host-sentinel=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let again = hub.ask("POST", "/api/v1/login", &[], &body).await;
    assert_eq!(again.status, 401, "a link opens one session");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn no_route_answers_somebody_unknown() {
    let hub = TestHub::start().await;
    let cookie = session(&hub).await;
    let bearer = format!("Bearer {TOKEN}");
    for route in ROUTES {
        let path = path_of(route.path);
        for wrong in [
            &[][..],
            &[("authorization", "Bearer sat_wrong")],
            &[("authorization", "Bearer")],
            &[("authorization", "Basic c2F0X3Rlc3Q=")],
            &[
                ("cookie", "__Host-sentinel=00000000000000000000000000000000"),
                ("x-sentinel-csrf", "1"),
            ],
            &[("cookie", "sentinel=x")],
        ] {
            let answer = hub.ask(route.method, &path, wrong, "{}").await;
            if route.need == Need::Own {
                assert!(
                    matches!(answer.status.as_u16(), 400 | 401 | 404 | 405),
                    "{route:?} {wrong:?}: {}",
                    answer.text()
                );
            } else if route.need == Need::Nothing {
                assert!(answer.status != 401 || is_way_in(&path), "{route:?} {wrong:?}");
            } else {
                assert_eq!(answer.status, 401, "{route:?} {wrong:?}");
                assert_eq!(answer.header("content-type"), "application/problem+json");
                assert_eq!(answer.json()["code"], "unauthorized");
            }
        }
        if route.need == Need::Own {
            continue;
        }
        let with_token = hub.ask(route.method, &path, &[("authorization", &bearer)], "{}").await;
        let with_cookie = hub
            .ask(
                route.method,
                &path,
                &[("cookie", &cookie), ("x-sentinel-csrf", "1")],
                "{}",
            )
            .await;
        let from_elsewhere = hub.ask(route.method, &path, &[("cookie", &cookie)], "{}").await;
        if !is_way_in(&path) {
            assert!(
                with_token.status != 401 && with_token.status != 403,
                "{route:?}: {}",
                with_token.text()
            );
            assert!(
                with_cookie.status != 401 && with_cookie.status != 403,
                "{route:?}: {}",
                with_cookie.text()
            );
            let refused = from_elsewhere.status == 403;
            assert_eq!(
                refused,
                route.method != "GET" && route.need != Need::Nothing,
                "{route:?}: {}",
                from_elsewhere.text()
            );
        }
    }
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/nodes",
        "/api/v1/nodes/../nodes",
        "/api/v1/login",
    ] {
        assert_eq!(hub.ask("GET", path, &[], "").await.status, 401, "{path}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn every_answer_is_protected_and_the_console_is_there() {
    let hub = TestHub::start().await;
    for path in ["/", "/nodes/edge-03", "/api/v1/nodes", "/livez", "/nothing.js"] {
        let answer = hub.ask("GET", path, &[], "").await;
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'self'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
    }
    let page = hub.ask("GET", "/", &[], "").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html"));
    for deep in ["/nodes/edge-03", "/decisions/edge-03.1.42"] {
        let found = hub.ask("GET", deep, &[], "").await;
        assert_eq!(found.bytes, page.bytes, "{deep} is a page of the console");
    }
    for file in ["/old.css", "/icons/old.svg"] {
        assert_eq!(hub.ask("GET", file, &[], "").await.status, 404, "{file}");
    }
    assert_eq!(hub.ask("GET", "/nothing.js", &[], "").await.status, 404);
    // A probe that asks for what is not there is told so; a person in a browser is shown a page that says it.
    for unknown in ["/healthz", "/health", "/nowhere/at/all"] {
        let answer = hub.ask("GET", unknown, &[("accept", "*/*")], "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (404, "application/problem+json"),
            "{unknown}"
        );
        let shown = hub.ask("GET", unknown, &[("accept", "text/html,*/*;q=0.8")], "").await;
        assert_eq!(shown.status, 404, "{unknown}");
        assert_eq!(shown.bytes, page.bytes, "{unknown}");
    }
    assert_eq!(hub.ask("POST", "/", &[], "").await.status, 405);
    let tag = page.header("etag").to_owned();
    let same = hub.ask("GET", "/", &[("if-none-match", &tag)], "").await;
    assert_eq!((same.status.as_u16(), same.bytes.len()), (304, 0));
    hub.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let hub = TestHub::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = hub.ask("GET", path, &[], "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "ok\n"),
            "{path}"
        );
    }
    hub.app.store.close().expect("closes");
    hub.stop().await;
}
