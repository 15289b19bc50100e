//! The InfraMind that exists (2.1.1), asked over HTTP for the size of builds and told of those that ran.
//!
//! Every call ends within its deadline and its bytes, and holds the one credential; what an answer means is decided in
//! `wire_inframind::sizing`. A fleet needs none of it: where it is away, whoever asked hears why and builds as before.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use wire::api::{RunRequest, SizeRequest};
use wire_inframind::sizing::{self, Ingested, MOST_ANSWER_BYTES, Sized, SizingError, TOKEN_HEADER};

use crate::http::chained;
use crate::secrets::Sources;

/// Longest wait for an answer: it scores twenty candidates.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A field is out of its bounds.
    #[error("{0}")]
    Asked(SizingError),
    /// It is away, too slow, or says something that is no answer.
    #[error("{0}")]
    Brain(String),
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the InfraMind at `{url}` for sizes: {reason}")]
pub struct SizingSettings {
    url: String,
    reason: String,
}

/// An InfraMind that sizes builds.
pub struct Sizing {
    base: String,
    token: reqwest::header::HeaderValue,
    client: reqwest::Client,
}

impl std::fmt::Debug for Sizing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sizing {{ base: {:?}, .. }}", self.base)
    }
}

impl Sizing {
    /// One at this address, for example `https://inframind.example:8081`. `token` says where the shared key is.
    pub fn new(url: &str, token: &str, secrets: &Sources) -> Result<Self, SizingSettings> {
        let failed = |reason: String| SizingSettings {
            url: url.to_owned(),
            reason,
        };
        let parsed = reqwest::Url::parse(url).map_err(|cause| failed(cause.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
            return Err(failed(
                "it must begin with https://HOST or http://HOST, for example http://127.0.0.1:8081".to_owned(),
            ));
        }
        // Whoever lists processes reads command lines.
        if !["file:", "env:", "systemd:", "vault:"]
            .iter()
            .any(|from| token.starts_with(from))
        {
            return Err(failed(
                "`--sizing-token` says where the key is and is not the key: file:/PATH, env:NAME, systemd:NAME or vault:MOUNT/PATH#KEY"
                    .to_owned(),
            ));
        }
        let token = secrets.read(token).map_err(|error| failed(chained(&error)))?;
        let mut token = reqwest::header::HeaderValue::from_str(&token)
            .map_err(|_| failed("its token holds characters that no header may hold".to_owned()))?;
        token.set_sensitive(true);
        let client = crate::https::builder()
            .timeout(PATIENCE)
            // The token goes where it was told to go and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|cause| failed(cause.to_string()))?;
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            token,
            client,
        })
    }

    /// Asks for a size, under this id.
    pub async fn size(&self, request: &SizeRequest, id: &str) -> Result<Sized, Trouble> {
        let body = sizing::ask(request, id).map_err(Trouble::Asked)?;
        let answer = self.post("/optimize", &body).await?;
        sizing::read(request, &answer).map_err(|error| Trouble::Brain(error.to_string()))
    }

    /// Tells of a run. Returns its id there.
    pub async fn ran(&self, run: &RunRequest) -> Result<String, Trouble> {
        let body = sizing::tell(run).map_err(Trouble::Asked)?;
        let answer = self.post("/runs", &body).await?;
        let taken: Ingested = serde_json::from_value(answer)
            .map_err(|cause| Trouble::Brain(format!("it answers to a run with something else: {cause}")))?;
        let id = taken.run_id;
        Ok(id
            .as_str()
            .map_or_else(|| id.to_string(), str::to_owned)
            .chars()
            .take(128)
            .collect())
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Trouble> {
        let away = |cause: reqwest::Error| Trouble::Brain(format!("no answer to {path}: {}", chained(&cause)));
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header(TOKEN_HEADER, self.token.clone()).json(body);
        let mut answer = request.send().await.map_err(away)?;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if bytes.len() + chunk.len() > MOST_ANSWER_BYTES {
                return Err(Trouble::Brain(format!(
                    "its answer to {path} has more than {MOST_ANSWER_BYTES} bytes"
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        match status {
            200..=299 => serde_json::from_slice(&bytes)
                .map_err(|cause| Trouble::Brain(format!("its answer to {path} is no JSON: {cause}"))),
            // It says 403 to a missing key as well as to a wrong one.
            401 | 403 => Err(Trouble::Brain(format!(
                "it answers {status} to {path}: the token of `--sizing-token` is not its API key"
            ))),
            _ => {
                let said: String = String::from_utf8_lossy(&bytes)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(300)
                    .collect();
                Err(Trouble::Brain(format!("it answers {status} to {path}: {said}")))
            }
        }
    }
}
