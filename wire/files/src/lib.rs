//! Files that hub, agent and command line keep: durable, whole or not at all, and for their owner alone.
//!
//! Decides how a file is replaced and who may read it, never what stands in it. Whoever keeps a file that is changed in place, as a
//! database is, opens it himself.
//!
//! Invariants: after a crash at any point a replaced file is the former or the new one; once [`replace`] or [`create`] has returned,
//! the file outlives a power cut; a private file is never readable for others, not even while it is written.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of a file that only its owner reads.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that everybody may read.
pub const PUBLIC: u32 = 0o644;
/// What a mode gives to others than the owner.
const OTHERS: u32 = 0o077;

/// Puts a private file in the place of the former one, if there is one. Blocks until it is durable.
///
/// `PATH.new` is used on the way; two processes that replace one file at a time must exclude each other.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, PRIVATE)
}

/// The same with another mode, such as [`PUBLIC`], whatever the mask of the process.
pub fn replace_with(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = beside(path);
    // Left by a process that was killed half-way, perhaps with another mode, or put there by somebody else.
    remove(&fresh)?;
    write_new(&fresh, bytes, mode)?;
    if let Err(error) = fs::rename(&fresh, path) {
        // The former file stands; what is left would only take room.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    sync_folder_of(path)
}

/// Writes a file that must not be there yet; fails with [`io::ErrorKind::AlreadyExists`] if it is. Blocks until it is durable.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_new(path, bytes, mode)?;
    sync_folder_of(path)
}

/// Makes a folder, and those above it, that only its owner can enter; one that is there is closed to others.
///
/// Returns the mode that it had if others could enter it. Fails with [`io::ErrorKind::PermissionDenied`] where it is not ours to close.
pub fn private_folder(path: &Path) -> io::Result<Option<u32>> {
    make_folder(path)?;
    close(path)
}

/// Makes a folder, and those above it, that only its owner can enter; one that is there stays as it is.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Takes from others what the mode of a file or folder gives them; returns the mode that it had if it gave them something.
pub fn close(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))?;
    Ok(Some(mode))
}

/// `PATH.new`.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    path.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The mask of the process may have taken something from it.
    let written = file
        .set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file is worse than none; the first error is the one to tell.
        let _ = fs::remove_file(path);
    }
    written
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        let name =
            |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = fs::read_dir(folder).expect("a folder").map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.bin");
        fs::write(&path, "former, and longer").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        // A process was killed before its rename.
        fs::write(folder.path().join("key.bin.new"), "half").expect("written");
        replace(&path, b"new").expect("replaced");
        assert_eq!((fs::read(&path).expect("there"), mode(&path)), (b"new".to_vec(), 0o600));
        replace_with(&path, b"for all", PUBLIC).expect("replaced");
        assert_eq!(mode(&path), 0o644);
        assert_eq!(names(folder.path()), ["key.bin"]);
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("taken");
        fs::create_dir(&path).expect("made");
        fs::write(path.join("inside"), "x").expect("written");
        assert!(replace(&path, b"new").is_err(), "a folder with something in it");
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(replace(&folder.path().join("no/folder"), b"new").is_err());
    }

    #[test]
    fn a_link_that_somebody_laid_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, target) = (folder.path().join("key"), folder.path().join("target"));
        fs::write(&target, "untouched").expect("written");
        std::os::unix::fs::symlink(&target, folder.path().join("key.new")).expect("laid");
        replace(&path, b"new").expect("replaced");
        assert_eq!(fs::read(&target).expect("there"), b"untouched");
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        create(&path, b"first", PRIVATE).expect("made");
        let error = create(&path, b"second", PRIVATE).expect_err("there already");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&path).expect("there"), mode(&path)),
            (b"first".to_vec(), 0o600)
        );
    }

    #[test]
    fn an_open_folder_is_closed_and_a_closed_one_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        assert_eq!(private_folder(&path).expect("made"), None);
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
        assert_eq!(private_folder(&path).expect("closed"), Some(0o755));
        assert_eq!((mode(&path), private_folder(&path).expect("closed")), (0o700, None));
    }
}
