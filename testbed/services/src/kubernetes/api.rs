//! A plain client of the Kubernetes API, for tests that look with other eyes than the product's, and for what a test sets up.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::identity::Identity;
use crate::ServiceError;

/// A client with one user's token.
#[derive(Debug, Clone)]
pub struct KubeApi {
    agent: ureq::Agent,
    root: String,
    token: String,
}

impl KubeApi {
    pub(super) fn new(port: u16, identity: &Identity, user: &str) -> Result<Self, ServiceError> {
        let authority =
            Certificate::from_pem(identity.authority_pem().as_bytes()).map_err(|cause| ServiceError::Make {
                name: "a client".to_owned(),
                output: cause.to_string(),
            })?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            root: format!("https://127.0.0.1:{port}"),
            token: identity.token(user).to_owned(),
        })
    }

    /// The object at a path such as `/api/v1/nodes/n`.
    pub fn get(&self, path: &str) -> Result<Value, ServiceError> {
        self.call(Method::GET, path, "", "").map(|text| parsed(&text))
    }

    /// The text at a path such as `/readyz`.
    pub fn text(&self, path: &str) -> Result<String, ServiceError> {
        self.call(Method::GET, path, "", "")
    }

    /// Creates an object in the collection at a path.
    pub fn post(&self, path: &str, object: &Value) -> Result<Value, ServiceError> {
        self.call(Method::POST, path, "application/json", &object.to_string())
            .map(|text| parsed(&text))
    }

    /// Creates what a YAML text describes in the collection at a path.
    pub fn post_yaml(&self, path: &str, text: &str) -> Result<Value, ServiceError> {
        self.call(Method::POST, path, "application/yaml", text)
            .map(|text| parsed(&text))
    }

    /// Merges a patch into the object at a path, or into its status at `…/status`.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value, ServiceError> {
        self.call(Method::PATCH, path, "application/merge-patch+json", &patch.to_string())
            .map(|text| parsed(&text))
    }

    /// Deletes the object at a path.
    pub fn delete(&self, path: &str) -> Result<(), ServiceError> {
        self.call(Method::DELETE, path, "", "").map(drop)
    }

    /// Watches a collection, such as `/api/v1/nodes`, until `look` gives something for one of its objects, at most `within`.
    ///
    /// Begins with the objects as they are; the first word that `look` gets is `ADDED`, `MODIFIED` or `DELETED`. Blocks.
    pub fn watch<T>(
        &self,
        collection: &str,
        within: Duration,
        mut look: impl FnMut(&str, &Value) -> Option<T>,
    ) -> Result<T, ServiceError> {
        let separator = if collection.contains('?') { '&' } else { '?' };
        let refused = |reason: String| ServiceError::Refused {
            name: "kube-apiserver",
            request: format!("watch {collection}"),
            reason,
        };
        let request = Request::builder()
            .uri(format!("{}{collection}{separator}watch=true", self.root))
            .header("authorization", format!("Bearer {}", self.token))
            .body(())
            .map_err(|cause| refused(cause.to_string()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(within))
            .build();
        let answer = self.agent.run(request).map_err(|cause| refused(cause.to_string()))?;
        let mut last = Value::Null;
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.map_err(|cause| refused(format!("{cause}; last seen: {last}")))?;
            let event = parsed(&line);
            if let Some(found) = look(event["type"].as_str().unwrap_or_default(), &event["object"]) {
                return Ok(found);
            }
            last = event["object"]["status"].clone();
        }
        Err(refused(format!("the server ended it; last seen: {last}")))
    }

    fn call(&self, method: Method, path: &str, kind: &str, body: &str) -> Result<String, ServiceError> {
        let request = format!("{method} {path}");
        let refused = |reason: String| ServiceError::Refused {
            name: "kube-apiserver",
            request: request.clone(),
            reason,
        };
        let built = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.root))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", if kind.is_empty() { "application/json" } else { kind });
        let sent = match body.is_empty() {
            true => built
                .body(())
                .map_err(|cause| refused(cause.to_string()))
                .map(|request| self.agent.run(request))?,
            false => built
                .body(body)
                .map_err(|cause| refused(cause.to_string()))
                .map(|request| self.agent.run(request))?,
        };
        let mut answer = sent.map_err(|cause| refused(cause.to_string()))?;
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string();
        let text = text.map_err(|cause| refused(cause.to_string()))?;
        if answer.status().is_success() {
            return Ok(text);
        }
        Err(refused(format!("{}: {text}", answer.status())))
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
