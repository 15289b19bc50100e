//! Under which name the journal's present epoch was made.
//!
//! A hub knows an agent's epochs by its name, so one that has another name begins a new epoch. The note is brought up to date only
//! once that has begun: a crash in between begins another one, and never goes on under the wrong name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wire::AgentId;

const FILE: &str = "journal-owner";

/// The note, while it is not up to date.
#[derive(Debug)]
pub struct Owner {
    path: PathBuf,
    name: AgentId,
}

impl Owner {
    /// Compares the note with the present name. Returns the former name if it is another one, and the note if it has to be written.
    pub fn read(folder: &Path, name: &AgentId) -> (Option<String>, Option<Self>) {
        let path = folder.join(FILE);
        let former = fs::read_to_string(&path).ok().map(|text| text.trim().to_owned());
        if former.as_deref() == Some(name.as_str()) {
            return (None, None);
        }
        let former = former.filter(|text| !text.is_empty());
        let name = name.clone();
        (former, Some(Self { path, name }))
    }

    /// The present epoch was begun under the present name.
    pub fn note(self) -> io::Result<()> {
        wire_files::replace(&self.path, format!("{}\n", self.name).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_name_is_told_until_the_new_one_is_noted() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |text: &str| AgentId::new(text).expect("valid");
        let (former, note) = Owner::read(folder.path(), &name("edge-01"));
        assert_eq!(former, None, "nobody was there before");
        note.expect("to be written").note().expect("room");
        let (former, note) = Owner::read(folder.path(), &name("edge-01"));
        assert!(former.is_none() && note.is_none());
        for _ in 0..2 {
            let (former, _) = Owner::read(folder.path(), &name("rack-7"));
            assert_eq!(former.as_deref(), Some("edge-01"));
        }
        let (_, note) = Owner::read(folder.path(), &name("rack-7"));
        note.expect("to be written").note().expect("room");
        assert!(Owner::read(folder.path(), &name("rack-7")).1.is_none());
    }
}
