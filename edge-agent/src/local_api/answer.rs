//! How answers of the local API look: as `wire_http` says, with the agent's own errors and the page's files among them.

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use serde::de::DeserializeOwned;
use wire::api::{is_console_place, wants_page};
use wire::parcel::MAX_PARCEL_BYTES;
pub(super) use wire_http::{Failure, body, event_text, limit, query};
use wire_http::{KINDS, Kind};

use crate::journal::ReadError;

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

/// A request's JSON, within the bound of what people want done; the error points at the field.
pub(super) fn read_json<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    wire_http::read_json(bytes, MAX_PARCEL_BYTES)
}

/// `GET /problems/{code}`: where the `type` of a problem leads.
pub(super) async fn problem(Path(code): Path<String>) -> Result<Response, Failure> {
    let Some(kind) = Kind::of(&code) else {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
        return Err(Failure::not_found(format!(
            "there is no problem `{code}`: there are {}",
            all.join(", ")
        )));
    };
    let mut response = kind.text().into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    Ok(response)
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
