//! The agent's signing key: 32 bytes in hexadecimal in a file that only its owner reads.
//!
//! It signs certificates and nothing else; no forge and no hub trusts it with anything.

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
        Ok(text) => {
            let bytes = (text.trim().len() == 64 && text.is_ascii())
                .then(|| {
                    (0..32)
                        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
                        .collect::<Option<Vec<u8>>>()
                })
                .flatten();
            let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes
                .map(|bytes| SigningKey::from_bytes(&bytes))
                .ok_or_else(|| KeyError::Content { path: path.to_owned() })
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0u8; 32];
            getrandom::fill(&mut bytes).map_err(|cause| KeyError::Random(cause.to_string()))?;
            wire_files::create(path, hex(&bytes).as_bytes(), wire_files::PRIVATE).map_err(failed)?;
            Ok(SigningKey::from_bytes(&bytes))
        }
        Err(cause) => Err(failed(cause)),
    }
}
