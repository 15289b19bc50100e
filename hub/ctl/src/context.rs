//! Finds and reads the context: where the hub and the nodes are, and with which token.
//!
//! Invariant: a context file that others could have read or written is refused, because the token in it can act on a fleet.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wire::api::Context;

use crate::failure::{Exit, Failure};

/// A context has one certificate and a socket for each node: 1 MiB is thousands of nodes.
const MAX_CONTEXT_BYTES: u64 = 1024 * 1024;

/// Where the unit that ships lets a hub keep its state.
const HUB_STATE: &str = "/var/lib/sentinel-hub";

/// A token that ends sooner than this is renewed before it is used.
const ALMOST_ENDED_MS: i64 = 30_000;

/// The context in force, and where it was found.
#[derive(Debug)]
pub struct Found {
    /// What it says.
    pub context: Context,
    /// Its file.
    pub path: PathBuf,
}

/// The given file, else the running demo's, else the user's own, else that of the hub of this machine.
///
/// `given` is `--context` or `SENTINEL_CONTEXT`, which the command line has already put in order.
pub fn find(given: Option<&Path>) -> Result<Found, Failure> {
    if let Some(path) = given {
        return read(path);
    }
    if let Some(path) = demo_path().filter(|path| path.exists()) {
        // A demo that was killed leaves its file behind; its socket tells.
        let found = read(&path)?;
        if answers(&found.context) {
            return Ok(found);
        }
    }
    let own = own_path();
    if let Some(path) = own.as_deref().filter(|path| path.exists()) {
        return read(path);
    }
    let here = hub_path();
    match here.try_exists() {
        Ok(true) => read(&here),
        Ok(false) => Err(nowhere(own.as_deref())),
        // There is a hub, and whoever types is somebody else.
        Err(cause) => Err(nowhere(own.as_deref())
            .because(cause)
            .advise("or, on the hub's own machine: sudo -u sentinel-hub sentinel …")),
    }
}

impl Found {
    /// No context: one node is asked at its socket.
    pub fn nothing(socket: &Path) -> Self {
        Self {
            context: Context {
                hub: String::new(),
                token: String::new(),
                refresh_token: None,
                token_ends: None,
                ca_pem: String::new(),
                nodes: BTreeMap::new(),
                demo_socket: None,
            },
            path: socket.to_owned(),
        }
    }

    /// Whether its token lasts long enough for a request; one without an end always does.
    pub fn is_fresh(&self) -> bool {
        let ends = self.context.token_ends.filter(|_| self.context.refresh_token.is_some());
        ends.is_none_or(|ends| ends.0.saturating_sub(now_ms()) > ALMOST_ENDED_MS)
    }
}

/// The wall clock, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Writes a context file that only its owner can use. Nobody reads half of it.
pub fn write(path: &Path, context: &Context) -> Result<(), Failure> {
    let cannot = |cause: std::io::Error| {
        Failure::new(
            Exit::Failure,
            format!("cannot write the context file `{}`", path.display()),
        )
        .because(cause)
    };
    let text = serde_json::to_vec_pretty(context)
        .map_err(|cause| Failure::new(Exit::Failure, "cannot write the context as JSON").because(cause))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        wire_files::make_folder(folder).map_err(cannot)?;
    }
    wire_files::replace(path, &text).map_err(cannot)
}

fn nowhere(own: Option<&Path>) -> Failure {
    let own = own.map_or_else(
        || "HOME is not set".to_owned(),
        |path| format!("`{}` does not exist", path.display()),
    );
    Failure::new(
        Exit::Usage,
        format!("no context: neither --context nor SENTINEL_CONTEXT is given, no demo runs, and {own}"),
    )
    .advise("start the demo (`cargo run --release`), or copy admin.json from the hub's state folder there, mode 0600")
}

/// Reads one context file.
pub fn read(path: &Path) -> Result<Found, Failure> {
    let cannot = |cause: std::io::Error| {
        let exit = match cause.kind() {
            std::io::ErrorKind::NotFound => Exit::Usage,
            _ => Exit::Failure,
        };
        Failure::new(exit, format!("cannot read the context file `{}`", path.display())).because(cause)
    };
    let file = fs::File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    check_private(path, metadata.mode(), metadata.uid())?;
    let mut text = Vec::new();
    file.take(MAX_CONTEXT_BYTES).read_to_end(&mut text).map_err(cannot)?;
    let context = serde_json::from_slice(&text).map_err(|cause| {
        Failure::new(Exit::Usage, format!("`{}` is not a context file", path.display()))
            .because(cause)
            .advise("copy admin.json from the hub's state folder there, mode 0600")
    })?;
    Ok(Found {
        context,
        path: path.to_owned(),
    })
}

fn check_private(path: &Path, mode: u32, owner: u32) -> Result<(), Failure> {
    let me = rustix::process::geteuid().as_raw();
    let shown = path.display();
    // Root administers the hub's own folder, which belongs to the hub's account.
    let administers = me == 0 && path == hub_path();
    if owner != me && owner != 0 && !administers {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "context file `{shown}` belongs to user {owner}, not to you (user {me}); its token is not yours to use"
            ),
        )
        .advise("copy it to a file of your own with mode 0600, if you trust it"));
    }
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "context file `{shown}` can be used by others (mode {:04o}), and its token can act on every node",
                mode & 0o7777
            ),
        )
        .advise(format!("chmod 600 {shown}")));
    }
    Ok(())
}

fn answers(context: &Context) -> bool {
    context
        .demo_socket
        .as_ref()
        .is_some_and(|socket| UnixStream::connect(socket).is_ok())
}

/// Where a running demo leaves its context: under `XDG_RUNTIME_DIR`, else in `/tmp` under the user's number.
fn demo_path() -> Option<PathBuf> {
    let folder = match env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("sentinel-demo"),
        None => PathBuf::from(format!("/tmp/sentinel-demo-{}", rustix::process::getuid().as_raw())),
    };
    Some(folder.join("context.json"))
}

/// The administrator's context of a hub on this machine: where `sentinel-hub` keeps its state.
fn hub_path() -> PathBuf {
    let state = env::var_os("SENTINEL_HUB_STATE").map_or_else(|| HUB_STATE.into(), PathBuf::from);
    state.join("admin.json")
}

fn own_path() -> Option<PathBuf> {
    let folder = match env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME")?).join(".config"),
    };
    Some(folder.join("sentinel/context.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: u32, owner_is_me: bool, expected: Result<(), &str>) {
        let me = rustix::process::geteuid().as_raw();
        let owner = if owner_is_me { me } else { me + 1 };
        match (check_private(Path::new("c.json"), 0o100_000 | mode, owner), expected) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err(part)) => {
                assert!(failure.told().contains(part), "{}", failure.told());
            }
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn only_a_private_context_is_used() {
        check(0o600, true, Ok(()));
        check(0o400, true, Ok(()));
        check(0o644, true, Err("chmod 600 c.json"));
        check(0o620, true, Err("mode 0620"));
        check(0o600, false, Err("belongs to user"));
    }
}
