//! Clocks that are wrong, with real processes: an agent that is started years ahead, a hub that runs a year ahead or that wakes up in
//! 1970, and a machine that joins with a wrong clock. Each is back once its clock is right, without a restart.
//!
//! The programs are the shipping ones; libfaketime shifts what the C library tells them, and follows a file, so that a clock can be set
//! right while they run. Their monotonic clocks stay as they are.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use testbed_e2e::{PATIENCE, Said, check, offline, program};

/// A hub and an agent, each with a clock of its own.
struct Machines {
    folder: tempfile::TempDir,
    hub: Option<Child>,
    agent: Option<Child>,
    /// `HOST:PORT`, once the hub has run.
    address: String,
}

impl Machines {
    /// A hub whose clock is right.
    fn new() -> Self {
        let mut machines = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            hub: None,
            agent: None,
            address: "127.0.0.1:0".to_owned(),
        };
        machines.set("hub", "+0");
        machines.set("agent", "+0");
        machines.start_hub();
        machines
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets the clock of `hub` or `agent`, for example to `+11y`; one that runs follows.
    fn set(&self, whose: &str, offset: &str) {
        let (path, next) = (self.path(&format!("{whose}.time")), self.path("next.time"));
        fs::write(&next, offset).expect("room");
        fs::rename(next, path).expect("the same disk");
    }

    /// A program whose clock is the one of `whose`, and whose log is `WHOSE.log`.
    fn command(&self, whose: &str, name: &str) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(whose))
            .expect("room");
        let mut command = Command::new(program(name));
        command
            .env("LD_PRELOAD", libfaketime())
            .env("FAKETIME_TIMESTAMP_FILE", self.path(&format!("{whose}.time")))
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(log);
        command
    }

    fn log(&self, whose: &str) -> PathBuf {
        self.path(&format!("{whose}.log"))
    }

    fn start_hub(&mut self) {
        let mut command = self.command("hub", "sentinel-hub");
        command
            .args(["run", "--listen", &self.address, "--state"])
            .arg(self.path("hub"));
        let (child, ready) = start(command, &self.log("hub"));
        let address = ready
            .trim()
            .strip_prefix("ready https://")
            .expect("its address")
            .to_owned();
        (self.hub, self.address) = (Some(child), address);
    }

    fn start_agent(&mut self) {
        let mut command = self.command("agent", "sentinel-agent");
        command.args(["run", "--state"]).arg(self.path("agent"));
        self.agent = Some(start(command, &self.log("agent")).0);
    }

    fn stop(&mut self, whose: &str) {
        let child = match whose {
            "hub" => self.hub.take(),
            _ => self.agent.take(),
        };
        end(child.expect("it runs"));
    }

    /// Runs `sentinel-agent join` with the agent's clock.
    fn join(&self) -> Said {
        let context = self.path("hub").join("admin.json").display().to_string();
        let made = offline(
            self.folder.path(),
            &["--context", &context, "token", "create", "--site", "lab", "-o", "json"],
        )
        .json();
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let mut command = self.command("agent", "sentinel-agent");
        command
            .args(["join", &self.address, "--name", "edge-1", "--token", &text("token")])
            .args(["--ca-pin", &text("ca_pin"), "--state"])
            .arg(self.path("agent"))
            .stderr(Stdio::piped());
        command.output().expect("it starts").into()
    }

    /// What the agent says of itself.
    fn describe(&self) -> Said {
        let socket = self.path("agent").join("agent.sock").display().to_string();
        offline(self.folder.path(), &["describe", "node", "edge-1", "--socket", &socket])
    }

    /// Waits until the agent says this of itself.
    fn until_said(&self, what: &str, parts: &[&str]) {
        let said = |said: &Said| said.code == 0 && parts.iter().all(|part| said.out.contains(part));
        let deadline = Instant::now() + PATIENCE;
        // Each look is a process of its own, which is pause enough.
        while !said(&self.describe()) {
            assert!(
                Instant::now() < deadline,
                "not in time: {what}\n{:?}\nagent: {}\nhub: {}",
                self.describe(),
                self.logged("agent"),
                self.logged("hub")
            );
        }
    }

    fn logged(&self, whose: &str) -> String {
        fs::read_to_string(self.log(whose)).unwrap_or_default()
    }

    /// One line of a log that has all of these.
    fn must_have_logged(&self, whose: &str, parts: &[&str]) {
        let log = self.logged(whose);
        let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line of {whose} has {parts:?}:\n{log}");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in [self.agent.take(), self.hub.take()].into_iter().flatten() {
            end(child);
        }
    }
}

/// Where Debian's package `libfaketime` has it.
fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder").filter_map(Result::ok);
    let mut found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found
        .find(|path| path.is_file())
        .expect("libfaketime is not installed: run `cargo xtask test` first")
}

/// Starts a program and waits for its first line.
fn start(mut command: Command, log: &Path) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for a pipe"));
    let mut ready = String::new();
    lines.read_line(&mut ready).expect("a line");
    assert!(
        ready.starts_with("ready "),
        "{ready}\n{}",
        fs::read_to_string(log).unwrap_or_default()
    );
    // What else it prints is read, so that it never waits for room in the pipe; the thread ends with the program.
    std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(drop));
    (child, ready)
}

/// As a service manager does it.
fn end(mut child: Child) {
    let pid = rustix::process::Pid::from_child(&child);
    if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
        drop(child.wait());
    }
}

#[test]
fn an_agent_that_is_started_years_ahead_says_so_and_is_back_once_its_clock_is_right() {
    let mut machines = Machines::new();
    check(&machines.join(), 0, &["edge-1"]);
    machines.start_agent();
    machines.until_said("it is in session", &["connected"]);
    machines.stop("agent");

    machines.set("agent", "+11y");
    machines.start_agent();
    machines.until_said(
        "it says why it is out",
        &["no session with the hub", "the clocks of this machine and of the hub"],
    );
    machines.must_have_logged("agent", &["WARN", "the clocks of this machine and of the hub"]);
    machines.set("agent", "+0");
    machines.until_said("it is back, as the same process", &["connected", "± "]);
    let said = machines.describe();
    assert!(!said.out.contains("no session"), "{said:?}");

    // What that clock said is not remembered either.
    machines.stop("agent");
    machines.start_agent();
    machines.until_said("a restart finds nothing wrong", &["connected", "steady"]);
    let log = machines.logged("agent");
    assert!(
        !log.contains("rejoined"),
        "its certificate was good all the time: {log}"
    );
}

#[test]
fn a_hub_that_runs_a_year_ahead_keeps_its_agents_and_so_does_the_one_that_is_set_right() {
    let mut machines = Machines::new();
    check(&machines.join(), 0, &["edge-1"]);
    machines.start_agent();
    machines.until_said("it is in session", &["connected"]);
    machines.stop("hub");

    machines.set("hub", "+400d");
    machines.start_hub();
    machines.until_said(
        "the hub's clock says that it has ended, the node key renews it",
        &["connected"],
    );
    // The clock is set right under both of them, then the hub starts again.
    machines.set("hub", "+0");
    machines.stop("hub");
    machines.start_hub();
    machines.until_said("it is in session again", &["connected", "± "]);
    machines.stop("agent");
    machines.start_agent();
    machines.until_said(
        "what the hub said once is not believed for ever",
        &["connected", "steady"],
    );
}

#[test]
fn a_hub_that_wakes_up_in_1970_keeps_its_agents() {
    let mut machines = Machines::new();
    check(&machines.join(), 0, &["edge-1"]);
    machines.stop("hub");
    machines.set("hub", "@1970-01-01 00:00:07");
    machines.start_hub();
    machines.must_have_logged("hub", &["WARN", "1970", "clock"]);
    machines.start_agent();
    machines.until_said("it is in session", &["connected"]);
    machines.set("hub", "+0");
    machines.stop("agent");
    machines.start_agent();
    machines.until_said("it is in session again", &["connected", "steady"]);
}

#[test]
fn a_join_that_fails_for_the_clock_says_clock() {
    let machines = Machines::new();
    machines.set("agent", "+11y");
    check(
        &machines.join(),
        1,
        &["clocks", "token was not used", "set the clock that is wrong"],
    );
    machines.set("agent", "+0");
    check(&machines.join(), 0, &["edge-1"]);
}
