//! Answers with an entity tag (RFC 9110, 8.8.3), and what a caller's own copy makes of them.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wire::ids::Digest;

use crate::Failure;

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", Digest::of(bytes).short())
}

/// Refuses a change of something that is not what the caller read, where they say what that was.
pub fn if_match<T: Serialize>(request: &HeaderMap, present: &T) -> Result<(), Failure> {
    let Some(wanted) = request.get(IF_MATCH).and_then(|wanted| wanted.to_str().ok()) else {
        return Ok(());
    };
    let bytes = serde_json::to_vec(present).map_err(|error| Failure::internal(error.to_string()))?;
    let tag = tag(&bytes);
    match wanted
        .split(',')
        .any(|one| matches!(one.trim(), "*") || one.trim() == tag)
    {
        true => Ok(()),
        false => Err(Failure::changed_since()),
    }
}

/// Writes JSON, or says that it has not changed since the caller's copy.
pub fn json<T: Serialize>(request: &HeaderMap, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => tagged(request, "application/json", bytes.into()),
        Err(error) => Failure::internal(error.to_string()).into_response(),
    }
}

/// Writes bytes with an entity tag, or says that they have not changed since the caller's copy.
pub fn tagged(request: &HeaderMap, kind: &'static str, bytes: Bytes) -> Response {
    let tag = tag(&bytes);
    let same = request
        .get(IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(bytes));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_still_true_is_not_sent_again() {
        let first = json(&HeaderMap::new(), &[1, 2]);
        let tag = first.headers()[ETAG].clone();
        let ask = |header, value: &HeaderValue| HeaderMap::from_iter([(header, value.clone())]);
        let known = ask(IF_NONE_MATCH, &tag);
        assert_eq!(json(&known, &[1, 2]).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(json(&known, &[1, 3]).status(), StatusCode::OK);

        let kept = ask(IF_MATCH, &tag);
        if_match(&kept, &[1, 2]).expect("nobody changed it");
        let refused = if_match(&kept, &[1, 3]).expect_err("somebody did");
        assert_eq!(refused.problem().code, "changed_since");
        if_match(&HeaderMap::new(), &[1, 3]).expect("who says nothing is let through");
    }
}
