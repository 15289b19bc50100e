//! The identity's file: replaced whole, with its predecessor kept beside it.
//!
//! Invariant: what [`read`] returns was once whole on the disk, and only we can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
    let mut there = false;
    for name in [FILE, PREDECESSOR] {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => {
                there = true;
                if let Some(stored) = unseal(&bytes) {
                    protect(&path)?;
                    if name == PREDECESSOR {
                        tracing::warn!(path = %path.display(), "identity file is damaged, its predecessor is used");
                    }
                    return Ok(Some(stored));
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(io_error("read", &path)(cause)),
        }
    }
    if there {
        Err(IdentityError::Damaged { path })
    } else {
        Ok(None)
    }
}

/// A key that others could read is closed to them from now on.
fn protect(path: &Path) -> Result<(), IdentityError> {
    let mode = fs::metadata(path).map_err(io_error("read", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others could read the keys; closed");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io_error("protect", path))?;
    }
    Ok(())
}

/// Writes the file; the present one, if it is whole, becomes the predecessor.
pub(super) fn write(folder: &Path, stored: &Stored) -> Result<(), IdentityError> {
    let path = folder.join(FILE);
    let predecessor = folder.join(PREDECESSOR);
    if let Ok(bytes) = fs::read(&path)
        && unseal(&bytes).is_some()
    {
        replace(&predecessor, &bytes).map_err(io_error("write", &predecessor))?;
    }
    replace(&path, &seal(stored)).map_err(io_error("write", &path))
}

/// BLAKE3 of the rest, then the rest.
fn seal(stored: &Stored) -> Vec<u8> {
    let body = codec::encode(stored);
    let mut bytes = Digest::of(&body).0.to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn unseal(bytes: &[u8]) -> Option<Stored> {
    let (digest, body) = bytes.split_first_chunk::<32>()?;
    if Digest::of(body).0 != *digest {
        return None;
    }
    codec::decode::<Stored>(body)
        .ok()
        .filter(|stored| stored.format == FORMAT)
}

/// Whole or not at all, for us alone, and durable when this returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> IdentityError + 'a {
    move |cause| IdentityError::Io {
        doing,
        path: path.to_owned(),
        cause,
    }
}
