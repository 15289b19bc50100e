//! One repository of one forge, asked over HTTP: the errors that every forge has alike, in stable codes.

use reqwest::Method;
use serde_json::Value;

use super::{ForgeError, Source, lasting, passing};
use crate::webhooks::Provider;

/// The largest answer that lists something: a page of a hundred rows.
const ANSWER_BYTES: usize = 8 << 20;

/// A repository, and the right to ask its forge.
pub struct Api<'a> {
    client: &'a reqwest::Client,
    base: String,
    provider: Provider,
    token: &'a str,
}

impl<'a> Api<'a> {
    /// The forge itself.
    pub fn of_forge(client: &'a reqwest::Client, source: &Source, token: &'a str) -> Self {
        Self {
            client,
            base: root(source),
            provider: source.provider,
            token,
        }
    }

    /// GitHub's GraphQL, which lies beside its REST API.
    pub fn of_graph(client: &'a reqwest::Client, source: &Source, token: &'a str) -> Self {
        let root = root(source);
        let base = match root.strip_suffix("/api/v3") {
            Some(host) => format!("{host}/api/graphql"),
            None => format!("{root}/graphql"),
        };
        Self {
            client,
            base,
            provider: source.provider,
            token,
        }
    }

    /// One repository of it, `owner/name`.
    pub fn of_repository(client: &'a reqwest::Client, source: &Source, token: &'a str, repository: &str) -> Self {
        let root = root(source);
        let base = match source.provider {
            // A project's path is one segment, its slashes escaped.
            Provider::Gitlab => format!("{root}/projects/{}", escaped(repository)),
            Provider::Github | Provider::Gitea | Provider::Forgejo => format!("{root}/repos/{repository}"),
        };
        Self {
            client,
            base,
            provider: source.provider,
            token,
        }
    }

    /// A request with the forge's credential.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        signed(request, self.provider, self.token)
    }

    /// Asks, and gives status and JSON; what no caller can do anything about is an error.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value), ForgeError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let mut answer = request
            .send()
            .await
            .map_err(|cause| passing("host_error", format!("cannot reach the forge: {cause}")))?;
        let status = answer.status().as_u16();
        // GitHub's secondary limit is a 403 that says when to come again.
        let is_limit = status == 429 || (status == 403 && answer.headers().contains_key("retry-after"));
        if is_limit || status >= 500 {
            return Err(passing(
                "host_rate_limited",
                format!("the forge answers {status} to {path}"),
            ));
        }
        if status == 401 || status == 403 {
            return Err(lasting(
                "permission_missing",
                format!("the forge answers {status} to {path}: the token may not do that"),
            ));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|cause| passing("host_error", format!("the forge's answer to {path} broke off: {cause}")))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                return Err(lasting(
                    "host_error",
                    format!("the forge's answer to {path} has more than {ANSWER_BYTES} bytes"),
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// Asks with GET.
    pub async fn get(&self, path: &str) -> Result<(u16, Value), ForgeError> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks with POST, and gives the JSON of a success; anything else is `code`.
    pub async fn make(&self, path: &str, body: Value, code: &'static str) -> Result<Value, ForgeError> {
        match self.ask(Method::POST, path, Some(body)).await? {
            (200..=299, answer) => Ok(answer),
            (status, answer) => Err(lasting(
                code,
                format!("the forge answers {status} to {path}: {}", said(&answer)),
            )),
        }
    }
}

/// What a forge says of a refusal.
pub fn said(answer: &Value) -> String {
    let message = &answer["message"];
    message
        .as_str()
        .map_or_else(|| message.to_string(), str::to_owned)
        .chars()
        .take(300)
        .collect()
}

/// The forge's credential, as each kind of forge takes it.
pub fn signed(request: reqwest::RequestBuilder, provider: Provider, token: &str) -> reqwest::RequestBuilder {
    let request = request.header("user-agent", "sentinel");
    match provider {
        Provider::Gitea | Provider::Forgejo => request.header("authorization", format!("token {token}")),
        Provider::Github => request
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28"),
        Provider::Gitlab => request.header("private-token", token),
    }
}

fn root(source: &Source) -> String {
    let url = source.url.trim_end_matches('/');
    match source.provider {
        Provider::Gitea | Provider::Forgejo => format!("{url}/api/v1"),
        // For github.com `https://api.github.com`, for Enterprise Server `https://HOST/api/v3`.
        Provider::Github => url.to_owned(),
        Provider::Gitlab => format!("{url}/api/v4"),
    }
}

/// One path segment or query value.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
