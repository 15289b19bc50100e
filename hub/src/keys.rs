//! Secrets that the hub makes at its first start: a key for each role, and the administrator's token.
//!
//! Files are 0600, written under another name and renamed. Never logs a secret.

mod roles;
pub mod tokens;

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use wire::api::Context;
use wire::ids::Digest;

use crate::http::auth::random_text;
use crate::store::{Store, StoreError};

pub use roles::{HubKeys, RoleFile, RoleFileError, domain_of, take_over};

/// Name of the setting that holds the hash of the administrator's token.
const TOKEN_SETTING: &str = "admin-token";

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refuses.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not a key.
    #[error(
        "`{path}` is not a key (32 bytes): restore it from a backup. Without it agents accept no policy from this hub"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file of the keys that sign access tokens is none.
    #[error("`{path}` holds no keys: restore it from a backup, or remove it, and everybody logs in again")]
    TokenKeys {
        /// The file.
        path: PathBuf,
    },
    /// The key is gone while the store is not new.
    #[error(
        "the policy key `{path}` is missing, and this store has signed policy before: restore it from a backup. \
         A new key would be refused by every agent"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random {
        /// Why not.
        #[source]
        cause: getrandom::Error,
    },
    /// The store refuses.
    #[error("cannot keep the administrator's token")]
    Store {
        /// Why not.
        #[source]
        cause: StoreError,
    },
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |cause| KeyError::Io { action, path, cause }
}

/// Reads the policy key, or makes it when the store is new.
pub fn policy_key(path: &Path, store_is_new: bool) -> Result<SigningKey, KeyError> {
    match store_is_new {
        true => key_or_new(path),
        false => read_key(path)?.ok_or_else(|| KeyError::Missing { path: path.to_owned() }),
    }
}

/// Reads a key file; `None`: it is not there.
fn read_key(path: &Path) -> Result<Option<SigningKey>, KeyError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            if let Some(mode) = wire_files::close(path).map_err(io("close to others", path))? {
                tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others could read a key; closed");
            }
            match <[u8; 32]>::try_from(bytes) {
                Ok(seed) => Ok(Some(SigningKey::from_bytes(&seed))),
                Err(_) => Err(KeyError::Damaged { path: path.to_owned() }),
            }
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io("read", path)(cause)),
    }
}

/// Reads the key that signs checkpoints of the hub's own journal, or makes it: without it nothing that agents kept proves anything.
pub fn checkpoint_key(path: &Path) -> Result<SigningKey, KeyError> {
    key_or_new(path)
}

/// Reads the key from which the secrets of outgoing webhooks are derived, or makes it: without it every receiver needs a new secret.
pub fn webhook_key(path: &Path) -> Result<[u8; 32], KeyError> {
    key_or_new(path).map(|key| key.to_bytes())
}

fn key_or_new(path: &Path) -> Result<SigningKey, KeyError> {
    if let Some(key) = read_key(path)? {
        return Ok(key);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|cause| KeyError::Random { cause })?;
    write_secret(path, &seed)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Writes the context file for the administrator's tools, with the token that it already has, or a new one.
/// Returns the token's hash.
pub fn admin_context(path: &Path, store: &dyn Store, hub: &str, ca_pem: &str) -> Result<Digest, KeyError> {
    let known = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Context>(&bytes).ok());
    let stored = store
        .setting(TOKEN_SETTING)
        .map_err(|cause| KeyError::Store { cause })?;
    let kept = known.filter(|known| stored.as_deref() == Some(&Digest::of(known.token.as_bytes()).0));
    let mut context = match kept {
        Some(context) => context,
        None => Context {
            hub: String::new(),
            token: format!("sat_{}", random_text().map_err(|cause| KeyError::Random { cause })?),
            refresh_token: None,
            token_ends: None,
            ca_pem: String::new(),
            nodes: Default::default(),
            demo_socket: None,
        },
    };
    context.hub = hub.to_owned();
    context.ca_pem = ca_pem.to_owned();
    let hash = Digest::of(context.token.as_bytes());
    let text =
        serde_json::to_vec_pretty(&context).expect("a context has string keys only, so it always has a JSON form");
    write_secret(path, &text)?;
    if stored.as_deref() != Some(&hash.0) {
        store
            .put_setting(TOKEN_SETTING, &hash.0)
            .map_err(|cause| KeyError::Store { cause })?;
    }
    Ok(hash)
}

/// Hash of the token of remediation agents; its file is made if it is not there. Blocks.
pub fn remediation_token(path: &Path) -> Result<Digest, KeyError> {
    if let Ok(text) = std::fs::read_to_string(path)
        && !text.trim().is_empty()
    {
        return Ok(Digest::of(text.trim().as_bytes()));
    }
    let token = format!("srt_{}", random_text().map_err(|cause| KeyError::Random { cause })?);
    write_secret(path, token.as_bytes())?;
    Ok(Digest::of(token.as_bytes()))
}

fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    wire_files::replace(path, bytes).map_err(io("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_policy_key_is_made_once_and_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.key");
        assert!(
            policy_key(&path, false)
                .expect_err("missing")
                .to_string()
                .contains("backup")
        );
        let first = policy_key(&path, true).expect("made");
        assert_eq!(policy_key(&path, false).expect("read").to_bytes(), first.to_bytes());
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, b"short").expect("written");
        assert!(
            policy_key(&path, true)
                .expect_err("damaged")
                .to_string()
                .contains("32 bytes")
        );
    }
}
