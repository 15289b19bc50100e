//! The GPU probe that comes with the agent: a small dynamic program inside the static one, started only where a driver is found.
//!
//! A static program cannot open a driver's library, so NVML has a program of its own. A build that has it inside (`cargo xtask dist`)
//! puts it into memory as a file and starts that; an ordinary build finds it beside the agent, where cargo puts it.
//!
//! Invariant: nothing is written to a disk, and nothing is started, on a machine without a driver.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The probe's program, or nothing in a build without it.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sentinel-gpu-probe"));
const NAME: &str = "sentinel-gpu-probe";
/// What a driver calls its library.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// Where drivers put it: Debian, Red Hat and others, the GPU operator's driver container, Google's and Microsoft's images, NixOS.
const FOLDERS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib64",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/home/kubernetes/bin/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

/// The program as a file that no folder has.
#[derive(Debug, Clone)]
pub struct Builtin(Arc<OwnedFd>);

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Builtin {}

/// The driver's library, if this machine has one: in the folders of `LD_LIBRARY_PATH`, then where drivers put it.
pub fn find_library() -> Option<PathBuf> {
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let named = std::env::split_paths(&named);
    named
        .filter(|folder| folder.is_absolute())
        .chain(FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(LIBRARY))
        .find(|path| path.is_file())
}

/// The command that starts the probe on this library, with the file that it names.
///
/// Fails when this build has no probe inside and none lies beside it, and when the kernel gives no file in memory.
pub fn command(library: &Path) -> io::Result<(Vec<String>, Option<Builtin>)> {
    let (program, builtin) = if PROGRAM.is_empty() {
        (beside()?.into_os_string(), None)
    } else {
        let builtin = in_memory()?;
        // Of this process: a child looks itself up under another number.
        (format!("/proc/self/fd/{}", builtin.0.as_raw_fd()).into(), Some(builtin))
    };
    let words = [program.as_os_str(), OsStr::new("--library"), library.as_os_str()];
    let text = |word: &OsStr| word.to_str().map(str::to_owned);
    let words: Option<Vec<String>> = words.into_iter().map(text).collect();
    let words = words.ok_or_else(|| io::Error::other("a path that is not UTF-8"))?;
    Ok((words, builtin))
}

fn beside() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(NAME);
    match path.is_file() {
        true => Ok(path),
        false => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "this build has no GPU probe inside, and there is no `{}`: build it with `cargo build -p edge-agent-gpu-probe`, or the \
                 agent with `cargo xtask dist`",
                path.display()
            ),
        )),
    }
}

/// A sealed file with the program. The kernel opens it for the child before it closes it, so it may close on exec.
fn in_memory() -> io::Result<Builtin> {
    let file = memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(PROGRAM)?;
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(Builtin(Arc::new(file.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_probe_says_where_it_looked() {
        if !PROGRAM.is_empty() {
            return;
        }
        let beside = std::env::current_exe().expect("a path").with_file_name(NAME);
        match command(Path::new("/lib/libnvidia-ml.so.1")) {
            Ok((words, None)) => assert_eq!(words[0], beside.display().to_string()),
            Ok((_, Some(_))) => panic!("there is none inside"),
            Err(error) => assert!(error.to_string().contains("cargo xtask dist"), "{error}"),
        }
    }
}
