//! `Idempotency-Key`: a request that acts is done at most once for each key, however often it is sent.
//!
//! The key is durable before the handler runs. The handler runs to its end whether its caller waits or not, and what it answered is
//! kept for a day and given to whoever comes again with the same key and the same request. What was refused was not done: its key is
//! free again. An answer that holds a secret is never kept.
//!
//! Source: IETF draft-ietf-httpapi-idempotency-key-header (409 while it is being done, 422 for another request with the key).

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request as HttpRequest;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hub_core::idempotency::{KeptAnswer, KeyRequest, MOST_ANSWER_BYTES, Standing};
use hub_core::{Answer, Request};
use wire::ids::Digest;

use super::identity::Identity;
use super::routes::Route;
use super::{App, Failure};

/// The header, in lower case.
pub const HEADER: &str = "idempotency-key";
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_BYTES: usize = 128;
/// Longest answer of a handler; lists are paged, so none comes near.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Runs the handler, unless a request with the same key was carried out before.
pub async fn once(app: App, route: &'static Route, who: &Identity, request: HttpRequest, next: Next) -> Response {
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(failure) => return failure.into_response(),
    };
    match keyed(app, route, who, key, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

/// The key; a string of structured fields may stand in quotes.
fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    let is_key = (1..=KEY_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match is_key {
        true => Ok(Some(text.to_owned())),
        false => Err(Failure::field(
            "",
            format!("the header `{HEADER}` is 1 to {KEY_BYTES} visible ASCII characters, a UUID for example"),
        )),
    }
}

/// Lengths go before the parts, so that no two lists of parts are one text.
fn hash(parts: &[&[u8]]) -> Digest {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    Digest::of(&all)
}

async fn keyed(
    app: App,
    route: &'static Route,
    who: &Identity,
    key: String,
    request: HttpRequest,
    next: Next,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, route.body_bytes())
        .await
        .map_err(|_| Failure::field("", "the body could not be read to its end, or is too large"))?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let route_bytes = format!("{} {}", route.method, route.path);
    let name = who.caller.name.as_bytes();
    let id = hash(&[name, route_bytes.as_bytes(), key.as_bytes()]).to_string();
    let of = hash(&[path.as_bytes(), &body]);
    match ask(
        &app,
        KeyRequest::Begin {
            id: id.clone(),
            request: of,
        },
    )
    .await?
    {
        Answer::Key(Standing::New) => {}
        Answer::Key(standing) => return Ok(known(standing)),
        other => return Err(Failure::internal(format!("the core answered {other:?} about a key"))),
    }
    let request = HttpRequest::from_parts(parts, Body::from(body));
    // In a task of its own: a caller that goes away does not stop in the middle what it wanted done once.
    let work = tokio::spawn(async move {
        let response = next.run(request).await;
        kept(&app, id, route, response).await
    });
    work.await
        .unwrap_or_else(|_| Err(Failure::internal("this request failed badly; the log says where")))
}

async fn ask(app: &App, what: KeyRequest) -> Result<Answer, Failure> {
    app.change(Request::Keys { what }).await
}

fn known(standing: Standing) -> Response {
    match standing {
        Standing::Done(answer) => replay(answer),
        Standing::UnderWay => {
            Failure::in_flight("a request with this key is being done: ask again in a moment").into_response()
        }
        Standing::OtherRequest => Failure::key_reused(
            "this key was given with another request: take a new key for each thing that is to be done",
        )
        .into_response(),
        Standing::Lost => Failure::already_done(
            "the hub stopped while it did this, and does not know how far it came: look whether it is done, then use another key",
        )
        .into_response(),
        Standing::New => Failure::internal("a new key is nothing to answer").into_response(),
    }
}

fn replay(answer: KeptAnswer) -> Response {
    let Some(body) = answer.body else {
        return Failure::already_done(
            "this was done; its answer is shown once, because it holds a secret or is very long",
        )
        .into_response();
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, body).into_response();
    if let Ok(kind) = HeaderValue::from_str(&answer.kind) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Keeps what was answered, or frees the key if nothing was done.
async fn kept(app: &App, id: String, route: &Route, response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status == StatusCode::INTERNAL_SERVER_ERROR || status == StatusCode::GATEWAY_TIMEOUT {
        // How far it came is not known: the key stays taken, and says so after the next start.
        return Ok(response);
    }
    if !status.is_success() {
        ask(app, KeyRequest::Forget { id }).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body: Bytes = to_bytes(body, ANSWER_BYTES)
        .await
        .map_err(|_| Failure::internal("the answer could not be read to its end"))?;
    let shown = !route.has_secret && body.len() <= MOST_ANSWER_BYTES;
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let answer = KeptAnswer {
        status: status.as_u16(),
        kind: kind.unwrap_or_default().to_owned(),
        body: shown.then(|| body.to_vec()),
    };
    ask(app, KeyRequest::Finish { id, answer }).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_in_quotes_or_without() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_str(value).expect("a value"));
            key(&headers).ok().flatten()
        };
        assert_eq!(read("\"8e03978e\"").as_deref(), Some("8e03978e"));
        assert_eq!(read("8e03978e").as_deref(), Some("8e03978e"));
        assert_eq!(read(""), None);
        assert_eq!(read("a b"), None);
        assert_eq!(read(&"x".repeat(129)), None);
    }
}
