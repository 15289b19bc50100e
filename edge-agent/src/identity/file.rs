//! The identity's file: replaced whole, with its predecessor kept beside it.
//!
//! Invariant: what [`read`] returns was once whole on the disk, and only we can read it.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use wire::codec;
use wire::ids::Digest;

use super::{IdentityError, Joined};

/// Written by this version.
pub(super) const FORMAT: u8 = 1;
const FILE: &str = "identity.bin";
const PREDECESSOR: &str = "identity.previous";

/// The file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) format: u8,
    pub(super) node_key: [u8; 32],
    /// Before joining: the key in the request.
    pub(super) asking_key: Option<Vec<u8>>,
    pub(super) joined: Option<Joined>,
}

/// Reads the file, or its predecessor if it is not whole; `None` if there is neither.
pub(super) fn read(folder: &Path) -> Result<Option<Stored>, IdentityError> {
    let path = folder.join(FILE);
    let mut is_damaged = false;
    for name in [FILE, PREDECESSOR] {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => {
                match unseal(&bytes) {
                    Sealed::Ours(stored) => {
                        protect(&path)?;
                        if name == PREDECESSOR && stored.joined.is_none() {
                            // Of before it joined, and there was a later one: whoever went on with this would run under another name.
                            return Err(IdentityError::Damaged {
                                path: folder.join(FILE),
                            });
                        }
                        if name == PREDECESSOR {
                            tracing::warn!(path = %path.display(), "identity file is damaged, its predecessor is used");
                        }
                        return Ok(Some(*stored));
                    }
                    // Its predecessor is of before: whoever went on with that would be a clone of itself.
                    Sealed::Newer { format } => return Err(IdentityError::Newer { path, format }),
                    Sealed::Damaged => is_damaged = true,
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(io_error("read", &path)(cause)),
        }
    }
    if is_damaged {
        Err(IdentityError::Damaged { path })
    } else {
        Ok(None)
    }
}

/// A key that others could read is closed to them from now on.
fn protect(path: &Path) -> Result<(), IdentityError> {
    if let Some(mode) = wire_files::close(path).map_err(io_error("protect", path))? {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others could read the keys; closed");
    }
    Ok(())
}

/// Writes the file; the present one, if it is whole, becomes the predecessor.
pub(super) fn write(folder: &Path, stored: &Stored) -> Result<(), IdentityError> {
    let path = folder.join(FILE);
    let predecessor = folder.join(PREDECESSOR);
    if let Ok(bytes) = fs::read(&path)
        && matches!(unseal(&bytes), Sealed::Ours(_))
    {
        wire_files::replace(&predecessor, &bytes).map_err(io_error("write", &predecessor))?;
    }
    wire_files::replace(&path, &seal(stored)).map_err(io_error("write", &path))
}

/// BLAKE3 of the rest, then the rest.
fn seal(stored: &Stored) -> Vec<u8> {
    let body = codec::encode(stored);
    let mut bytes = Digest::of(&body).0.to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// What is in a file.
enum Sealed {
    /// An identity.
    Ours(Box<Stored>),
    /// An identity, whole, in a layout that only a later version knows.
    Newer {
        /// Its layout.
        format: u8,
    },
    /// Anything else, nothing included.
    Damaged,
}

fn unseal(bytes: &[u8]) -> Sealed {
    let whole = bytes
        .split_first_chunk::<32>()
        .filter(|(digest, body)| Digest::of(body).0 == **digest);
    // The layout comes first in each of them.
    match whole.and_then(|(_, body)| Some((*body.first()?, body))) {
        Some((format, _)) if format > FORMAT => Sealed::Newer { format },
        Some((_, body)) => codec::decode(body).map_or(Sealed::Damaged, |stored| Sealed::Ours(Box::new(stored))),
        None => Sealed::Damaged,
    }
}

pub(super) fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> IdentityError + 'a {
    move |cause| IdentityError::Io {
        doing,
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            format: FORMAT,
            node_key: [7; 32],
            asking_key: Some(vec![1, 2, 3]),
            joined: None,
        }
    }

    /// What `read` says of a folder whose file, and no predecessor, has these bytes.
    fn check(bytes: &[u8], expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), bytes).expect("written");
        let found = match read(folder.path()) {
            Ok(None) => "never joined".to_owned(),
            Ok(Some(stored)) => format!("key {}", stored.node_key[0]),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn a_file_that_is_not_whole_is_never_taken_for_a_machine_that_has_not_joined() {
        let whole = seal(&stored());
        check(&whole, "key 7");
        for length in [0, 1, 31, 32, 33, whole.len() - 1] {
            check(&whole[..length], "damaged");
        }
        check(&vec![0; 4_096], "damaged");
    }

    #[test]
    fn a_file_of_a_later_version_is_left_to_that_version() {
        let body = [&[FORMAT + 1][..], b"a layout of tomorrow"].concat();
        let bytes = [&Digest::of(&body).0[..], &body].concat();
        check(&bytes, "was written by a later version of sentinel-agent (layout 2");
        // Also where the predecessor is one of ours.
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(PREDECESSOR), seal(&stored())).expect("written");
        fs::write(folder.path().join(FILE), bytes).expect("written");
        assert!(matches!(
            read(folder.path()),
            Err(IdentityError::Newer { format: 2, .. })
        ));
    }
}
