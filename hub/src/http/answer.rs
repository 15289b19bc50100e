//! How answers look: JSON with an entity tag, and problems (RFC 9457) that name the field, the value and the way out.

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::api::{BundleProblem, FieldProblem, Problem};
use wire::ids::{AgentId, DecisionId, Digest};
use wire::{Permission, Role};

use crate::hub::Stopped;
use crate::store::StoreError;

/// An answer that is a problem.
#[derive(Debug, Clone)]
pub struct Failure(Box<Problem>);

impl Failure {
    fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind: format!("{}/{code}", super::problems::BELOW),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            errors: Vec::new(),
            decision_id: None,
            permission: None,
            retry_after: None,
        }))
    }

    /// What happened, for people.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "not found", detail)
    }

    /// There is no such node.
    pub fn unknown_node(node: &AgentId) -> Self {
        Self::not_found(format!("there is no node `{node}`: `sentinel get nodes` lists all"))
    }

    /// There is no such decision.
    pub fn unknown_decision(id: &DecisionId) -> Self {
        Self::not_found(format!(
            "the hub holds no decision `{id}`: it may still be at its node (`--local` asks there), or it is another kind of entry"
        ))
    }

    /// One field is not right.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
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

    /// One field is not right, as the original's API says it: 422.
    pub fn unprocessable(pointer: &str, detail: impl Into<String>) -> Self {
        let mut failure = Self::field(pointer, detail);
        failure.0.status = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
        failure
    }

    /// A bundle's text is not right.
    pub fn bundle(problems: &[BundleProblem]) -> Self {
        let mut failure = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_request",
            "the bundle is not valid",
            format!("{} problems; nothing was published", problems.len()),
        );
        failure.0.errors = problems
            .iter()
            .map(|problem| FieldProblem {
                pointer: pointer(&problem.field),
                detail: format!("line {}, column {}: {}", problem.line, problem.column, problem.message),
            })
            .collect();
        failure
    }

    /// Nobody known asks.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "not logged in", detail)
    }

    /// Somebody known may not ask this way.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", "denied", detail)
    }

    /// Somebody known lacks a permission.
    pub fn missing(permission: Permission, role: Role) -> Self {
        let least = permission.least();
        let mut failure = Self::new(
            StatusCode::FORBIDDEN,
            "denied",
            "denied",
            format!(
                "this needs the permission `{permission}`, which {role} does not hold: it takes the role {least}, or a token with that scope"
            ),
        );
        failure.0.permission = Some(permission);
        failure
    }

    /// A request with the same key is being done.
    pub fn in_flight(detail: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::CONFLICT, "in_flight", "being done", detail);
        failure.0.retry_after = Some(1);
        failure
    }

    /// A request with the same key was carried out, or may have been.
    pub fn already_done(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "already_done", "already done", detail)
    }

    /// A key was given with another request.
    pub fn key_reused(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key_reused",
            "the key was used",
            detail,
        )
    }

    /// It is not what the caller read.
    pub fn changed_since() -> Self {
        let detail = "somebody changed it since you read it: read it again, and send its new `ETag` as `If-Match`";
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "changed_since",
            "changed since",
            detail,
        )
    }

    /// An identity asks too often.
    pub fn too_many(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        let detail = format!(
            "too many requests of one identity: wait {seconds} s, or start the hub with a higher --requests-per-second"
        );
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_often", "too many requests", detail);
        failure.0.retry_after = Some(seconds);
        failure
    }

    /// Somebody tries too often.
    pub fn too_often(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        let mut failure = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_often",
            "too many tries",
            format!("too many failed tries: wait {seconds} s"),
        );
        failure.0.retry_after = Some(seconds);
        failure
    }

    /// The present state does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "conflict", detail)
    }

    /// It cannot be done now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "not available now",
            detail,
        )
    }

    /// It took too long.
    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "unavailable",
            "not available now",
            "the request took too long; what it asked for may still happen",
        )
    }

    /// A fault of ours.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error", detail)
    }

    /// It is larger than anything that is read.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "too large", detail)
    }
}

/// `rules[2].for` as a JSON pointer.
pub(super) fn pointer(field: &str) -> String {
    let mut out = String::new();
    for part in field.split(['.', '[']).filter(|part| !part.is_empty()) {
        out.push('/');
        out.push_str(&part.trim_end_matches(']').replace('~', "~0").replace('/', "~1"));
    }
    out
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Cursor { .. } => Self::field("/before", error.to_string()),
            StoreError::Full { .. } | StoreError::Unavailable { .. } => Self::unavailable(error.chain()),
            _ => {
                tracing::error!(error = error.chain(), "the store could not answer");
                Self::internal(error.chain())
            }
        }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::unavailable(stopped.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                "www-authenticate",
                HeaderValue::from_static("Bearer realm=\"sentinel\""),
            );
        }
        if let Some(seconds) = self.0.retry_after {
            headers.insert("retry-after", HeaderValue::from(seconds));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert("retry-after", HeaderValue::from_static("1"));
        }
        response
    }
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

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", Digest::of(bytes).short())
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

/// A request's body, within the bound.
pub fn body(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Failure> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large("a request body has at most 1 MiB"),
        _ => Failure::field("", "the body could not be read to its end"),
    })
}

/// A request's JSON; the error points at the field.
pub fn read_json<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    let bytes = body(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => String::new(),
            path => pointer(path),
        };
        Failure::field(&path, error.inner().to_string())
    })?;
    reader.end().map_err(|error| Failure::field("", error.to_string()))?;
    Ok(value)
}

/// A request's query; unknown names are refused.
pub fn query<T>(query: Result<axum::extract::Query<T>, QueryRejection>) -> Result<T, Failure> {
    query
        .map(|query| query.0)
        .map_err(|rejection| Failure::field("", rejection.body_text()))
}

/// A node's name in a path or query.
pub fn node_name(text: &str) -> Result<AgentId, Failure> {
    AgentId::owner(text).map_err(|error| Failure::field("/node", error.to_string()))
}

/// How many rows a page has, within `1..=most`.
pub fn limit(asked: Option<usize>, usual: usize, most: usize) -> Result<usize, Failure> {
    match asked.unwrap_or(usual) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Failure::field(
            "/limit",
            format!("limit is {limit}, it must be 1 to {most}"),
        )),
    }
}

/// An error and its cause, in one line.
pub fn chained(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_pointers() {
        for (field, expected) in [
            ("rules[2].for", "/rules/2/for"),
            ("", ""),
            ("name", "/name"),
            ("a.b/c", "/a/b~1c"),
        ] {
            assert_eq!(pointer(field), expected);
        }
    }
}
