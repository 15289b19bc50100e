//! Cordon, drain, reset and reboot by the commands that the settings name: a node knows its scheduler and its driver's tools, not we.
//!
//! A hook is a program without a shell. It gets `SENTINEL_ACTION`, `SENTINEL_TARGET`, `SENTINEL_GPU_UUID` and `SENTINEL_DECISION`, must end
//! with status 0 when the thing is done, and may be run twice for the same decision only when that is the same as once. Cordon and uncordon
//! need none: what matters then is the file `cordoned` in the state folder, at which local schedulers may look.
//!
//! Invariants: what is begun is on the disk before the hook starts, so that a crash never leads to a second reset or reboot; a hook
//! that takes longer than its deadline is ended with everything that it started.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use edge_agent_core::{ActionResult, ProbeResult, Run};
use wire::{Action, ActionKind};

use super::Actuator;
use crate::clock;
use crate::config::Hooks as Settings;
use crate::probe::Probe;

/// How often it is looked whether a hook has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of what it printed that are told: its last line.
const TOLD: usize = 200;
const CORDONED: &str = "cordoned";

/// The commands as actuators.
pub struct Hooks {
    settings: Settings,
    state_dir: PathBuf,
    probe: Option<Probe>,
}

/// How far an action is, as the disk says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// Nothing is known of it.
    None,
    /// Its hook was started, in this boot or in a former one.
    Begun { same_boot: bool },
    /// Its hook ended well.
    Done,
}

impl Hooks {
    /// Runs these commands; keeps its marks in the state folder.
    pub fn new(settings: Settings, state_dir: &Path, probe: Option<Probe>) -> Self {
        Self {
            settings,
            state_dir: state_dir.to_owned(),
            probe,
        }
    }

    fn command(&self, kind: &ActionKind) -> Option<&[String]> {
        let set = &self.settings;
        let command = match kind {
            ActionKind::Cordon => &set.cordon,
            ActionKind::Uncordon => &set.uncordon,
            ActionKind::Drain => &set.drain,
            ActionKind::ResetGpu => &set.reset_gpu,
            ActionKind::Reboot => &set.reboot,
            _ => return None,
        };
        (!command.is_empty()).then_some(command)
    }

    fn mark_file(&self, run: &Run) -> PathBuf {
        self.state_dir.join("hooks").join(run.action.kind.name())
    }

    fn mark(&self, run: &Run) -> Mark {
        let text = fs::read_to_string(self.mark_file(run)).unwrap_or_default();
        let mut words = text.split_whitespace();
        let (decision, boot, how) = (words.next(), words.next(), words.next());
        match (decision == Some(run.decision.to_string().as_str()), how) {
            (true, Some("done")) => Mark::Done,
            (true, _) => Mark::Begun {
                same_boot: boot == Some(clock::boot_id().as_str()),
            },
            (false, _) => Mark::None,
        }
    }

    fn set_mark(&self, run: &Run, how: &str) -> io::Result<()> {
        let file = self.mark_file(run);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mark = format!("{} {} {how}\n", run.decision, clock::boot_id());
        wire_files::replace(&file, mark.as_bytes())
    }

    fn is_cordoned(&self) -> bool {
        self.state_dir.join(CORDONED).exists()
    }

    /// What local schedulers may look at.
    fn set_cordoned(&self, is: bool) -> io::Result<()> {
        let file = self.state_dir.join(CORDONED);
        match is {
            true => fs::write(file, "no new work: `sentinel why --last --local` says why\n"),
            false => match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    fn try_apply(&self, run: &Run) -> Result<ActionResult, String> {
        let kind = &run.action.kind;
        let before = self.is_cordoned();
        let applied = |after: bool, detail: String| ActionResult::Applied {
            before: Some(i64::from(before)),
            after: Some(i64::from(after)),
            detail,
        };
        if self.mark(run) == Mark::Done {
            return Ok(applied(before, "was already done for this decision".to_owned()));
        }
        let disk = |error: io::Error| format!("the state folder cannot be written: {error}");
        let is_plain = matches!(kind, ActionKind::Cordon | ActionKind::Uncordon);
        let said = match self.command(kind) {
            Some(command) => {
                self.set_mark(run, "begun").map_err(disk)?;
                self.run(command, run)?
            }
            None if is_plain => format!("{} tells local schedulers", self.state_dir.join(CORDONED).display()),
            None => {
                let name = kind.name();
                return Err(format!(
                    "this node has no command for it: set `hooks.{name}` in the settings"
                ));
            }
        };
        match kind {
            ActionKind::Cordon | ActionKind::Drain => self.set_cordoned(true).map_err(disk)?,
            ActionKind::Uncordon => self.set_cordoned(false).map_err(disk)?,
            _ => {}
        }
        self.set_mark(run, "done").map_err(disk)?;
        Ok(applied(self.is_cordoned(), said))
    }

    /// Runs a hook and returns the last line that it printed.
    fn run(&self, command: &[String], run: &Run) -> Result<String, String> {
        let uuid = self
            .probe
            .as_ref()
            .and_then(|probe| probe.uuid(&run.action.target))
            .unwrap_or_default();
        if uuid.is_empty() && command.iter().any(|word| word.contains("{uuid}")) {
            return Err(format!("the UUID of {} is not known", run.action.target));
        }
        let target = run.action.target.as_str();
        let words: Vec<String> = command
            .iter()
            .map(|word| word.replace("{uuid}", &uuid).replace("{target}", target))
            .collect();
        let (program, arguments) = words.split_first().ok_or("the command is empty")?;
        let log = self.mark_file(run).with_extension("log");
        let written = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = written.map_err(|error| format!("`{}` cannot be written: {error}", log.display()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("SENTINEL_ACTION", run.action.kind.name())
            .env("SENTINEL_TARGET", target)
            .env("SENTINEL_GPU_UUID", &uuid)
            .env("SENTINEL_DECISION", run.decision.to_string())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let status = wait(&mut child, self.settings.deadline).map_err(|error| format!("`{program}`: {error}"))?;
        let said = last_line(&log);
        match status {
            Some(status) if status.success() => Ok(said),
            Some(status) => Err(format!("`{program}` ended with {status}: {said}")),
            None => Err(format!(
                "`{program}` did not end within {:?}: {said}",
                self.settings.deadline
            )),
        }
    }
}

impl Actuator for Hooks {
    fn handles(&self, action: &Action) -> bool {
        matches!(
            action.kind,
            ActionKind::Cordon | ActionKind::Uncordon | ActionKind::Drain | ActionKind::ResetGpu | ActionKind::Reboot
        )
    }

    fn apply(&self, run: &Run) -> ActionResult {
        self.try_apply(run)
            .unwrap_or_else(|reason| ActionResult::Failed { reason })
    }

    fn probe(&self, run: &Run) -> ProbeResult {
        let value = Some(i64::from(self.is_cordoned()));
        match (self.mark(run), &run.action.kind) {
            (Mark::Done, _) => ProbeResult::Done { value },
            // The machine has been started anew since: that is what was wanted.
            (Mark::Begun { same_boot: false }, ActionKind::Reboot) => ProbeResult::Done { value },
            (Mark::None, _) => ProbeResult::NotDone { value },
            (Mark::Begun { .. }, kind) if kind.idempotent() => ProbeResult::NotDone { value },
            (Mark::Begun { .. }, kind) => ProbeResult::Unknown {
                reason: format!("`hooks.{}` was started, and how it ended is not known", kind.name()),
            },
        }
    }
}

/// Waits for a child, and ends it with its whole group when it takes too long: `None`.
fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            let group = rustix::process::Pid::from_child(child);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn last_line(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let line = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("it printed nothing");
    line[..line.floor_char_boundary(TOLD)].to_owned()
}

#[cfg(test)]
mod tests {
    use wire::{Action, AgentId, DecisionId, DeviceId, Epoch, Seq};

    use super::*;

    fn run(kind: ActionKind, seq: u64) -> Run {
        let target = match kind {
            ActionKind::ResetGpu => DeviceId::gpu(0),
            _ => DeviceId::node(),
        };
        Run {
            decision: DecisionId {
                agent: AgentId::new("a").expect("valid"),
                epoch: Epoch(1),
                seq: Seq(seq),
            },
            action: Action { target, kind },
        }
    }

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn hooks(folder: &Path, settings: Settings) -> Hooks {
        Hooks::new(settings, folder, None)
    }

    fn failed(result: ActionResult) -> String {
        match result {
            ActionResult::Failed { reason } => reason,
            applied => panic!("{applied:?}"),
        }
    }

    #[test]
    fn a_node_without_hooks_can_be_cordoned_and_says_what_else_it_lacks() {
        let folder = tempfile::tempdir().expect("a folder");
        let hooks = hooks(folder.path(), Settings::default());
        let file = folder.path().join(CORDONED);
        assert!(matches!(
            hooks.apply(&run(ActionKind::Cordon, 1)),
            ActionResult::Applied { after: Some(1), .. }
        ));
        assert!(file.exists());
        assert_eq!(
            hooks.probe(&run(ActionKind::Cordon, 1)),
            ProbeResult::Done { value: Some(1) }
        );
        assert!(matches!(
            hooks.apply(&run(ActionKind::Uncordon, 2)),
            ActionResult::Applied { after: Some(0), .. }
        ));
        assert!(!file.exists());
        assert!(failed(hooks.apply(&run(ActionKind::Reboot, 3))).contains("hooks.reboot"));
        assert_eq!(
            hooks.probe(&run(ActionKind::Reboot, 3)),
            ProbeResult::NotDone { value: Some(0) }
        );
    }

    #[test]
    fn a_hook_runs_once_for_a_decision_and_knows_what_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!(
            "echo $SENTINEL_ACTION $SENTINEL_TARGET $SENTINEL_DECISION {{target}} >> {}",
            folder.path().join("ran").display()
        );
        let settings = Settings {
            drain: sh(&script),
            ..Settings::default()
        };
        let hooks = hooks(folder.path(), settings);
        for _ in 0..2 {
            assert!(matches!(
                hooks.apply(&run(ActionKind::Drain, 7)),
                ActionResult::Applied { after: Some(1), .. }
            ));
        }
        let ran = fs::read_to_string(folder.path().join("ran")).expect("it ran");
        assert_eq!(ran, "drain node a.1.7 node\n");
    }

    #[test]
    fn what_was_begun_before_a_crash_is_never_begun_again_blindly() {
        let folder = tempfile::tempdir().expect("a folder");
        let hooks = hooks(folder.path(), Settings::default());
        let reset = run(ActionKind::ResetGpu, 4);
        hooks.set_mark(&reset, "begun").expect("written");
        assert!(matches!(hooks.probe(&reset), ProbeResult::Unknown { .. }));
        let reboot = run(ActionKind::Reboot, 5);
        fs::write(
            hooks.mark_file(&reboot),
            format!("{} another-boot begun\n", reboot.decision),
        )
        .expect("written");
        assert!(
            matches!(hooks.probe(&reboot), ProbeResult::Done { .. }),
            "the machine was started anew"
        );
        let drain = run(ActionKind::Drain, 6);
        hooks.set_mark(&drain, "begun").expect("written");
        assert!(
            matches!(hooks.probe(&drain), ProbeResult::NotDone { .. }),
            "it may be done again"
        );
    }

    #[test]
    fn a_hook_that_fails_or_hangs_is_a_failure_that_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            drain: sh("echo pods are stuck >&2; exit 3"),
            reboot: sh("sleep 600 & sleep 600"),
            reset_gpu: ["reset", "{uuid}"].map(str::to_owned).to_vec(),
            deadline: Duration::from_millis(100),
            ..Settings::default()
        };
        let hooks = hooks(folder.path(), settings);
        let stuck = failed(hooks.apply(&run(ActionKind::Drain, 1)));
        assert!(
            stuck.contains("pods are stuck") && stuck.contains("exit status: 3"),
            "{stuck}"
        );
        assert!(failed(hooks.apply(&run(ActionKind::Reboot, 2))).contains("did not end within"));
        assert!(failed(hooks.apply(&run(ActionKind::ResetGpu, 3))).contains("UUID"));
        assert!(!folder.path().join(CORDONED).exists());
    }
}
