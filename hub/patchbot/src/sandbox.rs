//! Runs foreign programs on foreign code where they can do no harm: bubblewrap, no network, seccomp, limits, the whole tree killed.
//!
//! The level is never assumed: [`Sandbox::probe`] tries the forbidden acts from inside (`acts.rs`) and reports what was blocked.
//! Level 3 is proven or there is none: below it nothing of a repository runs, and nothing ever runs unsandboxed in silence.
//!
//! What the sandbox itself suffered is never taken for what a program in it said: bubblewrap reports the program's own end on a channel of
//! its own, and a run without that report is an error that may pass.
//!
//! The sandbox sees `/usr` and the folders of the tools read-only, an empty `/tmp`, and one writable folder, the workspace at
//! `/repo`. Environment and home are empty; no file of the host, no process, no socket is in reach.
//!
//! Read next: `sandbox/seccomp.rs` (the filter), `sandbox/acts.rs` (the proof).

pub mod acts;
mod cgroup;
pub mod seccomp;

use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use hub_remediation_sdk::certificate::Level;
use serde::{Deserialize, Serialize};

/// Output kept of one program, in bytes, at each end; the middle of more is dropped.
const OUTPUT_BYTES: usize = 4 << 20;
/// Processes at once.
const PROCESSES: u32 = 256;
/// Memory that one process may write to.
const DATA_BYTES: u64 = 2 << 30;
/// Size of one file.
const FILE_BYTES: u64 = 256 << 20;
/// Open files of one process.
const OPEN_FILES: u32 = 1024;
/// Processor time of one process, in seconds.
const CPU_S: u32 = 600;

/// What the self-test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The level that is proven.
    pub level: Level,
    /// Each forbidden act, and whether it was blocked.
    pub acts: Vec<acts::Tried>,
    /// Why the level is not higher; empty at level 3.
    pub reason: String,
    /// Names the report in certificates.
    pub digest: String,
}

/// A sandbox cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Nothing runs below level 3.
    #[error("the sandbox is at level {level:?}, not L3: {reason}")]
    LevelTooLow {
        /// The level that is proven.
        level: Level,
        /// What is missing.
        reason: String,
    },
    /// A program could not be started.
    #[error("cannot start `{program}` in the sandbox")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The sandbox ended before the program did, so nobody knows what it would have said.
    #[error("the sandbox of `{program}` broke before the program had ended: {said}")]
    Broke {
        /// Which.
        program: String,
        /// The last line that it wrote.
        said: String,
    },
    /// Something killed the program: the machine was short of memory, or its processor time was used up.
    #[error("`{program}` was killed in the sandbox")]
    Killed {
        /// Which.
        program: String,
    },
}

/// A program to run, and in which folder.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// The folder of the host that becomes `/repo`.
    pub workspace: &'a Path,
    /// Folder below `/repo` in which the program starts; empty for `/repo` itself.
    pub folder: &'a str,
    /// Wall-clock limit. The whole tree is killed at its end.
    pub limit: Duration,
}

/// What a program did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit status; `None` when it was killed.
    pub status: Option<i32>,
    /// True when it was killed at its time limit.
    pub timed_out: bool,
    /// Standard output and error, in that order.
    pub output: Vec<u8>,
    /// Standard output alone.
    pub stdout: Vec<u8>,
    /// Wall-clock time.
    pub took: Duration,
}

/// A sandbox with its proven level.
#[derive(Debug, Clone)]
pub struct Sandbox {
    bubblewrap: PathBuf,
    tools: Vec<PathBuf>,
    report: Report,
}

impl Sandbox {
    /// Looks for bubblewrap and tries every forbidden act. `tools` are folders that hold programs (each with its `bin`), seen
    /// read-only inside. Blocks for about a second.
    pub fn probe(tools: Vec<PathBuf>) -> Self {
        Self::probe_with(find("bwrap").unwrap_or_default(), tools)
    }

    /// The same with this bubblewrap.
    pub fn probe_with(bubblewrap: PathBuf, tools: Vec<PathBuf>) -> Self {
        cgroup::sweep();
        let mut sandbox = Self {
            bubblewrap,
            tools,
            report: Report {
                level: Level::L0,
                acts: Vec::new(),
                reason: String::new(),
                digest: String::new(),
            },
        };
        sandbox.report = match acts::try_all(&sandbox) {
            Ok(acts) => {
                let open: Vec<&str> = acts
                    .iter()
                    .filter(|act| !act.blocked)
                    .map(|act| act.name.as_str())
                    .collect();
                let level = if open.is_empty() { Level::L3 } else { Level::L0 };
                let reason = if open.is_empty() {
                    String::new()
                } else {
                    format!("not blocked: {}", open.join(", "))
                };
                report(level, acts, reason)
            }
            Err(reason) => report(Level::L0, Vec::new(), reason),
        };
        sandbox
    }

    /// Tries every forbidden act again: what failed for want of time or memory may hold now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::probe_with(self.bubblewrap.clone(), self.tools.clone())
    }

    /// What the self-test found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Refuses below level 3.
    pub fn require(&self) -> Result<(), SandboxError> {
        if self.report.level < Level::L3 {
            let reason = self.report.reason.clone();
            return Err(SandboxError::LevelTooLow {
                level: self.report.level,
                reason,
            });
        }
        Ok(())
    }

    /// Runs a program. Refuses below level 3. Blocks until it has ended or was killed.
    pub fn run(&self, job: &Job<'_>) -> Result<Ran, SandboxError> {
        self.require()?;
        self.start(job)
    }

    fn start(&self, job: &Job<'_>) -> Result<Ran, SandboxError> {
        let program = job.argv.first().cloned().unwrap_or_default();
        let failed = |cause| SandboxError::Start {
            program: program.clone(),
            cause,
        };
        let filter = seccomp::file().map_err(failed)?;
        let mut told = memory_file("told", b"").map_err(failed)?;
        let group = cgroup::Group::new(PROCESSES);
        let started = Instant::now();
        let mut command = self.command(job, (&filter, &told), group.as_ref());
        let mut child = command.spawn().map_err(failed)?;
        let (ended, ends) = mpsc::channel::<()>();
        let watchdog = watch(child.id(), job.limit, ends);
        let stderr = child.stderr.take().map(|pipe| std::thread::spawn(move || drain(pipe)));
        let stdout = child.stdout.take().map(drain).unwrap_or_default();
        let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
        child.wait().map_err(failed)?;
        drop(ended);
        let timed_out = watchdog.join().unwrap_or(false);
        let status = program_s_end(&mut told).map_err(failed)?;
        match status {
            _ if timed_out => {}
            None => {
                let said = String::from_utf8_lossy(&stderr);
                let said = said.lines().rfind(|line| !line.trim().is_empty());
                let said = crate::verdict::shorten(said.unwrap_or("it wrote nothing"));
                return Err(SandboxError::Broke { program, said });
            }
            Some(KILLED) => return Err(SandboxError::Killed { program }),
            Some(_) => {}
        }
        let mut output = stdout.clone();
        output.extend_from_slice(&stderr);
        Ok(Ran {
            status: status.filter(|_| !timed_out),
            timed_out,
            output,
            stdout,
            took: started.elapsed(),
        })
    }

    /// `prlimit … bwrap … program`. Limits come first so that bubblewrap's own processes are under them.
    fn command(
        &self,
        job: &Job<'_>,
        (filter, told): (&std::fs::File, &std::fs::File),
        group: Option<&cgroup::Group>,
    ) -> Command {
        let mut command = Command::new("prlimit");
        // Bubblewrap is the first process inside, and its environment can be read there: it gets nothing of this process's own.
        command.env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.args([
            format!("--nproc={PROCESSES}"),
            format!("--data={DATA_BYTES}"),
            format!("--fsize={FILE_BYTES}"),
            format!("--nofile={OPEN_FILES}"),
            format!("--cpu={CPU_S}"),
            "--core=0".to_owned(),
        ]);
        // A shell passes the filter's descriptor on as number 9, and the one that the end is told to as 8: Rust opens files closed-on-exec.
        let path_of = |file: &std::fs::File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let door = group.map_or_else(|| PathBuf::from("/dev/null"), cgroup::Group::door);
        command
            .args([
                "sh",
                "-c",
                r#"filter=$1; told=$2; echo $$ >"$3" || exit; shift 3; exec "$@" 8>>"$told" 9<"$filter""#,
                "sh",
            ])
            .args([path_of(filter), path_of(told)])
            .arg(door);
        command.arg(&self.bubblewrap);
        command.args([
            "--unshare-all",
            "--die-with-parent",
            "--new-session",
            "--cap-drop",
            "ALL",
            "--clearenv",
            "--hostname",
            "sandbox",
        ]);
        command.args(["--seccomp", "9", "--json-status-fd", "8"]);
        for folder in [
            "/usr",
            "/etc/alternatives",
            "/etc/ld.so.cache",
            "/etc/ld.so.conf",
            "/etc/ld.so.conf.d",
        ] {
            command.args(["--ro-bind-try", folder, folder]);
        }
        for (target, link) in [
            ("usr/bin", "/bin"),
            ("usr/sbin", "/sbin"),
            ("usr/lib", "/lib"),
            ("usr/lib64", "/lib64"),
        ] {
            command.args(["--symlink", target, link]);
        }
        command.args([
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--dir", "/home",
        ]);
        let mut path = String::new();
        for tool in &self.tools {
            command.arg("--ro-bind").arg(tool).arg(tool);
            // npm keeps the programs of a folder's packages in `.bin`.
            path.push_str(&format!("{0}/bin:{0}/.bin:", tool.display()));
        }
        path.push_str("/usr/local/bin:/usr/local/go/bin:/usr/bin:/bin");
        command.arg("--bind").arg(job.workspace).args(["/repo", "--chdir"]);
        command.arg(Path::new("/repo").join(job.folder));
        for (name, value) in [
            ("PATH", path.as_str()),
            ("HOME", "/home"),
            ("LANG", "C.UTF-8"),
            ("RUFF_NO_CACHE", "true"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("NO_COLOR", "1"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ] {
            command.args(["--setenv", name, value]);
        }
        command.arg("--").args(job.argv);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// What bubblewrap says of a program that was ended by `SIGKILL`: 128 and the signal's number, as a shell does.
const KILLED: i32 = 128 + 9;

/// The exit status that bubblewrap told, one JSON object a line; `None`: it did not live to tell one.
fn program_s_end(told: &mut std::fs::File) -> std::io::Result<Option<i32>> {
    let mut text = String::new();
    told.rewind()?;
    told.read_to_string(&mut text)?;
    let status = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["exit-code"].as_i64();
    Ok(text
        .lines()
        .find_map(status)
        .and_then(|status| i32::try_from(status).ok()))
}

fn report(level: Level, acts: Vec<acts::Tried>, reason: String) -> Report {
    let mut hasher = blake3::Hasher::new();
    for act in &acts {
        hasher.update(act.name.as_bytes());
        hasher.update(&[u8::from(act.blocked)]);
    }
    Report {
        level,
        acts,
        reason,
        digest: hasher.finalize().to_hex()[..16].to_owned(),
    }
}

/// Kills the process when the limit has passed first. Bubblewrap is `--die-with-parent` and owns the PID namespace, so its death
/// is that of the whole tree. The thread's answer is whether it had to.
fn watch(process: u32, limit: Duration, ends: mpsc::Receiver<()>) -> std::thread::JoinHandle<bool> {
    std::thread::spawn(move || match ends.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            if let Some(process) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) {
                // It may have ended in this very moment; then there is nothing to kill.
                let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            }
            true
        }
        _ => false,
    })
}

/// Reads to the end, keeping the first and the last [`OUTPUT_BYTES`].
fn drain(mut pipe: impl Read) -> Vec<u8> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let mut chunk = [0u8; 65_536];
    while let Ok(read @ 1..) = pipe.read(&mut chunk) {
        let bytes = &chunk[..read];
        let room = OUTPUT_BYTES.saturating_sub(head.len()).min(read);
        head.extend_from_slice(&bytes[..room]);
        tail.extend_from_slice(&bytes[room..]);
        if tail.len() > 2 * OUTPUT_BYTES {
            tail.drain(..tail.len() - OUTPUT_BYTES);
        }
    }
    head.extend_from_slice(&tail[tail.len().saturating_sub(OUTPUT_BYTES)..]);
    head
}

/// A program on `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The folders that must be seen inside for `programs` to run: where each lies, what its links lead to, and for a Python
/// environment the interpreter that it was made from. `/usr` is always seen. A folder that holds a home is never given.
pub fn tool_folders(programs: &[&str]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut add = |folder: &Path| {
        let holds_home = std::env::var_os("HOME").is_some_and(|home| Path::new(&home).starts_with(folder));
        if !folder.starts_with("/usr")
            && folder.components().count() > 1
            && !holds_home
            && !folders.iter().any(|known| folder.starts_with(known))
        {
            folders.push(folder.to_owned());
        }
    };
    for program in programs {
        let Some(file) = find(program).map(|file| behind_rustup(program, file)) else {
            continue;
        };
        for place in [Some(file.clone()), file.canonicalize().ok()].into_iter().flatten() {
            let Some(root) = place.parent().and_then(Path::parent) else {
                continue;
            };
            add(root);
            if let Ok(text) = std::fs::read_to_string(root.join("pyvenv.cfg"))
                && let Some(home) = text.lines().find_map(|line| line.strip_prefix("home = "))
                && let Some(base) = Path::new(home.trim()).parent()
            {
                add(base);
                if let Ok(real) = base.canonicalize() {
                    add(&real);
                }
            }
        }
    }
    folders
}

/// The toolchain's own program where `file` is rustup's stand-in for it: the stand-in needs rustup's home, and lies in cargo's, which
/// may hold credentials.
fn behind_rustup(program: &str, file: PathBuf) -> PathBuf {
    let real = file.canonicalize();
    if !real.is_ok_and(|real| real.file_name().is_some_and(|name| name == "rustup")) {
        return file;
    }
    let found = Command::new("rustup").args(["which", program]).output();
    let found = found.ok().filter(|output| output.status.success());
    let path = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    path.filter(|path| !path.is_empty()).map_or(file, PathBuf::from)
}

/// An anonymous file with `bytes`, read from its start.
pub(crate) fn memory_file(name: &str, bytes: &[u8]) -> std::io::Result<std::fs::File> {
    let descriptor = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(descriptor);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
