//! Where a demo keeps its state, and how a person's `sentinel` finds the demo that runs.
//!
//! ```text
//! STATE/context.json      where everything is, mode 0600
//! STATE/hub/ edge-01/ …   one state folder for each process
//! STATE/config/ logs/     what the demo wrote for them, and what they said
//! STATE/run/              control sockets of the demo and of the fakes
//! ```
//! The context of the running demo is linked from `$XDG_RUNTIME_DIR/sentinel-demo/`, else from `/tmp/sentinel-demo-UID/`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::options::Options;

/// A socket's path has at most 107 bytes (`unix(7)`); the longest below STATE is `/run/edge-01-workload.sock`.
const MAX_STATE_BYTES: usize = 107 - 28;

/// The demo's state folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Made by this demo, and removed at its end.
    temporary: bool,
}

impl Folder {
    /// The named folder, or a temporary one.
    pub fn open(options: &Options) -> Result<Self, String> {
        let folder = match &options.state {
            Some(named) => Self {
                path: named_folder(named)?,
                temporary: false,
            },
            None => Self {
                path: temporary_folder()?,
                temporary: !options.keep,
            },
        };
        if folder.path.as_os_str().len() > MAX_STATE_BYTES {
            return Err(format!(
                "the path {} is too long for the sockets below it: at most {MAX_STATE_BYTES} bytes",
                folder.path.display()
            ));
        }
        for name in ["config", "logs", "run"] {
            make(&folder.path.join(name))?;
        }
        Ok(folder)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it outlives the demo.
    pub fn is_kept(&self) -> bool {
        !self.temporary
    }

    /// The context file.
    pub fn context(&self) -> PathBuf {
        self.path.join("context.json")
    }

    /// The demo's control socket.
    pub fn demo_socket(&self) -> PathBuf {
        self.path.join("run/demo.sock")
    }

    /// Writes the context.
    pub fn write_context(&self, context: &Value) -> Result<(), String> {
        write_context(&self.context(), context)
    }

    /// Lets `sentinel` without `--context` find this demo, unless another one is found already.
    pub fn announce(&self) -> Result<bool, String> {
        let pointer = pointer();
        let ours = fs::canonicalize(self.context()).ok();
        if running(&pointer).is_some_and(|found| Some(found) != ours) {
            return Ok(false);
        }
        let parent = pointer.parent().unwrap_or(Path::new("/tmp"));
        make(parent)?;
        let ours = fs::metadata(parent).is_ok_and(|folder| folder.uid() == rustix::process::getuid().as_raw());
        if !ours {
            return Err(format!("{} belongs to somebody else", parent.display()));
        }
        drop(fs::remove_file(&pointer));
        std::os::unix::fs::symlink(self.context(), &pointer)
            .map_err(|cause| format!("cannot write {}: {cause}", pointer.display()))?;
        Ok(true)
    }

    /// Removes what must not outlive the demo.
    pub fn close(&self) {
        let pointer = pointer();
        if fs::read_link(&pointer).is_ok_and(|target| target == self.context()) {
            drop(fs::remove_file(&pointer));
        }
        drop(fs::remove_file(self.demo_socket()));
        if self.temporary {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// Fails when a demo runs already, with how to reach it. With a state folder of its own a second one may run.
pub fn refuse_second(options: &Options) -> Result<(), String> {
    let found = match &options.state {
        Some(state) => running(&state.join("context.json")),
        None => running(&pointer()),
    };
    match found {
        None => Ok(()),
        Some(context) => Err(format!(
            "a demo runs already; reach it with `sentinel get nodes`, its context is {}\n  \
             stop it with Ctrl-C in its terminal, or run a second one with --state DIR",
            context.display()
        )),
    }
}

/// The context at that path, if the demo that wrote it still answers.
fn running(context: &Path) -> Option<PathBuf> {
    let text = fs::read(context).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    UnixStream::connect(value["demo_socket"].as_str()?).ok()?;
    fs::canonicalize(context).ok()
}

/// Where `sentinel` looks for a running demo.
fn pointer() -> PathBuf {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("sentinel-demo"),
        None => PathBuf::from(format!("/tmp/sentinel-demo-{}", rustix::process::getuid().as_raw())),
    };
    folder.join("context.json")
}

fn named_folder(named: &Path) -> Result<PathBuf, String> {
    let shown = named.display();
    make(named)?;
    let path = fs::canonicalize(named).map_err(|cause| format!("cannot use {shown}: {cause}"))?;
    let mut entries = fs::read_dir(&path).map_err(|cause| format!("cannot read {shown}: {cause}"))?;
    match entries.next().is_none() || path.join("hub").is_dir() {
        true => Ok(path),
        false => Err(format!(
            "{shown} is neither empty nor the state of a demo; name another folder"
        )),
    }
}

fn temporary_folder() -> Result<PathBuf, String> {
    let pid = std::process::id();
    // A demo that was killed may have left the folder of its number.
    for attempt in 0..1_000 {
        let path = std::env::temp_dir().join(format!("sentinel-demo.{pid}.{attempt}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(format!("cannot make {}: {cause}", path.display())),
        }
    }
    Err(format!("{} is full of old demos", std::env::temp_dir().display()))
}

/// Makes a folder for its owner alone, if it is not there.
pub fn make(path: &Path) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|cause| format!("cannot make {}: {cause}", path.display()))
}

/// Writes a context, readable by its owner alone, whole or not at all.
pub fn write_context(path: &Path, context: &Value) -> Result<(), String> {
    write_private(path, context.to_string().as_bytes())
        .map_err(|cause| format!("cannot write {}: {cause}", path.display()))
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn options(state: &Path) -> Options {
        Options {
            state: Some(state.to_owned()),
            ..Options::default()
        }
    }

    #[test]
    fn a_named_folder_must_be_empty_or_a_demos() {
        let outer = tempfile::tempdir().expect("a folder");
        let fresh = outer.path().join("a/b");
        let folder = Folder::open(&options(&fresh)).expect("a new folder");
        folder.close();
        assert!(fresh.join("logs").is_dir(), "a named folder is kept");
        assert!(Folder::open(&options(&fresh)).is_err_and(|reason| reason.contains("neither empty")));
        make(&fresh.join("hub")).expect("made");
        assert!(Folder::open(&options(&fresh)).is_ok());
        let long = outer.path().join("x".repeat(MAX_STATE_BYTES));
        assert!(Folder::open(&options(&long)).is_err_and(|reason| reason.contains("too long")));
    }

    #[test]
    fn the_context_is_for_its_owner_alone() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(&options(outer.path())).expect("a folder");
        folder.write_context(&serde_json::json!({"hub": "h"})).expect("written");
        let mode = fs::metadata(folder.context()).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_second_demo_on_one_folder_is_refused_while_the_first_answers() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(&options(outer.path())).expect("a folder");
        let context = serde_json::json!({ "demo_socket": folder.demo_socket() });
        folder.write_context(&context).expect("written");
        assert_eq!(refuse_second(&options(outer.path())), Ok(()));
        let listener = std::os::unix::net::UnixListener::bind(folder.demo_socket()).expect("a socket");
        let refused = refuse_second(&options(outer.path())).expect_err("it runs");
        assert!(refused.contains("context.json"), "{refused}");
        drop(listener);
        assert_eq!(refuse_second(&options(outer.path())), Ok(()));
    }
}
