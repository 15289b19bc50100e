//! A real forge beside the demo, and PatchBot: a repository whose check fails, and what becomes of it.
//!
//! The forge is started before the hub, which has to know it; PatchBot after it, since it asks the hub. The workflow is run by `act`, so
//! neither the failure nor the repair is judged by anything that ships here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Cluster;
use crate::folder::Folder;
use crate::keeper::{Keeper, Recipe};
use crate::screen::Screen;
use crate::signals::Stop;

/// How long the first build may take: it is about three minutes on two cores.
const READY: Duration = Duration::from_secs(1_800);
/// How long PatchBot may take to try its sandbox, and then to repair: seconds each.
const SETTLED: Duration = Duration::from_secs(300);
/// The repository.
const NAME: &str = "hello";

/// A forge that runs, and the folder with what it told of itself.
#[derive(Debug)]
pub(super) struct Forge {
    server: Keeper,
    patchbot: Option<Keeper>,
    program: PathBuf,
    folder: PathBuf,
}

impl Forge {
    /// Builds and starts it, and waits until it answers. Blocks for minutes the first time.
    pub(super) fn start(program: PathBuf, folder: &Folder, screen: &Screen, stop: &Stop) -> Result<Self, String> {
        let log = folder.path().join("logs/forge.log");
        let own = folder.path().join("forge");
        crate::folder::make(&own)?;
        screen.note(
            "  a Gitea: built from Go modules the first time (about 3 minutes on two cores), then a few seconds; act and ruff from PyPI",
        );
        screen.note(&format!("  what it builds stands in {}", log.display()));
        let recipe = Recipe {
            name: "forge".to_owned(),
            program: program.clone(),
            arguments: vec!["serve".to_owned(), own.display().to_string()],
            environment: Vec::new(),
            log,
        };
        let server = Keeper::start(recipe, Box::new(|_| ()))?;
        let ready = server.ready(stop, READY);
        let forge = Self {
            server,
            patchbot: None,
            program,
            folder: own,
        };
        match ready {
            Ok(_) => Ok(forge),
            Err(reason) => {
                forge.end(|| true);
                Err(reason)
            }
        }
    }

    /// What the hub reads to know it.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("forges.toml")
    }

    /// PatchBot first, then the forge.
    pub(super) fn end(&self, hurry: impl Fn() -> bool) {
        if let Some(patchbot) = &self.patchbot {
            patchbot.end(&hurry);
        }
        self.server.end(&hurry);
    }

    fn about(&self) -> Result<Value, String> {
        let path = self.folder.join("forge.json");
        let bytes = std::fs::read(&path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|cause| format!("{} is no JSON: {cause}", path.display()))
    }

    fn push(&self, webhook: &str) -> Result<(), String> {
        let output = Command::new(&self.program)
            .arg("push")
            .arg(&self.folder)
            .args([webhook, NAME])
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| format!("cannot start {}: {cause}", self.program.display()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}

impl Cluster {
    /// Starts PatchBot, pushes what fails, and waits for the pull request.
    pub(super) fn show_forge(&mut self, patchbot: &Path, screen: &Screen) -> Result<(), String> {
        let Some(mut forge) = self.forge.take() else {
            return Ok(());
        };
        let shown = self.patch(&mut forge, patchbot, screen);
        // It is ended with the rest, whatever came of it.
        self.forge = Some(forge);
        shown
    }

    fn patch(&self, forge: &mut Forge, program: &Path, screen: &Screen) -> Result<(), String> {
        let about = forge.about()?;
        let word = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        let hub = self.hub_url();
        let ca = forge.folder.join("ca.pem");
        std::fs::write(&ca, self.hub_ca()).map_err(|cause| format!("cannot write {}: {cause}", ca.display()))?;
        let path = |path: &Path| path.display().to_string();
        let recipe = Recipe {
            name: "patchbot".to_owned(),
            program: program.to_owned(),
            arguments: [
                "run".to_owned(),
                "--hub".to_owned(),
                hub.clone(),
                "--ca".to_owned(),
                path(&ca),
                "--token-file".to_owned(),
                path(&self.folder.path().join("hub/remediation.token")),
                "--key".to_owned(),
                path(&forge.folder.join("patchbot.key")),
            ]
            .into(),
            // Its tools are those that the workflow has.
            environment: vec![("PATH".to_owned(), word("path"))],
            log: self.log("patchbot"),
        };
        let keeper = Keeper::start(recipe, Box::new(|_| ()))?;
        let level = keeper.ready(&self.stop, SETTLED);
        forge.patchbot = Some(keeper);
        let level = level?;
        screen.happened(
            "forge",
            &format!(
                "Gitea at {}, user {}, password {}; PatchBot has no secret of it, sandbox {level}",
                word("url"),
                word("user"),
                word("password")
            ),
        );
        forge.push(&format!("{hub}/hooks/v1/forge"))?;
        screen.more(&format!(
            "{}/{NAME}: its workflow, run by act, fails on `ruff check`; Gitea told the hub",
            word("user")
        ));
        let task = self.stop.until(SETTLED, || self.has_ended())?;
        let id = task["id"].as_str().unwrap_or_default();
        match task["pull_request"].as_str() {
            Some(url) => screen.happened("repaired", &format!("proven in the sandbox, and proposed: {url}")),
            None => screen.happened("not repaired", &format!("{} {}", task["codes"], task["error_message"])),
        }
        screen.more(&format!("{} why {id}", crate::builder::short(&self.programs.sentinel)));
        Ok(())
    }

    /// The newest task, if nothing more is done to it by itself.
    fn has_ended(&self) -> Result<Value, String> {
        let tasks = self.sentinel.items("get tasks")?;
        let newest = tasks.into_iter().next().ok_or("the hub has no task yet")?;
        match newest["state"].as_str() {
            Some("queued" | "leased" | "publishing") | None => Err(format!("the task is {}", newest["state"])),
            Some(_) => Ok(newest),
        }
    }
}
