//! What the problems of this API mean, one page for each code: the `type` of every problem document leads here.
//!
//! The pages are open to anyone, as the handbook is: they hold nothing of this hub.

use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
pub use wire_http::KINDS;
use wire_http::Kind;

use super::Failure;
use super::answer::tagged;
use super::handbook::written;

/// `GET /problems/{code}`.
pub async fn page(Path(code): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let Some(kind) = Kind::of(&code) else {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
        return Err(Failure::not_found(format!(
            "there is no problem `{code}`: there are {}",
            all.join(", ")
        )));
    };
    let html = written(&kind.text());
    Ok(tagged(&headers, "text/html; charset=utf-8", html.into()))
}
