//! Problems (RFC 9457) that name the field, the value and the way out.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use wire::api::{BundleProblem, FieldProblem, Problem};
use wire::ids::{AgentId, DecisionId};
use wire::{Permission, Role};

use crate::{BELOW, pointer};

/// An answer that is a problem.
#[derive(Debug, Clone)]
pub struct Failure(Box<Problem>);

impl Failure {
    /// A problem of this code; `title` is the same for all of them.
    fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind: format!("{BELOW}/{code}"),
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

    /// The document that is sent.
    pub fn problem(&self) -> &Problem {
        &self.0
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

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sentinel\""));
        }
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn every_problem_has_a_code_with_a_page() {
        let node = AgentId::new("edge-01").expect("valid");
        for failure in [
            Failure::not_found("x"),
            Failure::unknown_node(&node),
            Failure::field("/a", "x"),
            Failure::unprocessable("/a", "x"),
            Failure::bundle(&[]),
            Failure::unauthorized("x"),
            Failure::forbidden("x"),
            Failure::missing(Permission::PoliciesWrite, Role::Viewer),
            Failure::in_flight("x"),
            Failure::already_done("x"),
            Failure::key_reused("x"),
            Failure::changed_since(),
            Failure::too_many(std::time::Duration::from_secs(1)),
            Failure::too_often(std::time::Duration::from_secs(1)),
            Failure::conflict("x"),
            Failure::unavailable("x"),
            Failure::too_slow(),
            Failure::internal("x"),
            Failure::too_large("x"),
        ] {
            let problem = failure.problem().clone();
            let kind = Kind::of(&problem.code).unwrap_or_else(|| panic!("`{}` has no page", problem.code));
            assert!(
                kind.statuses.contains(&problem.status),
                "{}: {}",
                problem.code,
                problem.status
            );
            assert_eq!(problem.kind, format!("{BELOW}/{}", problem.code));
            let response = failure.into_response();
            assert_eq!(response.status().as_u16(), problem.status);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        }
    }
}
