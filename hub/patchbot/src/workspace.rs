//! A tree of files to work in: copied from a repository, given to the sandbox, compared afterwards.
//!
//! Links, devices and the repository's own `.git` are never copied, so nothing that a repository holds can point out of it. The
//! copies are bounded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use hub_remediation_sdk::certificate::{Change, patch_digest};

/// The most bytes copied.
const TREE_BYTES: u64 = 2 << 30;
/// The most files copied.
const TREE_FILES: usize = 200_000;
/// The deepest folder.
const DEPTH: usize = 64;

/// A tree cannot be copied or compared.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Reading or writing failed.
    #[error("cannot copy `{path}`")]
    Copy {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// More than is worked on here.
    #[error("the tree holds more than {TREE_FILES} files, {TREE_BYTES} bytes or {DEPTH} folders in each other")]
    TooLarge,
    /// A change that is no text, or made or removed a file.
    #[error("`{path}` was changed in a way that no patch may hold: {how}")]
    Unfit {
        /// Which file.
        path: String,
        /// What is wrong.
        how: &'static str,
    },
}

/// Copies the plain files of `from` into the empty folder `to`. Blocks for as long as the disk does.
pub fn copy(from: &Path, to: &Path) -> Result<(), WorkspaceError> {
    let mut room = (TREE_FILES, TREE_BYTES);
    copy_folder(from, to, DEPTH, &mut room)
}

fn copy_folder(from: &Path, to: &Path, depth: usize, room: &mut (usize, u64)) -> Result<(), WorkspaceError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| WorkspaceError::Copy { path, cause }
    };
    if depth == 0 {
        return Err(WorkspaceError::TooLarge);
    }
    std::fs::create_dir_all(to).map_err(failed(to))?;
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_dir() && name != ".git" {
            copy_folder(&path, &to.join(name), depth - 1, room)?;
        } else if kind.is_file() {
            let size = std::fs::copy(&path, to.join(name)).map_err(failed(&path))?;
            room.0 = room.0.checked_sub(1).ok_or(WorkspaceError::TooLarge)?;
            room.1 = room.1.checked_sub(size).ok_or(WorkspaceError::TooLarge)?;
        }
    }
    Ok(())
}

/// Digests of all files below `folder`, by path. Links are no files.
pub fn digests(folder: &Path) -> Result<BTreeMap<String, (String, bool)>, WorkspaceError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        let failed = |cause| WorkspaceError::Copy {
            path: current.clone(),
            cause,
        };
        for entry in std::fs::read_dir(&current).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let path = entry.path();
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(path);
            } else if !kind.is_dir() {
                let name = path
                    .strip_prefix(folder)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .replace('\\', "/");
                let bytes = if kind.is_file() {
                    std::fs::read(&path).map_err(failed)?
                } else {
                    Vec::new()
                };
                found.insert(name, (blake3::hash(&bytes).to_hex().to_string(), is_executable(&path)));
            }
        }
    }
    Ok(found)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::symlink_metadata(path).is_ok_and(|data| data.permissions().mode() & 0o100 != 0)
}

/// What differs between the trees `before` and `after`. Caches that tools leave are not counted; a new, removed or binary file is an
/// error, because no fixer here makes one.
pub fn changes(before: &Path, after: &Path) -> Result<Vec<Change>, WorkspaceError> {
    let (old, new) = (digests(before)?, digests(after)?);
    let unfit = |path: &String, how| {
        Err(WorkspaceError::Unfit {
            path: path.clone(),
            how,
        })
    };
    let mut changes = Vec::new();
    for (path, (digest, executable)) in &new {
        match old.get(path) {
            Some((before, was)) if before == digest && was == executable => {}
            Some((_, was)) if was != executable => return unfit(path, "its mode changed"),
            Some((before, _)) => {
                let Ok(text) = std::fs::read_to_string(after.join(path)) else {
                    return unfit(path, "it is not UTF-8 text");
                };
                let mode = if *executable { "100755" } else { "100644" };
                changes.push(Change {
                    path: path.clone(),
                    mode: mode.to_owned(),
                    base: before.clone(),
                    text,
                });
            }
            None if is_cache(path) => {}
            None => return unfit(path, "it is new"),
        }
    }
    if let Some(path) = old.keys().find(|path| !new.contains_key(*path)) {
        return unfit(path, "it is gone");
    }
    Ok(changes)
}

fn is_cache(path: &str) -> bool {
    [
        ".ruff_cache/",
        ".mypy_cache/",
        "__pycache__/",
        ".eslintcache",
        ".pytest_cache/",
    ]
    .iter()
    .any(|cache| path.contains(cache))
}

/// Writes `changes` into the tree `folder`, whose files must still be what the changes were made from.
pub fn apply(changes: &[Change], folder: &Path) -> Result<(), WorkspaceError> {
    for change in changes {
        let unfit = |how| WorkspaceError::Unfit {
            path: change.path.clone(),
            how,
        };
        let path = Path::new(&change.path);
        if !path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)))
        {
            return Err(unfit("it leaves the repository"));
        }
        let file = folder.join(path);
        let real = std::fs::symlink_metadata(&file).is_ok_and(|data| data.is_file());
        let bytes = if real {
            std::fs::read(&file).unwrap_or_default()
        } else {
            return Err(unfit("it is no file there"));
        };
        if blake3::hash(&bytes).to_hex().to_string() != change.base {
            return Err(unfit("it is not what the patch was made from"));
        }
        std::fs::write(&file, &change.text).map_err(|cause| WorkspaceError::Copy { path: file, cause })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        folder
    }

    #[test]
    fn links_and_git_are_never_copied() {
        let from = tree(&[("a.txt", "a"), (".git/config", "x"), ("b/c.txt", "c")]);
        std::os::unix::fs::symlink("/etc/passwd", from.path().join("link")).expect("made");
        let to = tempfile::tempdir().expect("a folder");
        copy(from.path(), to.path()).expect("copied");
        let names: Vec<String> = digests(to.path()).expect("read").into_keys().collect();
        assert_eq!(names, ["a.txt", "b/c.txt"]);
    }

    #[test]
    fn a_patch_applies_only_to_what_it_was_made_from() {
        let (before, after) = (tree(&[("a.txt", "a")]), tree(&[("a.txt", "b")]));
        let patch = changes(before.path(), after.path()).expect("compared");
        assert_eq!(patch.len(), 1);
        apply(&patch, before.path()).expect("it fits");
        assert!(apply(&patch, before.path()).is_err(), "it fits twice");
        let away = Change {
            path: "../x".to_owned(),
            ..patch[0].clone()
        };
        assert!(apply(&[away], after.path()).is_err());
    }

    #[test]
    fn a_new_file_is_no_repair() {
        let (before, after) = (
            tree(&[("a.txt", "a")]),
            tree(&[("a.txt", "a"), ("b.txt", "b"), (".ruff_cache/x", "c")]),
        );
        assert!(matches!(
            changes(before.path(), after.path()),
            Err(WorkspaceError::Unfit { how: "it is new", .. })
        ));
    }
}
