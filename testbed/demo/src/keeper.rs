//! Keeps one process running, as systemd would: it starts again 1 s after it died, except after it was stopped.
//!
//! Invariant: a signal is only ever sent to a process that has not been waited for, so never to a stranger with its number; and
//! when a process is gone, so is everything in its process group.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::signals::Stop;
use crate::tied;

/// `RestartSec` of the unit that ships.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How long a process may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of a log that are shown when a process does not start.
const LOG_LINES: usize = 8;

/// What to run.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// `hub` or the node's name.
    pub name: String,
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it finds in its environment besides the demo's own.
    pub environment: Vec<(String, String)>,
    /// Where standard error goes, and what it prints besides its ready line.
    pub log: PathBuf,
}

/// Called with the ready line, each time that the process prints it.
pub type OnReady = Box<dyn Fn(&str) + Send + Sync>;

/// One kept process.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    recipe: Mutex<Recipe>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    ending: bool,
    pid: Option<Pid>,
    starts: u64,
    ends: u64,
    ready: Option<String>,
    last_end: String,
}

impl Keeper {
    /// Starts the process, and keeps it running.
    pub fn start(recipe: Recipe, on_ready: OnReady) -> Result<Self, String> {
        let name = recipe.name.clone();
        let shared = Arc::new(Shared {
            recipe: Mutex::new(recipe),
            state: Mutex::new(State {
                wanted: true,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        let kept = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || kept.keep(on_ready))
            .map_err(|cause| format!("cannot start a thread for {name}: {cause}"))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits for the ready line and returns it. Fails when the process ends before, with the end of its log.
    pub fn ready(&self, stop: &Stop, patience: Duration) -> Result<String, String> {
        stop.until(patience, || {
            let state = self.shared.lock();
            if let Some(line) = &state.ready {
                return Ok(Ok(line.clone()));
            }
            match state.ends {
                0 => Err(format!("{} is not ready", self.name())),
                _ => Ok(Err(format!(
                    "{} ended before it was ready ({})",
                    self.name(),
                    state.last_end
                ))),
            }
        })
        .and_then(|ended| ended)
        .map_err(|reason| format!("{reason}{}", self.log_end()))
    }

    /// From the next start on, other arguments.
    pub fn set_arguments(&self, arguments: Vec<String>) {
        self.shared.recipe().arguments = arguments;
    }

    /// Kills it with signal 9. It starts again by itself.
    pub fn kill(&self) -> Result<String, String> {
        let state = self.shared.lock();
        match state.pid {
            Some(pid) => {
                signal(pid, Signal::KILL);
                Ok(format!(
                    "{} (process {pid}) is killed with signal 9; it starts again in {} s",
                    self.name(),
                    RESTART_AFTER.as_secs()
                ))
            }
            None => Err(format!("{} does not run", self.name())),
        }
    }

    /// Stops it, and does not start it again. Waits until it is gone: killed after 5 s, or at once when the person is in a hurry.
    pub fn stop(&self, hurry: impl Fn() -> bool) -> Result<String, String> {
        let name = self.name();
        let mut state = self.shared.lock();
        if !state.wanted && state.pid.is_none() {
            return Err(format!("{name} is stopped already"));
        }
        state.wanted = false;
        self.shared.changed.notify_all();
        if let Some(pid) = state.pid {
            signal(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        let mut killed = false;
        while let Some(pid) = state.pid {
            if !killed && (Instant::now() >= deadline || hurry()) {
                killed = true;
                signal(pid, Signal::KILL);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        match killed {
            true => Ok(format!("{name} did not stop by itself and was killed")),
            false => Ok(format!("{name} is stopped ({})", state.last_end)),
        }
    }

    /// Starts it after it was stopped.
    pub fn start_again(&self) -> Result<String, String> {
        let name = self.name();
        let mut state = self.shared.lock();
        if state.wanted {
            return Err(format!("{name} is not stopped"));
        }
        state.wanted = true;
        self.shared.changed.notify_all();
        Ok(format!("{name} starts"))
    }

    /// Stops it for good.
    pub fn end(&self, hurry: impl Fn() -> bool) -> String {
        self.shared.lock().ending = true;
        // It may be stopped already, which is what is wanted.
        let text = self.stop(hurry).unwrap_or_else(|stopped| stopped);
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A keeper that panicked has nothing left to keep.
            drop(thread.join());
        }
        text
    }

    fn name(&self) -> String {
        self.shared.recipe().name.clone()
    }

    fn log_end(&self) -> String {
        let path = self.shared.recipe().log.clone();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
        format!("; the end of {}:\n    {last}", path.display())
    }
}

impl Shared {
    fn keep(&self, on_ready: OnReady) {
        let on_ready = &on_ready;
        std::thread::scope(|scope| {
            while self.wait_until_wanted() {
                let end = match self.spawn() {
                    Ok((mut child, stdout, log)) => {
                        scope.spawn(move || self.listen(stdout, log, on_ready));
                        self.wait_for_end(&mut child)
                    }
                    Err(reason) => reason,
                };
                self.ended(end);
            }
        });
    }

    /// False when it will never be wanted again.
    fn wait_until_wanted(&self) -> bool {
        let mut state = self.lock();
        while !state.ending && !state.wanted {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.ending
    }

    fn spawn(&self) -> Result<(Child, ChildStdout, File), String> {
        let recipe = self.recipe().clone();
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&recipe.log)
                .map_err(|cause| format!("cannot write {}: {cause}", recipe.log.display()))
        };
        let mut state = self.lock();
        let mut child = tied::command(&recipe.program)
            .args(&recipe.arguments)
            .envs(recipe.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(open()?)
            .spawn()
            .map_err(|cause| format!("cannot start {}: {cause}", recipe.program.display()))?;
        let stdout = child.stdout.take().ok_or("it has no output")?;
        state.pid = Some(Pid::from_child(&child));
        state.starts += 1;
        state.ready = None;
        drop(state);
        self.changed.notify_all();
        Ok((child, stdout, open()?))
    }

    /// Reads standard output until it is closed.
    fn listen(&self, stdout: ChildStdout, mut log: File, on_ready: &OnReady) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            match line.strip_prefix("ready ") {
                Some(ready) => {
                    on_ready(ready);
                    self.lock().ready = Some(ready.to_owned());
                    self.changed.notify_all();
                }
                // A log that cannot be written must not stop what it tells of.
                None => drop(writeln!(log, "{line}")),
            }
        }
    }

    /// Waits until it has ended, takes its group with it, and only then lets its number go.
    fn wait_for_end(&self, child: &mut Child) -> String {
        let pid = Pid::from_child(child);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), ended) {}
        let mut state = self.lock();
        // What it left behind: `KillMode=control-group`. None is the usual case.
        let _nothing_left = kill_process_group(pid, Signal::KILL);
        let end = match child.wait() {
            Ok(status) => status.to_string(),
            Err(cause) => format!("cannot be waited for: {cause}"),
        };
        state.pid = None;
        end
    }

    fn ended(&self, end: String) {
        let mut state = self.lock();
        state.pid = None;
        state.ready = None;
        state.ends += 1;
        state.last_end = end;
        self.changed.notify_all();
        let again = Instant::now() + RESTART_AFTER;
        while state.wanted && !state.ending {
            let left = again.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recipe(&self) -> MutexGuard<'_, Recipe> {
        self.recipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that has just ended cannot be signalled, and needs not.
fn signal(pid: Pid, signal: Signal) {
    let _already_gone = kill_process(pid, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a process of a test may take: they end by themselves at once.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(folder: &std::path::Path, script: &str) -> Recipe {
        Recipe {
            name: "shell".to_owned(),
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: Vec::new(),
            log: folder.join("log"),
        }
    }

    /// The keeper starts this very program in between, which is the test runner here and not the demo.
    fn keep(recipe: &Recipe) -> Arc<Shared> {
        Arc::new(Shared {
            recipe: Mutex::new(recipe.clone()),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        })
    }

    #[test]
    fn a_stopped_process_is_not_started_and_an_ended_keeper_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let shared = keep(&shell(folder.path(), "exit 0"));
        let keeper = Keeper {
            shared,
            thread: Mutex::new(None),
        };
        assert!(keeper.kill().is_err_and(|text| text.contains("does not run")));
        assert!(keeper.stop(|| false).is_err_and(|text| text.contains("already")));
        assert!(keeper.start_again().is_ok());
        assert!(keeper.start_again().is_err_and(|text| text.contains("not stopped")));
        keeper.end(|| true);
        assert!(!keeper.shared.wait_until_wanted());
    }

    #[test]
    fn a_process_that_ends_before_it_is_ready_is_told_with_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let recipe = shell(folder.path(), "exit 3");
        std::fs::write(&recipe.log, "first\nthe port is in use\n").expect("written");
        let shared = keep(&recipe);
        shared.lock().ends = 1;
        shared.lock().last_end = "exit status: 3".to_owned();
        let keeper = Keeper {
            shared,
            thread: Mutex::new(None),
        };
        let reason = keeper.ready(&Stop::default(), PATIENCE).expect_err("it ended");
        assert!(
            reason.contains("exit status: 3") && reason.contains("port is in use"),
            "{reason}"
        );
    }

    #[test]
    fn ready_lines_are_taken_and_the_rest_is_logged() {
        let folder = tempfile::tempdir().expect("a folder");
        let recipe = shell(folder.path(), "");
        let shared = keep(&recipe);
        let mut child = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                "echo hello; echo ready /x.sock page http://127.0.0.1:5; echo more",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let on_ready: OnReady = Box::new(|_| ());
        shared.listen(
            child.stdout.take().expect("a pipe"),
            File::create(&recipe.log).expect("a log"),
            &on_ready,
        );
        let ready = shared.lock().ready.clone();
        let end = shared.wait_for_end(&mut child);
        assert_eq!(end, "exit status: 0");
        assert_eq!(ready.as_deref(), Some("/x.sock page http://127.0.0.1:5"));
        assert_eq!(std::fs::read_to_string(&recipe.log).expect("a log"), "hello\nmore\n");
    }
}
