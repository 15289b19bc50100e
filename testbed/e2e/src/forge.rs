//! A real forge, a hub that listens to it, and a remediation agent, as processes of their own.
//!
//! Unlike [`Cluster`](crate::Cluster) there are no nodes and no demo: what is tested is the way from a red check to a pull request.
//! Between forge and hub stands nothing; the hub's address is the webhook's.
//!
//! Read next: `tests/forge.rs`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testbed_services::{Account, Ci, Gitea, Process, RunFolder, forges_file, to_stderr, wait_until};

use crate::{Said, program};

/// How long anything may take, also on a machine that does ten other things. What is waited for takes seconds, but for a task that was
/// lost twice: it rests for four minutes.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Secret of the webhooks.
pub const SECRET: &str = "a-secret-of-this-test";

/// The processes.
pub struct Forge {
    // Ended in this order: the agent before the hub that it asks, the hub before the forge.
    agent: Option<Process>,
    hub: Option<Process>,
    gitea: Gitea,
    ci: Ci,
    folder: RunFolder,
    url: String,
    starts: u32,
}

impl Forge {
    /// Installs what is missing, starts the forge, the hub and the agent, and waits until each answers.
    pub fn start(name: &str) -> Self {
        let ci = Ci::ready(&to_stderr).expect("act and ruff");
        let gitea = Gitea::start(&format!("{name}-gitea"), &to_stderr).expect("a forge");
        let folder = RunFolder::make(name).expect("a folder");
        let token = folder.path().join("forge.token");
        std::fs::write(&token, gitea.account().token()).expect("written");
        let forges = forges_file(gitea.account(), &token, SECRET);
        std::fs::write(folder.path().join("forges.toml"), forges).expect("written");
        let mut forge = Self {
            agent: None,
            hub: None,
            gitea,
            ci,
            folder,
            url: String::new(),
            starts: 0,
        };
        forge.start_hub("127.0.0.1:0");
        forge.start_agent();
        forge
    }

    /// Starts a hub at this address, with the state that an earlier one left.
    pub fn start_hub(&mut self, listen: &str) {
        self.starts += 1;
        let (name, path) = (format!("hub-{}", self.starts), self.path());
        let arguments = ["run", "--listen", listen, "--forges", "forges.toml", "--state", "hub"];
        let mut hub = self.spawn(&name, "sentinel-hub", &arguments, &path);
        let log = self.folder.path().join(format!("{name}.log"));
        let mut url = String::new();
        wait_until("the hub", PATIENCE, || {
            hub.alive()?;
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let ready = text.lines().find_map(|line| line.strip_prefix("ready "));
            url = ready.unwrap_or_default().trim().to_owned();
            Ok(url.is_empty().then(|| hub.log_end()))
        })
        .expect("a hub");
        self.url = url;
        self.hub = Some(hub);
        let ca = self.context()["ca_pem"].as_str().unwrap_or_default().to_owned();
        std::fs::write(self.folder.path().join("ca.pem"), ca).expect("written");
    }

    /// Starts the remediation agent. Its key and its folder are the same at each start.
    pub fn start_agent(&mut self) {
        let path = self.path();
        self.start_agent_on(&path);
    }

    /// The same with a stand-in for `bwrap` that kills the agent with signal 9 at a use of its sandbox, the `call`-th after its start:
    /// before anything runs in it, or `after` what ran has ended and before the agent hears of it. Blocks until the agent is dead.
    pub fn let_agent_die_at(&mut self, call: usize, after: bool) {
        let folder = self.folder.path().join("stand-in");
        let real = find("bwrap").expect("bubblewrap");
        let (real, at) = (real.display(), folder.display());
        let run = if after {
            format!("{real} \"$@\"; ")
        } else {
            String::new()
        };
        let script = format!(
            "#!/bin/sh\nn=$(($(cat {at}/count) + 1)); echo $n >{at}/count\nif [ $n = {call} ]; then {run}kill -9 $PPID; exit 1; fi\n\
             exec {real} \"$@\"\n"
        );
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("count"), "0").expect("written");
        std::fs::write(folder.join("bwrap"), script).expect("written");
        std::fs::set_permissions(folder.join("bwrap"), std::fs::Permissions::from_mode(0o700)).expect("ours");
        let path = format!("{}:{}", folder.display(), self.path());
        self.start_agent_on(&path);
        let mut agent = self.agent.take().expect("it was started");
        let ended = wait_until("the agent's death", PATIENCE, || {
            Ok(agent.alive().is_ok().then(|| agent.log_end()))
        });
        if let Err(error) = ended {
            panic!("{error}\n{}", self.logs());
        }
    }

    fn start_agent_on(&mut self, path: &str) {
        self.starts += 1;
        let (name, hub) = (format!("agent-{}", self.starts), self.url.clone());
        let arguments = [
            "run",
            "--hub",
            &hub,
            "--ca",
            "ca.pem",
            "--token-file",
            "hub/remediation.token",
            "--key",
            "patchbot.key",
        ];
        self.agent = Some(self.spawn(&name, "sentinel-patchbot", &arguments, path));
    }

    /// Kills the hub with signal 9 and starts it again at the same address, with what it has on the disk.
    pub fn kill_hub(&mut self) {
        if let Some(hub) = self.hub.take() {
            hub.kill();
        }
        let listen = self.url.trim_start_matches("https://").to_owned();
        self.start_hub(&listen);
    }

    /// Kills the agent with signal 9.
    pub fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.kill();
        }
    }

    fn spawn(&self, name: &str, program_name: &str, arguments: &[&str], path: &str) -> Process {
        let environment = [("PATH", path), ("SENTINEL_LOG", "info")];
        Process::start(
            name,
            &program(program_name),
            arguments,
            &environment,
            self.folder.path(),
        )
        .expect(program_name)
    }

    fn path(&self) -> String {
        OsString::into_string(self.ci.path()).expect("the path is text")
    }

    /// The forge's user.
    pub fn account(&self) -> &Account {
        self.gitea.account()
    }

    /// What runs workflows.
    pub fn ci(&self) -> &Ci {
        &self.ci
    }

    /// Address of the hub's webhook of this forge.
    pub fn webhook(&self) -> String {
        format!("{}/hooks/v1/forge", self.url)
    }

    /// Where the hub answers.
    pub fn hub_url(&self) -> &str {
        &self.url
    }

    /// A folder that is removed at the end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn context_file(&self) -> PathBuf {
        self.folder.path().join("hub/admin.json")
    }

    /// The administrator's context.
    pub fn context(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.context_file()).expect("a context")).expect("JSON")
    }

    /// Runs `sentinel` as the administrator.
    pub fn sentinel(&self, arguments: &[&str]) -> Said {
        Command::new(program("sentinel"))
            .arg("--context")
            .arg(self.context_file())
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("`sentinel` starts")
            .into()
    }

    /// Runs `sentinel-patchbot` with the tools that the agent has.
    pub fn patchbot(&self, arguments: &[&str]) -> Said {
        Command::new(program("sentinel-patchbot"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", self.path())
            .stdin(Stdio::null())
            .output()
            .expect("`sentinel-patchbot` starts")
            .into()
    }

    /// All tasks, as JSON.
    pub fn tasks(&self) -> Vec<Value> {
        let said = self.sentinel(&["get", "tasks", "-o", "json"]);
        assert_eq!(said.code, 0, "{said:?}");
        said.items()
    }

    /// Waits until `look` gives something. With each look the processes must still run.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Result<T, String>) -> T {
        let mut found = None;
        let result = wait_until(what, PATIENCE, || {
            for process in [&mut self.hub, &mut self.agent].into_iter().flatten() {
                process.alive()?;
            }
            Ok(match look(self) {
                Ok(it) => {
                    found = Some(it);
                    None
                }
                Err(seen) => Some(seen),
            })
        });
        if let Err(error) = result {
            panic!("{error}\n{}", self.logs());
        }
        found.expect("it was found, or the wait failed")
    }

    fn logs(&self) -> String {
        let end = |process: &Option<Process>| process.as_ref().map(Process::log_end).unwrap_or_default();
        format!("hub:\n{}\nagent:\n{}", end(&self.hub), end(&self.agent))
    }
}

/// A program on this process's search path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
