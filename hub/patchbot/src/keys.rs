//! The agent's signing key: 32 bytes in hexadecimal in a file that only its owner reads.
//!
//! A new key is written whole beside its place and then linked there, so that an agent that is killed half-way leaves no half of a key, and
//! of two that start at once both have the same.
//!
//! It signs certificates and nothing else; no forge and no hub trusts it with anything.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::certificate::hex;

/// The key cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Something else stands in it.
    #[error("`{path}` holds no key: 64 hexadecimal digits are expected")]
    Content {
        /// Which file.
        path: PathBuf,
    },
    /// The machine has no randomness to give.
    #[error("cannot make a key: {0}")]
    Random(String),
}

/// Reads the key, or makes one if there is no such file.
pub fn load_or_make(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |cause| KeyError::File {
        path: path.to_owned(),
        cause,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => read(&text).ok_or_else(|| KeyError::Content { path: path.to_owned() }),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            make(path)?;
            let text = std::fs::read_to_string(path).map_err(failed)?;
            read(&text).ok_or_else(|| KeyError::Content { path: path.to_owned() })
        }
        Err(cause) => Err(failed(cause)),
    }
}

fn read(text: &str) -> Option<SigningKey> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..32)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
        .collect();
    Some(SigningKey::from_bytes(&bytes?.try_into().ok()?))
}

/// Puts a new key in its place, unless somebody else was first.
fn make(path: &Path) -> Result<(), KeyError> {
    let failed = |cause| KeyError::File {
        path: path.to_owned(),
        cause,
    };
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|cause| KeyError::Random(cause.to_string()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Readable for its owner alone from the beginning.
    let mut fresh = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    fresh.write_all(hex(&bytes).as_bytes()).map_err(failed)?;
    fresh.as_file().sync_all().map_err(failed)?;
    match fresh.persist_noclobber(path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(failed(error.error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_start_at_once_have_one_key_and_a_half_one_is_never_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let make = || load_or_make(&path).expect("a key").to_bytes();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            all.into_iter().map(|one| one.join().expect("it ends")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "several keys");
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 1);
        std::fs::write(&path, "half").expect("written");
        assert!(matches!(load_or_make(&path), Err(KeyError::Content { .. })));
    }
}
