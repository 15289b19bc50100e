//! Secrets from a Vault, or from OpenBao, which speaks the same API: `vault:MOUNT/PATH#KEY` of a key-value engine, version 1 or 2.
//!
//! Logs in with a token, or with an AppRole; renews what it got at two thirds of its life, and logs in again where that does not help.
//! Blocks, and keeps nothing on a disk. A secret or token never stands in an error or in a log. Whether a Vault that is gone matters is
//! for the caller: what was read before stays good for it.
//!
//! Source: Vault HTTP API v1 (`auth/approle`, `auth/token`, `kv`, `sys/internal/ui/mounts`).

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer: a secret is small.
const ANSWER_BYTES: u64 = 1 << 20;
/// A token that names no end is looked at again after this time.
const UNENDING: Duration = Duration::from_secs(24 * 3_600);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It does not answer.
    #[error("the Vault at {address} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        cause: String,
    },
    /// It is sealed.
    #[error("the Vault at {address} is sealed: unseal it")]
    Sealed {
        /// Where.
        address: String,
    },
    /// It does not let us in.
    #[error("the Vault at {address} does not accept {what}: give a valid one, or a new secret id of the role")]
    NotLoggedIn {
        /// Where.
        address: String,
        /// What was tried.
        what: &'static str,
    },
    /// The path is not ours to read.
    #[error("the Vault refuses `{reference}`: its policy needs read of that path for this token")]
    Denied {
        /// What was asked for.
        reference: String,
    },
    /// There is nothing.
    #[error("the Vault has no `{reference}`: write it, or name what is there")]
    Missing {
        /// What was asked for.
        reference: String,
    },
    /// A text that names no secret.
    #[error("`{reference}` names no secret: vault:MOUNT/PATH#KEY")]
    Form {
        /// The text.
        reference: String,
    },
    /// Another answer.
    #[error("the Vault at {address} answers {status} to {path}")]
    Answer {
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
        /// To what.
        path: String,
    },
    /// Its certificates cannot be used.
    #[error("cannot use `{path}` for TLS with the Vault: {cause}")]
    Tls {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
}

/// How to log in. The texts are secrets.
#[derive(Clone)]
pub enum Login {
    /// With a token that somebody made.
    Token(String),
    /// As a role.
    AppRole {
        /// The role's id.
        role: String,
        /// Its secret id.
        secret: String,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl Login {
    const fn what(&self) -> &'static str {
        match self {
            Self::Token(_) => "the token",
            Self::AppRole { .. } => "the role's secret id",
        }
    }
}

/// A token of ours.
struct Token {
    text: String,
    renew_at: Instant,
    ends: Option<Instant>,
    renewable: bool,
}

/// A Vault.
pub struct Vault {
    address: String,
    namespace: Option<String>,
    login: Login,
    agent: ureq::Agent,
    token: Mutex<Option<Token>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("address", &self.address)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// A Vault at `https://HOST:PORT`. `tls`: a folder with `ca.pem`, and `certificate.pem` and `key.pem` where it asks for one of ours;
    /// without it the Vault is trusted as this system trusts.
    pub fn new(address: &str, login: Login, namespace: Option<String>, tls: Option<&Path>) -> Result<Self, VaultError> {
        let mut settings = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::PlatformVerifier);
        if let Some(folder) = tls {
            let ca = pem(&folder.join("ca.pem"))?;
            settings = settings.root_certs(RootCerts::from(vec![certificate(&ca, folder)?]));
            let own = folder.join("certificate.pem");
            if own.is_file() {
                let key = pem(&folder.join("key.pem"))?;
                let key = PrivateKey::from_pem(&key).map_err(|cause| broken(&folder.join("key.pem"), cause))?;
                let chain = vec![certificate(&pem(&own)?, folder)?];
                settings = settings.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
            }
        }
        let agent = ureq::Agent::config_builder()
            .tls_config(settings.build())
            .http_status_as_error(false)
            // A Vault that is on standby sends on to the active one; nothing else has to.
            .max_redirects(1)
            .timeout_global(Some(PATIENCE))
            .build();
        Ok(Self {
            address: address.trim_end_matches('/').to_owned(),
            namespace,
            login,
            agent: agent.into(),
            token: Mutex::default(),
        })
    }

    /// The secret at `MOUNT/PATH#KEY`. Blocks for some seconds at most.
    pub fn read(&self, reference: &str) -> Result<String, VaultError> {
        match self.read_once(reference) {
            // The token may have been revoked: a role gets another, once.
            Err(VaultError::Denied { .. }) if matches!(self.login, Login::AppRole { .. }) => {
                *self.token() = None;
                self.read_once(reference)
            }
            read => read,
        }
    }

    fn read_once(&self, reference: &str) -> Result<String, VaultError> {
        let form = || VaultError::Form {
            reference: reference.to_owned(),
        };
        let (path, key) = reference.split_once('#').ok_or_else(form)?;
        let path = path.trim_matches('/');
        let is_plain = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
        if key.is_empty() || !path.contains('/') || !path.split('/').all(is_plain) || path.contains(['?', '%']) {
            return Err(form());
        }
        let token = self.logged_in()?;
        let ask = |path: &str| match self.ask("GET", path, Some(&token), None)? {
            (200, answer) => Ok(answer),
            (403, _) => Err(VaultError::Denied {
                reference: reference.to_owned(),
            }),
            (404, _) => Err(VaultError::Missing {
                reference: reference.to_owned(),
            }),
            (status, _) => Err(self.answered(status, path)),
        };
        // Says where the engine is mounted and which version it has, as Vault's own command line asks.
        let mount = ask(&format!("sys/internal/ui/mounts/{path}"))?;
        let mount = &mount["data"];
        let place = mount["path"].as_str().unwrap_or_default().trim_matches('/');
        let rest = path.strip_prefix(place).unwrap_or(path).trim_matches('/');
        let secret = match mount["options"]["version"].as_str() {
            Some("2") => ask(&format!("{place}/data/{rest}"))?["data"]["data"][key].take(),
            _ => ask(path)?["data"][key].take(),
        };
        match secret {
            Value::String(secret) => Ok(secret),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(VaultError::Missing {
                reference: reference.to_owned(),
            }),
        }
    }

    /// Renews the token if two thirds of its life are over. Blocks.
    pub fn renew(&self) -> Result<(), VaultError> {
        let mut token = self.token();
        let due = token.as_ref().filter(|token| Instant::now() >= token.renew_at);
        let Some(present) = due else { return Ok(()) };
        let renewed = match present.renewable {
            true => self.ask("POST", "auth/token/renew-self", Some(&present.text), Some(json!({})))?,
            false => (403, Value::Null),
        };
        match renewed {
            (200, answer) => *token = lease(&answer["auth"]),
            // Its life cannot be made longer: the next read logs in anew.
            _ if matches!(self.login, Login::AppRole { .. }) => *token = None,
            _ => {
                return Err(VaultError::NotLoggedIn {
                    address: self.address.clone(),
                    what: self.login.what(),
                });
            }
        }
        Ok(())
    }

    fn token(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good now.
    fn logged_in(&self) -> Result<String, VaultError> {
        let mut token = self.token();
        let is_good = |token: &&Token| token.ends.is_none_or(|ends| Instant::now() < ends);
        if let Some(good) = token.as_ref().filter(is_good) {
            return Ok(good.text.clone());
        }
        let (status, answer) = match &self.login {
            Login::Token(text) => self.ask("GET", "auth/token/lookup-self", Some(text), None)?,
            Login::AppRole { role, secret } => {
                let body = json!({ "role_id": role, "secret_id": secret });
                self.ask("POST", "auth/approle/login", None, Some(body))?
            }
        };
        let got = match (status, &self.login) {
            (200, Login::AppRole { .. }) => lease(&answer["auth"]),
            (200, Login::Token(text)) => {
                let data = &answer["data"];
                lease(&json!({ "client_token": text, "lease_duration": data["ttl"], "renewable": data["renewable"] }))
            }
            (400..=403, _) => None,
            (status, _) => return Err(self.answered(status, "a login")),
        };
        let got = got.ok_or_else(|| VaultError::NotLoggedIn {
            address: self.address.clone(),
            what: self.login.what(),
        })?;
        let text = got.text.clone();
        *token = Some(got);
        Ok(text)
    }

    /// Asks, and returns the status with what was said; a Vault that is sealed or gone is an error.
    fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<(u16, Value), VaultError> {
        let url = format!("{}/v1/{path}", self.address);
        let headed = |name: &'static str, value: Option<&str>| value.map(|value| (name, value.to_owned()));
        let headers = headed("X-Vault-Token", token)
            .into_iter()
            .chain(headed("X-Vault-Namespace", self.namespace.as_deref()));
        let sent = match (method, body) {
            ("POST", body) => {
                let mut request = self.agent.post(&url);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                request.send_json(body.unwrap_or(Value::Null))
            }
            _ => {
                let mut request = self.agent.get(&url);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                request.call()
            }
        };
        let mut answer = sent.map_err(|cause| VaultError::Unreachable {
            address: self.address.clone(),
            cause: cause.to_string(),
        })?;
        let status = answer.status().as_u16();
        if status == 503 {
            return Err(VaultError::Sealed {
                address: self.address.clone(),
            });
        }
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
        let value = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        Ok((status, value.unwrap_or_default()))
    }

    fn answered(&self, status: u16, path: &str) -> VaultError {
        VaultError::Answer {
            address: self.address.clone(),
            status,
            path: path.to_owned(),
        }
    }
}

/// What a login or a renewal gives.
fn lease(auth: &Value) -> Option<Token> {
    let text = auth["client_token"]
        .as_str()
        .filter(|text| !text.is_empty())?
        .to_owned();
    let life = auth["lease_duration"].as_u64().filter(|seconds| *seconds > 0);
    let life = life.map(Duration::from_secs);
    let now = Instant::now();
    Some(Token {
        text,
        renew_at: now + life.map_or(UNENDING, |life| life * 2 / 3),
        ends: life.map(|life| now + life),
        renewable: auth["renewable"].as_bool().unwrap_or_default(),
    })
}

fn pem(path: &Path) -> Result<Vec<u8>, VaultError> {
    std::fs::read(path).map_err(|cause| broken(path, cause))
}

fn certificate(pem: &[u8], folder: &Path) -> Result<Certificate<'static>, VaultError> {
    Certificate::from_pem(pem).map_err(|cause| broken(folder, cause))
}

fn broken(path: &Path, cause: impl fmt::Display) -> VaultError {
    VaultError::Tls {
        path: path.display().to_string(),
        cause: cause.to_string(),
    }
}
