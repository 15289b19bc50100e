//! Reads the join token from where it was put: the command line, a file, or standard input.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use wire::enroll::JoinToken;
use wire::ids::IdError;

/// More than a token with its line's end; a file that is longer is not one.
const MOST_BYTES: u64 = 256;

/// A token that is not there.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("cannot read the token from `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// How it fails.
        #[source]
        cause: io::Error,
    },
    /// What was there is not one.
    #[error(transparent)]
    Grammar(#[from] IdError),
}

/// The token itself, or the one in a file; `-` is standard input for either.
pub fn read_token(token: Option<&str>, file: Option<&Path>) -> Result<JoinToken, TokenError> {
    let path = match (token, file) {
        (Some("-"), _) => Path::new("-"),
        (Some(token), _) => return Ok(token.trim().parse()?),
        (None, file) => file.unwrap_or(Path::new("-")),
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MOST_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
    };
    read.map_err(|cause| TokenError::Read {
        path: path.to_owned(),
        cause,
    })?;
    Ok(text.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_the_line_or_from_a_file() {
        let text = "sjt_000102030405060708090a0b0c0d0e0f";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, format!("{text}\n")).expect("a file");
        for found in [read_token(Some(text), None), read_token(None, Some(&path))] {
            assert_eq!(found.expect("a token").to_string(), text);
        }
        std::fs::write(&path, "x".repeat(10_000)).expect("a file");
        let error = read_token(None, Some(&path)).expect_err("not a token").to_string();
        assert!(error.contains("sjt_") && !error.contains("xxx"), "{error}");
        assert!(read_token(None, Some(&folder.path().join("none"))).is_err());
    }
}
