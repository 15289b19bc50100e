//! A blocking client of the contract.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::{Extend, Extended, Finish, LeaseRequest, Leased, Propose, Proposed, Registered, Registration};

/// The largest answer read, in bytes: a repository's tree.
const ANSWER_BYTES: u64 = 512 << 20;

/// Longest call: a repository's tree on a slow line.
const PATIENCE: Duration = Duration::from_secs(120);

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Somebody else has the task now: drop the work.
    #[error("the lease is not the task's present one: the work is dropped")]
    Fenced,
    /// The hub refuses.
    #[error("the hub answers {status} to {path}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Which call.
        path: String,
        /// What it says.
        detail: String,
    },
    /// The hub was not reached, or its answer was not understood.
    #[error("cannot reach the hub at {path}: {cause}")]
    Unreachable {
        /// Which call.
        path: String,
        /// Why.
        cause: String,
    },
}

/// The hub's CA cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the CA is no PEM certificate: {0}")]
pub struct CaError(String);

/// A hub, and the right to ask it.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    token: String,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the hub at `base` (`https://host:port`) that trusts `ca_pem` alone.
    pub fn new(base: &str, token: &str, ca_pem: &str) -> Result<Self, CaError> {
        let ca = ureq::tls::Certificate::from_pem(ca_pem.as_bytes()).map_err(|cause| CaError(cause.to_string()))?;
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::from(vec![ca]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            agent: config.into(),
        })
    }

    /// Says who this agent is.
    pub fn register(&self, registration: &Registration) -> Result<Registered, CallError> {
        self.post("/register", registration)?.ok_or_else(|| empty("/register"))
    }

    /// The next task, or `None` when nothing waits. Blocks for as long as the request says.
    pub fn lease(&self, request: &LeaseRequest) -> Result<Option<Leased>, CallError> {
        self.post("/lease", request)
    }

    /// Keeps a lease.
    pub fn extend(&self, task: &str, extend: &Extend) -> Result<Extended, CallError> {
        let path = format!("/tasks/{task}/extend");
        self.post(&path, extend)?.ok_or_else(|| empty(&path))
    }

    /// The log of the failed step.
    pub fn log(&self, task: &str) -> Result<Vec<u8>, CallError> {
        self.get(&format!("/tasks/{task}/log"))
    }

    /// The tree at the failing commit, a gzipped tar.
    pub fn source(&self, task: &str) -> Result<Vec<u8>, CallError> {
        self.get(&format!("/tasks/{task}/source"))
    }

    /// Hands in a patch.
    pub fn propose(&self, task: &str, propose: &Propose) -> Result<Proposed, CallError> {
        let path = format!("/tasks/{task}/propose");
        self.post(&path, propose)?.ok_or_else(|| empty(&path))
    }

    /// Ends without a patch.
    pub fn finish(&self, task: &str, finish: &Finish) -> Result<Proposed, CallError> {
        let path = format!("/tasks/{task}/finish");
        self.post(&path, finish)?.ok_or_else(|| empty(&path))
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Option<T>, CallError> {
        let unreachable = |cause: String| CallError::Unreachable {
            path: path.to_owned(),
            cause,
        };
        let url = format!("{}/agent/v1{path}", self.base);
        let sent = self
            .agent
            .post(url)
            .header("authorization", format!("Bearer {}", self.token))
            .send_json(body);
        let mut answer = sent.map_err(|cause| unreachable(cause.to_string()))?;
        if answer.status().as_u16() == 204 {
            return Ok(None);
        }
        self.refused(path, &mut answer)?;
        answer
            .body_mut()
            .read_json()
            .map(Some)
            .map_err(|cause| unreachable(cause.to_string()))
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, CallError> {
        let unreachable = |cause: String| CallError::Unreachable {
            path: path.to_owned(),
            cause,
        };
        let url = format!("{}/agent/v1{path}", self.base);
        let sent = self
            .agent
            .get(url)
            .header("authorization", format!("Bearer {}", self.token))
            .call();
        let mut answer = sent.map_err(|cause| unreachable(cause.to_string()))?;
        self.refused(path, &mut answer)?;
        answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES)
            .read_to_vec()
            .map_err(|cause| unreachable(cause.to_string()))
    }

    fn refused(&self, path: &str, answer: &mut ureq::http::Response<ureq::Body>) -> Result<(), CallError> {
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        let detail = answer.body_mut().read_to_string().unwrap_or_default();
        if status == 409 && detail.contains("fenced") {
            return Err(CallError::Fenced);
        }
        // The hub cannot answer now, and says so, or what stands before it does: the same as a hub that is away.
        if matches!(status, 429 | 500 | 503 | 504) {
            return Err(CallError::Unreachable {
                path: path.to_owned(),
                cause: detail,
            });
        }
        Err(CallError::Refused {
            status,
            path: path.to_owned(),
            detail,
        })
    }
}

fn empty(path: &str) -> CallError {
    CallError::Unreachable {
        path: path.to_owned(),
        cause: "the answer is empty".to_owned(),
    }
}
