//! Forges: where they are, how they are asked, and how a pull request is opened on them. The only place that uses their credentials.
//!
//! A file of sources (`--forges FILE`, TOML) names each forge with its address, token and webhook secrets. Opening a pull request is
//! idempotent by branch: the branch that exists is used, the pull request that is open is returned. The commit is made through the
//! forge's API from (path, text); no git runs here and no hook of a repository either.
//!
//! Pull requests are opened on Gitea and Forgejo; on GitHub through the same steps of its own API. GitLab's webhooks become tasks, but no
//! merge request is opened there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::chained;
use crate::secrets;
use crate::webhooks::Provider;

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
    /// Secret of its webhooks, or where it is.
    pub secret: String,
    /// The former secret, while it is being changed.
    pub previous_secret: Option<String>,
    /// Other hosts from which logs may be fetched, without a token.
    #[serde(default)]
    pub log_hosts: Vec<String>,
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
#[derive(Debug, Default)]
pub struct Forges {
    sources: Vec<(Source, String)>,
    client: reqwest::Client,
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
}

impl Forges {
    /// Reads the file and the tokens that it names.
    pub fn load(path: &Path) -> Result<Self, ForgesError> {
        let failed = |reason: String| ForgesError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|cause| failed(cause.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|cause| failed(cause.to_string()))?;
        let mut sources = Vec::new();
        for mut source in file.source {
            let named = |field: &str, text: &str| {
                secrets::read(text)
                    .map_err(|error| failed(format!("{field} of source `{}`: {}", source.id, chained(&error))))
            };
            let secret = named("secret", &source.secret)?;
            let previous = source
                .previous_secret
                .as_deref()
                .map(|text| named("previous_secret", text));
            let previous = previous.transpose()?;
            let token = match (&source.token_file, &source.token) {
                (Some(path), None) => named("token_file", &format!("file:{}", path.display()))?,
                (None, Some(text)) => named("token", text)?,
                _ => {
                    return Err(failed(format!(
                        "source `{}` needs `token_file` or `token`, one of them",
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
                .any(|(known, _): &(Source, String)| known.id == source.id)
            {
                return Err(failed(format!("source `{}` stands there twice", source.id)));
            }
            sources.push((source, token));
        }
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|cause| failed(cause.to_string()))?;
        Ok(Self { sources, client })
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

    fn find(&self, id: &str) -> Result<(&Source, &str), ForgeError> {
        let found = self.sources.iter().find(|(source, _)| source.id == id);
        let (source, token) =
            found.ok_or_else(|| lasting("repo_disabled", format!("there is no source `{id}` any more")))?;
        Ok((source, token.as_str()))
    }

    /// The log at `url`. The token goes to the forge itself only; other hosts must be named in `log_hosts`.
    pub async fn log(&self, source: &str, url: &str) -> Result<Vec<u8>, ForgeError> {
        let (source, token) = self.find(source)?;
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
            request.header("authorization", format!("token {token}"))
        } else {
            request
        };
        bytes(request, LOG_BYTES, "log_expired").await
    }

    /// The tree at `commit`, a gzipped tar.
    pub async fn tree(&self, source: &str, repository: &str, commit: &str) -> Result<Vec<u8>, ForgeError> {
        let (source, token) = self.find(source)?;
        let path = match source.provider {
            Provider::Gitea | Provider::Forgejo => {
                format!("{}/repos/{repository}/archive/{commit}.tar.gz", api(source))
            }
            Provider::Github => format!("{}/repos/{repository}/tarball/{commit}", api(source)),
            Provider::Gitlab => return Err(lasting("repo_disabled", "trees of GitLab are not fetched")),
        };
        bytes(
            self.client.get(path).header("authorization", format!("token {token}")),
            TREE_BYTES,
            "host_error",
        )
        .await
    }

    /// Opens the pull request, or finds the one that is open. Returns its address and number.
    pub async fn open(&self, source: &str, wanted: &PullRequest<'_>) -> Result<(String, u64), ForgeError> {
        let (source, token) = self.find(source)?;
        if !matches!(source.provider, Provider::Gitea | Provider::Forgejo) {
            return Err(lasting(
                "repo_disabled",
                "pull requests are opened on Gitea and Forgejo only",
            ));
        }
        let repo = Repository {
            client: &self.client,
            base: format!("{}/repos/{}", api(source), wanted.repository),
            token,
        };
        let base = repo.base_branch(wanted).await?;
        if let Some(open) = repo.open_pull(wanted.branch).await? {
            return Ok(open);
        }
        if !repo.has_branch(wanted.branch).await? {
            repo.commit(wanted, &base).await?;
        }
        repo.open_new(wanted, &base).await
    }
}

fn api(source: &Source) -> String {
    let url = source.url.trim_end_matches('/');
    match source.provider {
        Provider::Gitea | Provider::Forgejo => format!("{url}/api/v1"),
        Provider::Github | Provider::Gitlab => url.to_owned(),
    }
}

struct Repository<'a> {
    client: &'a reqwest::Client,
    base: String,
    token: &'a str,
}

impl Repository<'_> {
    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<(u16, Value), ForgeError> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request
            .header("authorization", format!("token {}", self.token))
            .header("user-agent", "sentinel");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .map_err(|cause| passing("host_error", format!("cannot reach the forge: {cause}")))?;
        let status = answer.status().as_u16();
        if status == 429 || status >= 500 {
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
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    async fn get(&self, path: &str) -> Result<(u16, Value), ForgeError> {
        self.ask(reqwest::Method::GET, path, None).await
    }

    /// The branch to repair, whose head must still be the failing commit.
    async fn base_branch(&self, wanted: &PullRequest<'_>) -> Result<String, ForgeError> {
        let (_, repository) = self.get("").await?;
        let default = repository["default_branch"].as_str().unwrap_or("main").to_owned();
        let mut names = vec![default];
        if !wanted.base.is_empty() {
            names = vec![wanted.base.to_owned()];
        } else {
            let (_, branches) = self.get("/branches?limit=50").await?;
            names.extend(
                branches
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|branch| branch["name"].as_str().map(str::to_owned)),
            );
        }
        for name in names {
            let (status, branch) = self.get(&format!("/branches/{name}")).await?;
            if status == 200 && branch["commit"]["id"].as_str() == Some(wanted.commit) {
                return Ok(name);
            }
        }
        Err(lasting(
            "base_moved",
            format!("no branch has {} as its head any more", wanted.commit),
        ))
    }

    async fn has_branch(&self, name: &str) -> Result<bool, ForgeError> {
        Ok(self.get(&format!("/branches/{name}")).await?.0 == 200)
    }

    async fn open_pull(&self, branch: &str) -> Result<Option<(String, u64)>, ForgeError> {
        let (_, pulls) = self.get("/pulls?state=open&limit=50").await?;
        let ours = pulls
            .as_array()
            .into_iter()
            .flatten()
            .find(|pull| pull["head"]["ref"].as_str() == Some(branch));
        Ok(ours.and_then(address))
    }

    /// One commit with all files on the new branch.
    async fn commit(&self, wanted: &PullRequest<'_>, base: &str) -> Result<(), ForgeError> {
        let base64 = &base64::engine::general_purpose::STANDARD;
        let mut files = Vec::new();
        for (path, text) in wanted.files {
            let (status, old) = self.get(&format!("/contents/{path}?ref={}", wanted.commit)).await?;
            let Some(blob) = old["sha"].as_str().filter(|_| status == 200) else {
                return Err(lasting(
                    "base_moved",
                    format!("`{path}` is not in the failing commit any more"),
                ));
            };
            files.push(json!({"operation": "update", "path": path, "sha": blob, "content": base64.encode(text)}));
        }
        let body = json!({"branch": base, "new_branch": wanted.branch, "message": wanted.title, "files": files});
        let (status, answer) = self.ask(reqwest::Method::POST, "/contents", Some(body)).await?;
        match status {
            200..=299 => Ok(()),
            // Somebody else, or we before a crash, made the branch in this moment.
            409 if self.has_branch(wanted.branch).await? => Ok(()),
            _ => Err(lasting(
                "push_rejected",
                format!(
                    "the forge answers {status}: {}",
                    answer["message"].as_str().unwrap_or_default()
                ),
            )),
        }
    }

    async fn open_new(&self, wanted: &PullRequest<'_>, base: &str) -> Result<(String, u64), ForgeError> {
        let body = json!({"title": wanted.title, "body": wanted.body, "base": base, "head": wanted.branch});
        let (status, answer) = self.ask(reqwest::Method::POST, "/pulls", Some(body)).await?;
        if let Some(open) = address(&answer).filter(|_| (200..300).contains(&status)) {
            return Ok(open);
        }
        match self.open_pull(wanted.branch).await? {
            Some(open) => Ok(open),
            None => Err(lasting(
                "host_error",
                format!(
                    "the forge answers {status}: {}",
                    answer["message"].as_str().unwrap_or_default()
                ),
            )),
        }
    }
}

fn address(pull: &Value) -> Option<(String, u64)> {
    Some((pull["html_url"].as_str()?.to_owned(), pull["number"].as_u64()?))
}

async fn bytes(request: reqwest::RequestBuilder, most: usize, code: &'static str) -> Result<Vec<u8>, ForgeError> {
    let failed = |cause: reqwest::Error| passing("host_error", format!("cannot reach the forge: {cause}"));
    let mut answer = request.header("user-agent", "sentinel").send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(lasting(code, format!("the forge answers {}", answer.status())));
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
