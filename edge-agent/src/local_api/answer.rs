//! How answers of the local API look: JSON, problems (RFC 9457), events, and the page's files.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use serde::de::DeserializeOwned;
use wire::api::{FieldProblem, Problem, StreamEvent, is_console_place, wants_page};

use crate::journal::ReadError;

/// An answer that is a problem.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>);

impl Failure {
    fn new(status: StatusCode, code: &str, title: &str, detail: String) -> Self {
        Self(Box::new(Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            code: code.to_owned(),
            errors: Vec::new(),
            decision_id: None,
            permission: None,
            retry_after: None,
        }))
    }

    /// There is no such thing here.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "not found", detail.into())
    }

    /// One field is not right.
    pub(super) fn field(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut failure = Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "the request is not valid",
            detail.clone(),
        );
        failure.0.errors.push(FieldProblem {
            pointer: pointer.to_owned(),
            detail,
        });
        failure
    }

    /// Not from there.
    pub(super) fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", "denied", detail.into())
    }

    /// It contradicts the present state.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "not in this state", detail.into())
    }

    /// Not now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "not available now",
            detail.into(),
        )
    }

    /// A fault of ours.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error",
            detail.into(),
        )
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::unavailable(error.to_string()),
            ReadError::Store(_) => {
                tracing::error!(%error, "the journal cannot be read");
                Self::internal(format!("the journal cannot be read: {error}"))
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&*self.0)).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// A request's JSON.
pub(super) fn read_json<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    serde_json::from_slice(&bytes(body)?).map_err(|error| Failure::field("", error.to_string()))
}

/// A request's bytes, within the bound.
pub(super) fn bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Failure> {
    body.map_err(|rejection| Failure::field("", rejection.body_text()))
}

/// A request's query; unknown names are refused.
pub(super) fn query<T>(query: Result<axum::extract::Query<T>, QueryRejection>) -> Result<T, Failure> {
    query
        .map(|query| query.0)
        .map_err(|rejection| Failure::field("", rejection.body_text()))
}

/// How many rows a page has, within `1..=most`.
pub(super) fn limit(asked: Option<usize>, usual: usize, most: usize) -> Result<usize, Failure> {
    match asked.unwrap_or(usual) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Failure::field(
            "/limit",
            format!("limit is {limit}, it must be 1 to {most}"),
        )),
    }
}

/// One server-sent event.
pub(super) fn event_text(event: &StreamEvent) -> String {
    let data = serde_json::to_string(event).expect("a view is plain data with text keys");
    format!("data: {data}\n\n")
}

/// The console's built files, inside this program.
#[derive(RustEmbed)]
#[folder = "../hub/console/dist"]
struct Console;

/// A file of the page, or the page itself for every path that is a place within it; a browser is shown the page for others too, with 404.
pub(super) async fn file(uri: Uri, asked: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") {
        return Failure::not_found(format!("there is no route `{}` on a node's page", uri.path())).into_response();
    }
    let known = Console::get(path);
    let status = match known.is_some() || is_console_place(path) {
        true => StatusCode::OK,
        false => StatusCode::NOT_FOUND,
    };
    let shows_page = status == StatusCode::OK || wants_page(asked.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let Some(found) = known.or_else(|| shows_page.then(|| Console::get("index.html")).flatten()) else {
        return Failure::not_found(format!("there is nothing at `{}` on a node's page", uri.path())).into_response();
    };
    let mut response = Bytes::from(found.data.into_owned()).into_response();
    *response.status_mut() = status;
    if let Ok(kind) = HeaderValue::from_str(found.metadata.mimetype()) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What keeps a page from loading or being loaded by anything else.
pub(super) fn secure(headers: &mut HeaderMap) {
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
