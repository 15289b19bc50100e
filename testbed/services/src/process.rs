//! One running program, and how to wait for it.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ServiceError;

/// How long a program may take to end by itself once it was asked to, before it is killed.
const END: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A program that runs until this is dropped, or until the process that started it is gone.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`; what it prints goes to `NAME.log` in `folder`, which is also its working folder.
    ///
    /// The kernel kills it when this process ends, however that happens (`setpriv --pdeathsig`, a part of util-linux). Not asked: an API
    /// server whose etcd is gone waits for ever.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Result<Self, ServiceError> {
        let log = folder.join(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(ServiceError::file("open", &log))?;
        let errors = out.try_clone().map_err(ServiceError::file("open", &log))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors);
        let child = spawn(command).map_err(|cause| ServiceError::Run {
            program: format!("setpriv {}", program.display()),
            hint: "install util-linux",
            cause,
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of the log if the program is not running any more.
    pub fn alive(&mut self) -> Result<(), ServiceError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(ServiceError::NotReady {
                name: self.name.clone(),
                reason: format!("it ended ({ended:?}); its log ends with: {}", self.log_end()),
            }),
        }
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let _an_unreadable_log_is_an_empty_one =
            File::open(&self.log).and_then(|mut log| log.read_to_string(&mut text));
        text
    }

    /// The last lines that it printed.
    pub fn log_end(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Kills it without asking.
    pub fn kill(mut self) {
        let _may_be_gone = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Ends it now: asked first, killed when it does not end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _may_be_gone = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < END {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(LOOK);
        }
        let _may_be_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

type Order = (Command, SyncSender<std::io::Result<Child>>);

/// Starts a command from a thread that lives as long as this process: the kernel's death signal follows the *thread* that started a
/// child (`prctl(2)`), and a test's own thread ends with the test.
fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox): (Sender<Order>, Receiver<Order>) = channel();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _the_asker_may_be_gone = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, outcome) = sync_channel(1);
    let gone = || std::io::Error::other("the starting thread is gone");
    starter.send((command, answer)).map_err(|_| gone())?;
    outcome.recv().map_err(|_| gone())?
}

/// A port of 127.0.0.1 that nobody listens on at this moment.
pub fn free_port() -> Result<u16, ServiceError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(listener.map_err(ServiceError::file("listen on", "127.0.0.1:0"))?.port())
}

/// Looks again and again until `look` says that `name` is ready. `look` gives `Ok(None)` when it is, `Ok(Some(what was seen))` when
/// it may still become so, and an error when it never will.
pub fn wait_until(
    name: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<String>, ServiceError>,
) -> Result<(), ServiceError> {
    let started = Instant::now();
    loop {
        let Some(seen) = look()? else { return Ok(()) };
        if started.elapsed() > within {
            let reason = format!("not within {} s; seen last: {seen}", within.as_secs());
            return Err(ServiceError::NotReady {
                name: name.to_owned(),
                reason,
            });
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunFolder;

    #[test]
    fn a_process_ends_when_it_is_dropped_and_its_log_is_kept() {
        let folder = RunFolder::make("process").expect("a folder");
        let script = "echo here; exec sleep 600";
        let process = Process::start("sh", Path::new("/bin/sh"), ["-c", script], &[], folder.path()).expect("a shell");
        let pid = process.pid();
        wait_until("sh", Duration::from_secs(10), || {
            Ok((process.log_end() != "here").then(|| process.log_end()))
        })
        .expect("its line");
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_process_that_ended_says_why() {
        let folder = RunFolder::make("ended").expect("a folder");
        let script = "echo no such port >&2; exit 3";
        let mut process =
            Process::start("sh", Path::new("/bin/sh"), ["-c", script], &[], folder.path()).expect("a shell");
        let mut reason = String::new();
        wait_until("the end", Duration::from_secs(10), || {
            reason = process.alive().err().map(|error| error.to_string()).unwrap_or_default();
            Ok(reason.is_empty().then(|| "it runs".to_owned()))
        })
        .expect("an end");
        assert!(reason.contains("no such port"), "{reason}");
    }
}
