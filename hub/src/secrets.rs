//! Where a secret of the configuration comes from: a file, the environment, systemd or a Vault, so that the configuration itself holds
//! none.
//!
//! `file:/path`, `env:NAME` and `systemd:NAME` (a credential of the unit, `LoadCredential=`) and `vault:MOUNT/PATH#KEY` are
//! read once at the start; a text of another form is the secret itself. A secret never stands in an error or in a log.
//!
//! Source: `systemd.exec(5)`, section "Credentials".

pub mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use vault::{Vault, VaultError};

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("cannot read the secret `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The environment does not have it.
    #[error("the environment has no `{name}`: set it, or name the secret by file:/PATH")]
    Environment {
        /// The variable.
        name: String,
    },
    /// systemd gave this process no credentials.
    #[error(
        "there is no credential `{name}`, because systemd gave this process none: start it as a unit with LoadCredential={name}:/PATH"
    )]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// A name that leads elsewhere.
    #[error("`{name}` is no name of a credential: it is a file's name without a path")]
    Name {
        /// The credential.
        name: String,
    },
    /// No Vault is named.
    #[error("`{reference}` needs a Vault: start the hub with --vault URL")]
    NoVault {
        /// How it was named.
        reference: String,
    },
    /// The Vault does not give it.
    #[error("cannot read `{reference}`")]
    Vault {
        /// How it was named.
        reference: String,
        /// Why not.
        #[source]
        cause: VaultError,
    },
    /// There is nothing in it.
    #[error("the secret `{reference}` is empty")]
    Empty {
        /// How it was named.
        reference: String,
    },
}

/// The secret that a text of the configuration names, or is. `variable` reads the environment.
pub fn resolve(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, SecretError> {
    let secret = match text.split_once(':') {
        Some(("file", path)) => file(PathBuf::from(path))?,
        Some(("env", name)) => variable(name).ok_or_else(|| SecretError::Environment { name: name.to_owned() })?,
        Some(("systemd", name)) => file(credential(name, variable)?)?,
        _ => return Ok(text.to_owned()),
    };
    let secret = secret.trim();
    match secret.is_empty() {
        true => Err(SecretError::Empty {
            reference: text.to_owned(),
        }),
        false => Ok(secret.to_owned()),
    }
}

/// Everything that secrets may come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    vault: Option<Arc<Vault>>,
}

impl Sources {
    /// With a Vault.
    pub fn with(vault: Arc<Vault>) -> Self {
        Self { vault: Some(vault) }
    }

    /// The Vault, if there is one.
    pub fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// The secret that a text of the configuration names, or is, by this process's environment. Blocks while the Vault is asked.
    pub fn read(&self, text: &str) -> Result<String, SecretError> {
        let Some(place) = text.strip_prefix("vault:") else {
            return resolve(text, |name| std::env::var(name).ok());
        };
        let reference = || text.to_owned();
        let vault = self
            .vault
            .as_ref()
            .ok_or_else(|| SecretError::NoVault { reference: reference() })?;
        let secret = vault.read(place).map_err(|cause| SecretError::Vault {
            reference: reference(),
            cause,
        })?;
        match secret.trim() {
            "" => Err(SecretError::Empty { reference: reference() }),
            secret => Ok(secret.to_owned()),
        }
    }
}

/// An error with everything that caused it, on one line. It holds no secret.
pub fn chain(error: &SecretError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn file(path: PathBuf) -> Result<String, SecretError> {
    std::fs::read_to_string(&path).map_err(|cause| SecretError::File { path, cause })
}

fn credential(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, SecretError> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(SecretError::Name { name: name.to_owned() });
    }
    let folder = variable("CREDENTIALS_DIRECTORY");
    let folder = folder.ok_or_else(|| SecretError::NoCredentials { name: name.to_owned() })?;
    Ok(PathBuf::from(folder).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_where_it_is_said_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "s3cret\n").expect("room");
        std::fs::write(folder.path().join("nothing"), "\n").expect("room");
        let place = folder.path().display().to_string();
        let variable = |name: &str| match name {
            "TOKEN" => Some("from-env".to_owned()),
            "CREDENTIALS_DIRECTORY" => Some(place.clone()),
            _ => None,
        };
        let check = |text: &str, expected: Result<&str, &str>| match (resolve(text, variable), expected) {
            (Ok(secret), Ok(expected)) => assert_eq!(secret, expected, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{text}: {found:?} is not {expected:?}"),
        };
        check(&format!("file:{place}/token"), Ok("s3cret"));
        check("systemd:token", Ok("s3cret"));
        check("env:TOKEN", Ok("from-env"));
        check("the secret itself", Ok("the secret itself"));
        check("whsec_abc:def", Ok("whsec_abc:def"));
        check(&format!("file:{place}/missing"), Err("missing"));
        check("env:OTHER", Err("`OTHER`"));
        check("systemd:../token", Err("no name of a credential"));
        check("systemd:nothing", Err("is empty"));
        assert!(resolve("systemd:token", |_| None).is_err());
    }
}
