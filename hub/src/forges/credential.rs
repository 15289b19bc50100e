//! What a forge lets us in with: a token from a file, or a GitHub App that signs for an hour's token of each installation.
//!
//! An App's key never leaves this file; what goes to the forge is a signed claim that is good for minutes, and a token that is good for
//! an hour and for one owner's repositories.
//!
//! Source: GitHub's REST API 2022-11-28, "Authenticating as a GitHub App" (RS256, `exp` at most ten minutes ahead, `iat` a minute back).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::Api;
use super::{ForgeError, Source, lasting};

/// How long a token of an installation is used: it lives an hour.
const TOKEN_LIFE: Duration = Duration::from_secs(50 * 60);
/// The clocks of two machines differ by so much, in seconds.
const SKEW_S: u64 = 60;
/// How long a signed claim lives, in seconds: at most 600 from its `iat`.
const CLAIM_S: u64 = 480;

/// A GitHub App, as the forges file names it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSource {
    /// Its id or its client id.
    pub id: String,
    /// Where its private key is, PEM: `file:/PATH`, `env:NAME` or `systemd:NAME`.
    pub key: String,
}

/// What a source lets us in with.
pub enum Credential {
    /// A token that somebody made.
    Token(String),
    /// A GitHub App.
    App(App),
}

/// A GitHub App with its key and the tokens that it has at present.
pub struct App {
    id: String,
    key: EncodingKey,
    /// By owner of repositories: an installation is on one.
    tokens: Mutex<HashMap<String, (String, Instant)>>,
}

#[derive(Serialize)]
struct Claim<'a> {
    iat: u64,
    exp: u64,
    iss: &'a str,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::App(app) => f.debug_struct("App").field("id", &app.id).finish_non_exhaustive(),
        }
    }
}

impl Credential {
    /// What to show for a repository, `owner/name`. An App asks the forge for a token when it has none that is good.
    pub async fn of(&self, client: &reqwest::Client, source: &Source, repository: &str) -> Result<String, ForgeError> {
        match self {
            Self::Token(token) => Ok(token.clone()),
            Self::App(app) => {
                let owner = repository.split('/').next().unwrap_or_default();
                if let Some(token) = app.known(owner) {
                    return Ok(token);
                }
                let claim = app.claim()?;
                let forge = Api::of_forge(client, source, &claim);
                let (status, installation) = forge.get(&format!("/repos/{repository}/installation")).await?;
                let Some(id) = installation["id"].as_u64().filter(|_| status == 200) else {
                    return Err(lasting(
                        "permission_missing",
                        format!(
                            "the App `{}` is not installed on `{repository}`: the forge answers {status}",
                            app.id
                        ),
                    ));
                };
                app.token(&forge, owner, id).await
            }
        }
    }

    /// What to show for everything that a source sees: its token, or one token of each installation of the App.
    pub async fn all(&self, client: &reqwest::Client, source: &Source) -> Result<Vec<String>, ForgeError> {
        match self {
            Self::Token(token) => Ok(vec![token.clone()]),
            Self::App(app) => {
                let claim = app.claim()?;
                let forge = Api::of_forge(client, source, &claim);
                let (_, found) = forge.get("/app/installations?per_page=100").await?;
                let mut tokens = Vec::new();
                for one in found.as_array().into_iter().flatten() {
                    let owner = one["account"]["login"].as_str().unwrap_or_default();
                    if let Some(id) = one["id"].as_u64() {
                        let token = match app.known(owner) {
                            Some(token) => token,
                            None => app.token(&forge, owner, id).await?,
                        };
                        tokens.push(token);
                    }
                }
                Ok(tokens)
            }
        }
    }

    /// Whether repositories are listed by installation.
    pub fn is_app(&self) -> bool {
        matches!(self, Self::App(_))
    }
}

impl App {
    /// An App with its private key, PEM.
    pub fn new(id: &str, pem: &str) -> Result<Self, jsonwebtoken::errors::Error> {
        Ok(Self {
            id: id.to_owned(),
            key: EncodingKey::from_rsa_pem(pem.as_bytes())?,
            tokens: Mutex::default(),
        })
    }

    fn known(&self, owner: &str) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, since) = tokens.get(owner)?;
        (since.elapsed() < TOKEN_LIFE).then(|| token.clone())
    }

    /// A claim that we are this App, good for minutes.
    fn claim(&self) -> Result<String, ForgeError> {
        let now = jsonwebtoken::get_current_timestamp();
        let claim = Claim {
            iat: now.saturating_sub(SKEW_S),
            exp: now + CLAIM_S,
            iss: &self.id,
        };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claim, &self.key);
        signed.map_err(|cause| lasting("permission_missing", format!("the App's key cannot sign: {cause}")))
    }

    /// A new token of one installation, kept for the owner's other repositories.
    async fn token(&self, forge: &Api<'_>, owner: &str, installation: u64) -> Result<String, ForgeError> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let (status, answer) = forge.ask(Method::POST, &path, Some(json!({}))).await?;
        let Some(token) = answer["token"].as_str().filter(|_| (200..300).contains(&status)) else {
            return Err(lasting(
                "permission_missing",
                format!("the forge gives the App `{}` no token: it answers {status}", self.id),
            ));
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(owner.to_owned(), (token.to_owned(), Instant::now()));
        Ok(token.to_owned())
    }
}
