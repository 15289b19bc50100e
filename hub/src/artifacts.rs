//! Bytes that documents name by digest: certificates with their patches.
//!
//! A file of a folder, written under another name, synced and renamed before anything names it; so a name that is known is there
//! whole. Never overwritten: the name is the content.

use std::path::{Path, PathBuf};

use wire::ids::Digest;

/// Largest artifact, in bytes.
pub const MOST_BYTES: usize = 16 << 20;

/// The folder.
#[derive(Debug, Clone)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Uses a folder of the hub's state, and makes it if it is not there.
    pub fn open(state: &Path) -> std::io::Result<Self> {
        let folder = state.join("artifacts");
        wire_files::private_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Keeps bytes and returns their name. Blocks for a sync of the disk.
    pub fn keep(&self, bytes: &[u8]) -> std::io::Result<String> {
        if bytes.len() > MOST_BYTES {
            return Err(std::io::Error::other(format!(
                "{} bytes, the most is {MOST_BYTES}",
                bytes.len()
            )));
        }
        let name = Digest::of(bytes).to_string();
        let path = self.path(&name);
        if path.exists() {
            return Ok(name);
        }
        wire_files::replace(&path, bytes)?;
        Ok(name)
    }

    /// Bytes by name. Blocks.
    pub fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(std::io::Error::other(format!("`{name}` is no artifact's name")));
        }
        std::fs::read(self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_by_its_name_and_by_no_other_path() {
        let state = tempfile::tempdir().expect("a folder");
        let artifacts = Artifacts::open(state.path()).expect("opened");
        let name = artifacts.keep(b"bytes").expect("kept");
        assert_eq!(artifacts.keep(b"bytes").expect("kept"), name);
        assert_eq!(artifacts.read(&name).expect("read"), b"bytes");
        assert!(artifacts.read("../store").is_err());
    }
}
