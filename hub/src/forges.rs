//! Forges: where they are, how they are asked, and how a pull request is opened on them. The only place that uses their credentials.
//!
//! A file of sources (`--forges FILE`, TOML) names each forge with its address, token and webhook secrets. Opening a pull request is
//! idempotent by branch: the branch that exists is used, the pull request that is open is returned. The commit is made through the
//! forge's API from (path, text); no git runs here and no hook of a repository either.
//!
//! Read next: `forges/gitea.rs`, `forges/github.rs`, `forges/gitlab.rs` (each forge's own words), `forges/review.rs` (what comes after the
//! opening), `forges/people.rs` (labels and reviewers), `forges/credential.rs` (tokens and GitHub Apps), `forges/api.rs` (what they share).

mod api;
mod credential;
mod gitea;
mod github;
mod gitlab;
mod people;
pub mod review;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use self::api::{Api, escaped, signed};
use self::credential::{App, AppSource, Credential};
use crate::http::chained;
use crate::secrets::Sources;
use crate::webhooks::Provider;
use crate::webhooks::event::Failed;

/// Longest wait for a forge.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest log taken, in bytes.
pub const LOG_BYTES: usize = 64 << 20;
/// Largest tree taken, in bytes.
pub const TREE_BYTES: usize = 512 << 20;

/// One forge.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name in the webhook's path.
    pub id: String,
    /// Its kind.
    pub provider: Provider,
    /// Address of the forge, for example `https://git.example.org`; for github.com `https://api.github.com`.
    pub url: String,
    /// File with the token for its API; or else `token` names it.
    pub token_file: Option<PathBuf>,
    /// Where the token for its API is: `file:/PATH`, `env:NAME` or `systemd:NAME`.
    pub token: Option<String>,
    /// Or the GitHub App as which the hub comes.
    pub app: Option<AppSource>,
    /// Secret of its webhooks, or where it is.
    pub secret: String,
    /// The former secret, while it is being changed.
    pub previous_secret: Option<String>,
    /// Other hosts from which logs may be fetched, without a token.
    #[serde(default)]
    pub log_hosts: Vec<String>,
    /// Repositories that are asked for runs no webhook told of, `owner/name`; without it those that the token sees.
    #[serde(default)]
    pub repositories: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    source: Vec<Source>,
}

/// The forges file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the forges file `{path}`: {reason}")]
pub struct ForgesError {
    path: PathBuf,
    reason: String,
}

/// A forge did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ForgeError {
    /// Stable code.
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// Another try later may succeed.
    pub may_pass: bool,
}

/// All forges.
#[derive(Debug)]
pub struct Forges {
    sources: Vec<(Source, Credential)>,
    client: reqwest::Client,
}

impl Default for Forges {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            client: crate::https::client(),
        }
    }
}

/// A pull request to open.
#[derive(Debug, Clone)]
pub struct PullRequest<'a> {
    /// `owner/name`.
    pub repository: &'a str,
    /// The commit that it repairs.
    pub commit: &'a str,
    /// The branch to repair; empty: the one whose head is the commit.
    pub base: &'a str,
    /// The new branch.
    pub branch: &'a str,
    /// Title, also of the commit.
    pub title: &'a str,
    /// Body.
    pub body: &'a str,
    /// (path, text) of each changed file.
    pub files: &'a [(String, String)],
    /// Those of the files that are programs.
    pub executable: &'a [String],
}

impl PullRequest<'_> {
    /// The mode of a file, as git writes it.
    fn mode(&self, path: &str) -> &'static str {
        if self.executable.iter().any(|known| known == path) {
            "100755"
        } else {
            "100644"
        }
    }
}

/// A pull request that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its page.
    pub url: String,
    /// Its number.
    pub number: u64,
    /// Our commit, where the forge tells it.
    pub head: Option<String>,
}

impl Forges {
    /// Reads the file and the secrets that it names. Blocks while a Vault is asked.
    pub fn load(path: &Path, secrets: &Sources) -> Result<Self, ForgesError> {
        let failed = |reason: String| ForgesError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|cause| failed(cause.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|cause| failed(cause.to_string()))?;
        let mut sources = Vec::new();
        for mut source in file.source {
            let named = |field: &str, text: &str| {
                secrets
                    .read(text)
                    .map_err(|error| failed(format!("{field} of source `{}`: {}", source.id, chained(&error))))
            };
            let secret = named("secret", &source.secret)?;
            let previous = source
                .previous_secret
                .as_deref()
                .map(|text| named("previous_secret", text));
            let previous = previous.transpose()?;
            let credential = match (&source.token_file, &source.token, &source.app) {
                (Some(path), None, None) => {
                    Credential::Token(named("token_file", &format!("file:{}", path.display()))?)
                }
                (None, Some(text), None) => Credential::Token(named("token", text)?),
                (None, None, Some(app)) if source.provider == Provider::Github => {
                    let key = named("app.key", &app.key)?;
                    let unfit = |cause| {
                        failed(format!(
                            "app.key of source `{}` is no RSA key in PEM: {cause}",
                            source.id
                        ))
                    };
                    Credential::App(App::new(&app.id, &key).map_err(unfit)?)
                }
                (None, None, Some(_)) => {
                    return Err(failed(format!(
                        "source `{}` names an `app`, which only github has: name a `token_file`",
                        source.id
                    )));
                }
                _ => {
                    return Err(failed(format!(
                        "source `{}` needs `token_file`, `token` or `app`, one of them",
                        source.id
                    )));
                }
            };
            (source.secret, source.previous_secret, source.token) = (secret, previous, None);
            if source.secret.len() < 8 {
                return Err(failed(format!(
                    "secret of source `{}` has less than 8 letters: anybody could sign",
                    source.id
                )));
            }
            if sources
                .iter()
                .any(|(known, _): &(Source, Credential)| known.id == source.id)
            {
                return Err(failed(format!("source `{}` stands there twice", source.id)));
            }
            sources.push((source, credential));
        }
        let client = crate::https::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|cause| failed(cause.to_string()))?;
        Ok(Self { sources, client })
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().map(|(source, _)| source)
    }

    /// One source.
    pub fn source(&self, id: &str) -> Option<&Source> {
        self.sources
            .iter()
            .map(|(source, _)| source)
            .find(|source| source.id == id)
    }

    /// The source of this kind, if there is exactly one: what paths without a name mean.
    pub fn only(&self, providers: &[Provider]) -> Option<&Source> {
        let mut found = self
            .sources
            .iter()
            .map(|(source, _)| source)
            .filter(|source| providers.contains(&source.provider));
        found.next().filter(|_| found.next().is_none())
    }

    /// A source, and what lets us in at one of its repositories.
    async fn find(&self, id: &str, repository: &str) -> Result<(&Source, String), ForgeError> {
        let (source, credential) = self.known(id)?;
        let token = credential.of(&self.client, source, repository).await?;
        Ok((source, token))
    }

    fn known(&self, id: &str) -> Result<(&Source, &Credential), ForgeError> {
        let found = self.sources.iter().find(|(source, _)| source.id == id);
        let (source, credential) =
            found.ok_or_else(|| lasting("repo_disabled", format!("there is no source `{id}` any more")))?;
        Ok((source, credential))
    }

    /// The log at `url`, or of the run or job whose page that is. The token goes to the forge itself only; other hosts must be named in
    /// `log_hosts`, but for the one that the forge itself sends us to.
    pub async fn log(&self, source: &str, repository: &str, url: &str) -> Result<Vec<u8>, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let path = match source.provider {
            Provider::Github => github::log_path(url),
            Provider::Gitlab => gitlab::log_path(url),
            Provider::Gitea | Provider::Forgejo => None,
        };
        if let Some(path) = path {
            let api = Api::of_repository(&self.client, source, &token, repository);
            return self.followed(api.request(Method::GET, &path)).await;
        }
        let address =
            reqwest::Url::parse(url).map_err(|_| lasting("no_log", format!("`{url}` is no address of a log")))?;
        let own = reqwest::Url::parse(&source.url).is_ok_and(|forge| forge.origin() == address.origin());
        if !own
            && !address
                .host_str()
                .is_some_and(|host| source.log_hosts.iter().any(|known| known == host))
        {
            return Err(lasting(
                "no_log",
                format!("`{url}` is on another host than the forge: name it in log_hosts"),
            ));
        }
        let request = self.client.get(address);
        let request = if own {
            signed(request, source.provider, &token)
        } else {
            request
        };
        bytes(request, LOG_BYTES, "log_expired").await
    }

    /// A log that the forge keeps elsewhere: it answers with an address that is good for a minute. The credential is not shown there.
    async fn followed(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, ForgeError> {
        let failed = |cause: reqwest::Error| passing("host_error", format!("cannot reach the forge: {cause}"));
        let answer = request.send().await.map_err(failed)?;
        if !answer.status().is_redirection() {
            return taken(answer, LOG_BYTES, "log_expired").await;
        }
        let place = answer.headers().get("location").and_then(|place| place.to_str().ok());
        let place = place
            .and_then(|place| answer.url().join(place).ok())
            .ok_or_else(|| lasting("no_log", "the forge redirects to no address"))?;
        bytes(self.client.get(place), LOG_BYTES, "log_expired").await
    }

    /// The tree at `commit`, a gzipped tar.
    pub async fn tree(&self, source: &str, repository: &str, commit: &str) -> Result<Vec<u8>, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let path = match source.provider {
            Provider::Gitea | Provider::Forgejo => format!("/archive/{commit}.tar.gz"),
            Provider::Github => {
                // GitHub, too, sends elsewhere for it.
                return self
                    .followed(api.request(Method::GET, &format!("/tarball/{commit}")))
                    .await;
            }
            Provider::Gitlab => format!("/repository/archive.tar.gz?sha={}", escaped(commit)),
        };
        bytes(api.request(Method::GET, &path), TREE_BYTES, "host_error").await
    }

    /// Opens the pull request, or finds the one that is open.
    pub async fn open(&self, source: &str, wanted: &PullRequest<'_>) -> Result<Opened, ForgeError> {
        let (source, token) = self.find(source, wanted.repository).await?;
        let api = Api::of_repository(&self.client, source, &token, wanted.repository);
        match source.provider {
            Provider::Gitea | Provider::Forgejo => gitea::open(&api, wanted).await,
            Provider::Github => github::open(&api, wanted).await,
            Provider::Gitlab => gitlab::open(&api, wanted).await,
        }
    }

    /// Repositories of a source that may have failed checks: those that its file names, else those that the token sees.
    pub async fn repositories(&self, source: &str) -> Result<Vec<String>, ForgeError> {
        let (source, credential) = self.known(source)?;
        if !source.repositories.is_empty() {
            return Ok(source.repositories.clone());
        }
        let mut all = Vec::new();
        for token in credential.all(&self.client, source).await? {
            let forge = Api::of_forge(&self.client, source, &token);
            all.extend(match source.provider {
                Provider::Gitea | Provider::Forgejo => gitea::repositories(&forge).await?,
                Provider::Github => github::repositories(&forge, credential.is_app()).await?,
                Provider::Gitlab => gitlab::repositories(&forge).await?,
            });
        }
        Ok(all)
    }

    /// Checks that failed in a repository since a time (RFC 3339), each with a delivery id of its own.
    pub async fn failed(
        &self,
        source: &str,
        repository: &str,
        since: &str,
    ) -> Result<Vec<(String, Failed)>, ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        match source.provider {
            Provider::Gitea | Provider::Forgejo => gitea::failed(&api, repository).await,
            Provider::Github => github::failed(&api, repository, since).await,
            Provider::Gitlab => gitlab::failed(&api, repository, since).await,
        }
    }
}

async fn bytes(request: reqwest::RequestBuilder, most: usize, code: &'static str) -> Result<Vec<u8>, ForgeError> {
    let failed = |cause: reqwest::Error| passing("host_error", format!("cannot reach the forge: {cause}"));
    let answer = request.header("user-agent", "sentinel").send().await.map_err(failed)?;
    taken(answer, most, code).await
}

/// The body of an answer, within a bound.
async fn taken(mut answer: reqwest::Response, most: usize, code: &'static str) -> Result<Vec<u8>, ForgeError> {
    let failed = |cause: reqwest::Error| passing("host_error", format!("cannot reach the forge: {cause}"));
    let status = answer.status();
    // It is busy, or broken for now: what is asked for may be there all the same.
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return Err(passing("host_error", format!("the forge answers {status}")));
    }
    if !status.is_success() {
        return Err(lasting(code, format!("the forge answers {status}")));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > most {
            return Err(lasting("too_large", format!("it has more than {most} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn lasting(code: &'static str, reason: impl Into<String>) -> ForgeError {
    ForgeError {
        code,
        reason: reason.into(),
        may_pass: false,
    }
}

fn passing(code: &'static str, reason: impl Into<String>) -> ForgeError {
    ForgeError {
        code,
        reason: reason.into(),
        may_pass: true,
    }
}

#[cfg(test)]
mod tests;
