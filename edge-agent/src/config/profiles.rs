//! People's own firmware profiles: the files of one folder, beside those that the agent brings.
//!
//! Invariant: a file that is no profile is refused with its name and reason, so that nobody believes in limits that do not count.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use firmware_profiles::{Catalogue, Profile};

use super::ConfigError;

/// Reads every `.toml` of the folder, in the order of their names. A folder that is not there has none.
pub fn read(folder: &Path) -> Result<Catalogue, ConfigError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |cause| ConfigError::Read { path, cause }
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Catalogue::default()),
        Err(error) => return Err(unread(folder)(error)),
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(unread(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut own = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(unread(&file))?;
        own.push(Profile::parse(&text).map_err(|problem| ConfigError::Profile { path: file, problem })?);
    }
    Catalogue::with(own).map_err(|problem| ConfigError::Profile {
        path: folder.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "id = \"ours\"\nmodels = [\"NVIDIA L40S\"]\n[power]\nmin = { value = 150, source = \"us\" }\nmax = { value = 250, source = \"us\" }\n";

    #[test]
    fn files_of_the_folder_count_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(&folder.path().join("none")).expect("none"), Catalogue::default());
        fs::write(folder.path().join("l40s.toml"), OURS).expect("written");
        fs::write(folder.path().join("notes.txt"), "no profile").expect("written");
        let catalogue = read(folder.path()).expect("profiles");
        assert_eq!(
            catalogue.power_caps_mw("NVIDIA L40S", (0, u32::MAX)),
            (150_000, 250_000)
        );
        fs::write(folder.path().join("z.toml"), OURS.replace("max", "most")).expect("written");
        let error = read(folder.path()).expect_err("not a profile").to_string();
        assert!(error.contains("z.toml") && error.contains("most"), "{error}");
    }
}
