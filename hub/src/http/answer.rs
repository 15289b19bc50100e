//! How answers of the hub look: as `wire_http` says, with the hub's own errors among them.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;
use wire::ids::AgentId;
pub use wire_http::{Failure, if_match, json, limit, pointer, query, tagged};

use super::door::BODY_BYTES;
use crate::hub::Stopped;
use crate::store::StoreError;

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

/// A request's body, within the bound.
pub fn body(bytes: Result<Bytes, BytesRejection>) -> Result<Bytes, Failure> {
    wire_http::body(bytes, BODY_BYTES)
}

/// A request's JSON, within the bound; the error points at the field.
pub fn read_json<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    wire_http::read_json(bytes, BODY_BYTES)
}

/// A node's name in a path or query.
pub fn node_name(text: &str) -> Result<AgentId, Failure> {
    AgentId::owner(text).map_err(|error| Failure::field("/node", error.to_string()))
}

/// An error and its cause, in one line.
pub fn chained(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
