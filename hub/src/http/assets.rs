//! The console's built files, inside this program.
//!
//! A path of the console's own is answered with its one page, which reads the path itself. Any other path is unknown: a program is told
//! so in a problem document, a person in a browser by the console, both with 404.

use axum::body::Bytes;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use wire::api::{is_console_place, wants_page};

use super::Failure;
use super::answer::tagged;

#[derive(RustEmbed)]
#[folder = "console/dist"]
struct Console;

/// Answers with a file, or with the console's page.
pub async fn file(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Failure::not_found(format!("there is no route `{}`", uri.path())).into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match Console::get(path) {
        Some(found) => serve(&headers, path, found),
        None if is_console_place(path) => page(&headers),
        None if wants_page(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok())) => {
            let mut response = page(&headers);
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        None => Failure::not_found(format!(
            "there is nothing at `{}`: health is at /livez and /readyz, metrics at /metrics, the API at /api/v1",
            uri.path()
        ))
        .into_response(),
    }
}

fn page(headers: &HeaderMap) -> Response {
    match Console::get("index.html") {
        Some(page) => serve(headers, "index.html", page),
        None => Failure::not_found("this build has no console").into_response(),
    }
}

fn serve(headers: &HeaderMap, path: &str, found: EmbeddedFile) -> Response {
    let bytes = match found.data {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut response = tagged(headers, "application/octet-stream", bytes);
    let answer = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(found.metadata.mimetype()) {
        answer.insert(CONTENT_TYPE, kind);
    }
    // Names of built files carry their hash, the page's does not.
    let keep = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    answer.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    response
}
