//! The keys that sign access tokens: the first signs, those before it are accepted until the last token of theirs has ended.
//!
//! They stand in one file, mode 0600, replaced as a whole; so a crash leaves the former keys or the next ones, never half of each.
//! Read next: `http/jwt.rs` (who signs with them).

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use wire::time::Wall;

use super::{KeyError, io, read_key, write_secret};

/// A key that has signed for so long is replaced by the hub itself.
pub const ROTATED_AFTER: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Former keys that are kept at most: more than can still have tokens, however often somebody rotates.
const MOST_FORMER: usize = 16;

/// One key.
#[derive(Clone)]
pub struct TokenKey {
    /// Signs.
    pub key: SigningKey,
    /// Since when it has.
    pub made_at: Wall,
    /// Until when tokens of a former key are accepted; `None` for the one that signs.
    pub accepted_until: Option<Wall>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("made_at", &self.made_at)
            .field("accepted_until", &self.accepted_until)
            .finish_non_exhaustive()
    }
}

/// One key as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seed: String,
    made_at: Wall,
    accepted_until: Option<Wall>,
}

/// The file of the keys.
#[derive(Debug, Clone)]
pub struct TokenKeyFile(PathBuf);

impl TokenKeyFile {
    /// The file in a state folder.
    pub fn at(state: &Path) -> Self {
        Self(state.join("token-keys.json"))
    }

    /// Reads the keys, or makes the first: without them people log in again, and nothing else is lost. `before` is the one key of
    /// a hub that had no such file. Blocks.
    pub fn open(&self, before: &Path, now: Wall) -> Result<Vec<TokenKey>, KeyError> {
        match std::fs::read(&self.0) {
            Ok(bytes) => self.read(&bytes),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let key = match read_key(before)? {
                    Some(key) => key,
                    None => fresh()?,
                };
                let keys = vec![TokenKey {
                    key,
                    made_at: now,
                    accepted_until: None,
                }];
                self.write(&keys)?;
                Ok(keys)
            }
            Err(cause) => Err(io("read", &self.0)(cause)),
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
        let damaged = || KeyError::TokenKeys { path: self.0.clone() };
        let lines: Vec<Line> = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        let keys = lines.into_iter().map(|line| {
            let seed = STANDARD.decode(&line.seed).ok()?;
            Some(TokenKey {
                key: SigningKey::from_bytes(&<[u8; 32]>::try_from(seed).ok()?),
                made_at: line.made_at,
                accepted_until: line.accepted_until,
            })
        });
        let keys: Option<Vec<TokenKey>> = keys.collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(damaged)
    }

    /// Replaces the file. Blocks.
    pub fn write(&self, keys: &[TokenKey]) -> Result<(), KeyError> {
        let lines: Vec<Line> = keys
            .iter()
            .map(|key| Line {
                seed: STANDARD.encode(key.key.to_bytes()),
                made_at: key.made_at,
                accepted_until: key.accepted_until,
            })
            .collect();
        let text = serde_json::to_vec_pretty(&lines).expect("lines have string keys only, so they have a JSON form");
        write_secret(&self.0, &text)
    }
}

/// The keys with a new one in front. `former_until`: until when tokens of the present one are accepted; tokens of keys whose time
/// is over are not any more.
pub fn rotated(keys: &[TokenKey], now: Wall, former_until: Wall) -> Result<Vec<TokenKey>, KeyError> {
    let first = TokenKey {
        key: fresh()?,
        made_at: now,
        accepted_until: None,
    };
    let former = keys.iter().map(|key| TokenKey {
        accepted_until: Some(key.accepted_until.unwrap_or(former_until).min(former_until)),
        ..key.clone()
    });
    let former = former.filter(|key| key.accepted_until > Some(now));
    Ok(std::iter::once(first).chain(former.take(MOST_FORMER)).collect())
}

fn fresh() -> Result<SigningKey, KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|cause| KeyError::Random { cause })?;
    Ok(SigningKey::from_bytes(&seed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_rotated_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, before) = (TokenKeyFile::at(folder.path()), folder.path().join("tokens.key"));
        std::fs::write(&before, [7; 32]).expect("written");
        let first = file.open(&before, Wall(1_000)).expect("taken over");
        assert_eq!(
            first[0].key.to_bytes(),
            [7; 32],
            "tokens of before an upgrade stay good"
        );
        let next = rotated(&first, Wall(2_000), Wall(902_000)).expect("random bytes");
        file.write(&next).expect("written");
        let read = file.open(&before, Wall(3_000)).expect("read");
        let until: Vec<Option<Wall>> = read.iter().map(|key| key.accepted_until).collect();
        assert_eq!(until, [None, Some(Wall(902_000))]);
        assert_ne!(read[0].key.to_bytes(), [7; 32]);
        let mode = std::fs::metadata(&file.0).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_whose_time_is_over_is_dropped_and_a_stolen_one_at_once() {
        let key = |made_at, accepted_until| TokenKey {
            key: SigningKey::from_bytes(&[1; 32]),
            made_at: Wall(made_at),
            accepted_until,
        };
        let keys = [key(2, None), key(1, Some(Wall(50)))];
        let kept = |now, until| rotated(&keys, Wall(now), Wall(until)).expect("random bytes").len();
        assert_eq!(kept(10, 100), 3);
        assert_eq!(kept(60, 150), 2, "the oldest has ended");
        assert_eq!(kept(10, 10), 1, "none of before is accepted");
    }

    #[test]
    fn a_damaged_file_is_named_and_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TokenKeyFile::at(folder.path());
        for damaged in [
            "",
            "[]",
            "{}",
            r#"[{"seed":"AA==","made_at":"2026-01-01T00:00:00Z","accepted_until":null}]"#,
        ] {
            std::fs::write(&file.0, damaged).expect("written");
            let error = file.open(Path::new("/nowhere"), Wall(1)).expect_err("damaged");
            assert!(error.to_string().contains("token-keys.json"), "{error}");
            assert_eq!(std::fs::read_to_string(&file.0).expect("there"), damaged);
        }
    }
}
