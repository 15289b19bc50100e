//! Where settings come from: one file, then the files of `conf.d` beside it in the order of their names; later ones win, key by key.
//!
//! Each file is checked alone first, so that an error names its file and line. Paths count from the folder of the main file.
//!
//! Invariant: what is used and what `config show` prints are the same values; each has exactly one origin.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError};

/// The main file of a machine that has one service of this kind (Filesystem Hierarchy Standard 3.7).
pub const SYSTEM_FILE: &str = "/etc/sentinel/agent.toml";
/// The folder beside the main file.
const FOLDER: &str = "conf.d";
/// Keys whose values are paths.
const PATHS: &[&[&str]] = &[
    &["state_dir"],
    &["socket"],
    &["bundle"],
    &["profiles"],
    &["kernel_log"],
    &["gpu_probe", "library"],
];

/// Settings with their origins.
#[derive(Debug)]
pub struct Layers {
    /// What counts.
    pub config: Config,
    /// What the files say, together.
    set: Table,
    /// For each key that a file sets, with dots: which file.
    origins: BTreeMap<String, PathBuf>,
    /// The files, in order.
    pub files: Vec<PathBuf>,
}

impl Layers {
    /// Reads a main file and its `conf.d`.
    pub fn read(main: &Path) -> Result<Self, ConfigError> {
        let folder = main.parent().unwrap_or(Path::new(""));
        let mut files = vec![main.to_owned()];
        files.extend(drop_ins(&folder.join(FOLDER))?);
        let mut set = Table::new();
        let mut origins = BTreeMap::new();
        for file in &files {
            let mut table = parse(file)?;
            resolve(&mut table, folder);
            merge(&mut set, table, "", file, &mut origins);
        }
        let invalid = |cause: toml::de::Error| ConfigError::Parse {
            path: main.to_owned(),
            cause: Box::new(cause),
        };
        let config: Config = Value::Table(set.clone()).try_into().map_err(invalid)?;
        config.check()?;
        Ok(Self {
            config,
            set,
            origins,
            files,
        })
    }

    /// No file at all.
    pub fn defaults() -> Self {
        Self {
            config: Config::default(),
            set: Table::new(),
            origins: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    /// The state folder that was said elsewhere, which comes before all files.
    pub fn set_state(&mut self, folder: PathBuf) {
        let key = "state_dir".to_owned();
        let value = Value::String(folder.display().to_string());
        self.set.insert(key.clone(), value);
        self.origins.insert(key, "--state or SENTINEL_STATE".into());
        self.config.state_dir = folder;
    }

    /// One line for each setting: `key = value`, and where it comes from if that is wanted.
    pub fn show(&self, origin: bool) -> String {
        let mut rows: BTreeMap<String, (String, String)> = super::defaults()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), (value, "default".to_owned())))
            .collect();
        leaves(&self.set, "", &mut |key, value| {
            let file = self.origins.get(&key).map(|file| file.display().to_string());
            rows.insert(key, (value.to_string(), file.unwrap_or_default()));
        });
        let rows = rows.into_iter().map(|(key, (value, from))| match origin {
            true => format!("{key} = {value}  # {from}\n"),
            false => format!("{key} = {value}\n"),
        });
        rows.collect()
    }
}

/// The files of `conf.d`, by name. A folder that is not there has none.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |cause| ConfigError::Read {
        path: folder.to_owned(),
        cause,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads one file, and checks that it alone is valid.
fn parse(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path).map_err(|cause| ConfigError::Read {
        path: path.to_owned(),
        cause,
    })?;
    let invalid = |cause| ConfigError::Parse {
        path: path.to_owned(),
        cause: Box::new(cause),
    };
    toml::from_str::<Config>(&text).map_err(invalid)?;
    toml::from_str(&text).map_err(invalid)
}

fn resolve(table: &mut Table, folder: &Path) {
    for keys in PATHS {
        let Some((last, before)) = keys.split_last() else {
            continue;
        };
        let inner = before.iter().try_fold(&mut *table, |table, key| {
            table.get_mut(*key).and_then(Value::as_table_mut)
        });
        if let Some(Value::String(path)) = inner.and_then(|table| table.get_mut(*last)) {
            *path = folder.join(&*path).display().to_string();
        }
    }
}

fn merge(into: &mut Table, from: Table, prefix: &str, file: &Path, origins: &mut BTreeMap<String, PathBuf>) {
    for (key, value) in from {
        let name = format!("{prefix}{key}");
        match (into.get_mut(&key), value) {
            (Some(Value::Table(known)), Value::Table(more)) => merge(known, more, &format!("{name}."), file, origins),
            (_, Value::Table(more)) => {
                let mut fresh = Table::new();
                merge(&mut fresh, more, &format!("{name}."), file, origins);
                into.insert(key, Value::Table(fresh));
            }
            (_, value) => {
                origins.insert(name, file.to_owned());
                into.insert(key, value);
            }
        }
    }
}

fn leaves(table: &Table, prefix: &str, each: &mut impl FnMut(String, &Value)) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => leaves(inner, &format!("{prefix}{key}."), each),
            value => each(format!("{prefix}{key}"), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(FOLDER)).expect("made");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn later_files_win_key_by_key_and_each_value_names_its_file() {
        let folder = folder(&[
            (
                "agent.toml",
                "sample_every = \"2s\"\nstate_dir = \"state\"\nlabels = { rack = \"r7\" }\n",
            ),
            (
                "conf.d/20-gpu.toml",
                "[gpu_probe]\nlibrary = \"lib.so\"\n[labels]\ndriver = \"570\"\n",
            ),
            (
                "conf.d/10-slow.toml",
                "sample_every = \"5s\"\n[gpu_probe]\ndeadline = \"3s\"\n",
            ),
            ("conf.d/readme.txt", "no settings\n"),
        ]);
        let layers = Layers::read(&folder.path().join("agent.toml")).expect("valid");
        assert_eq!(layers.files.len(), 3);
        assert_eq!(layers.config.sample_every.as_secs(), 5);
        assert_eq!(layers.config.labels.len(), 2);
        assert_eq!(layers.config.state_dir, folder.path().join("state"));
        let probe = layers.config.gpu_probe.clone().expect("set");
        assert_eq!(probe.deadline.as_secs(), 3);
        assert_eq!(probe.library, Some(folder.path().join("lib.so")));
        let shown = layers.show(true);
        for part in [
            "sample_every = \"5s\"  # ",
            "conf.d/10-slow.toml\n",
            "labels.rack = \"r7\"  # ",
            "block_every = \"10s\"  # default\n",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!layers.show(false).contains('#'));
        let mut layers = layers;
        layers.set_state("/elsewhere".into());
        assert!(
            layers
                .show(true)
                .contains("state_dir = \"/elsewhere\"  # --state or SENTINEL_STATE\n")
        );
        assert_eq!(layers.config.state_dir, Path::new("/elsewhere"));
    }

    #[test]
    fn an_error_names_its_file_and_line() {
        let folder = folder(&[("agent.toml", ""), ("conf.d/50-typo.toml", "\nsample_evry = \"5s\"\n")]);
        let error = Layers::read(&folder.path().join("agent.toml")).expect_err("a typo");
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains("50-typo.toml"), "{error}");
        assert!(cause.contains("line 2"), "{cause}");
    }

    #[test]
    fn the_defaults_that_are_shown_are_the_defaults_that_count() {
        let text: String = Layers::defaults()
            .show(false)
            .lines()
            .map(|line| format!("{line}\n"))
            .collect();
        let read: Config = toml::from_str(&text).expect("what is shown can be read");
        assert_eq!(read, Config::default());
    }
}
