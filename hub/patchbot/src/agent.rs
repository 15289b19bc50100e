//! The agent: leases a task, reads log and tree through the hub, classifies, repairs, and hands in a patch or a code.
//!
//! One task at a time. While it works, a thread of its own extends the lease; when the hub says that the lease is lost, the result is
//! dropped. It holds no secret but its token, which lets it do just this.
//!
//! Only what says something of the code ends a task; what says something of this machine gives the task back, for another try: a sandbox
//! that broke or is not proven, a full disk, a hub or a forge that was away. An agent that is killed is found by its own next start: the
//! lease that it held stands in its folder (`den.rs`) and is given back at once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use hub_remediation_sdk::client::{CallError, Client};
use hub_remediation_sdk::contract::{Extend, Finish, LeaseRequest, Leased, Propose, Registration};

use crate::certificate::hex;
use crate::classify;
use crate::den::{Den, Held};
use crate::fixers::{self, Fixer};
use crate::repair::{Outcome, RUNS, Request, failures, repair};
use crate::sandbox::{Job, Level, Sandbox};
use crate::verdict::{Category, Finding, Verdict};

/// How long one question for work waits, in milliseconds.
const WAIT_MS: u64 = 5_000;
/// A lease of a minute is extended this often.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// Wall-clock limit of each command of a repair.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the hub is asked again while it is away: a little less than a lease.
const PERSIST: Duration = Duration::from_secs(50);
/// Pause after the hub was not reached.
const PAUSE: Duration = Duration::from_secs(2);
/// A sandbox that is not proven is tried again this often.
const PROVE_EVERY: Duration = Duration::from_secs(30);
/// Attempts that a task has at the hub.
const ATTEMPTS: u32 = 3;

/// A remediation agent.
pub struct Agent {
    client: Client,
    sandbox: Sandbox,
    key: SigningKey,
    name: String,
    den: Den,
}

impl Agent {
    /// An agent that works for the hub of `client`, in the folder of `den`.
    pub fn new(client: Client, sandbox: Sandbox, key: SigningKey, den: Den) -> Self {
        let name = format!("patchbot/{}/{}", env!("CARGO_PKG_VERSION"), std::process::id());
        Self {
            client,
            sandbox,
            key,
            name,
            den,
        }
    }

    /// Works until `stop`. Fails when the hub refuses this agent; a hub that is away is waited for. `known` is called each time that
    /// the hub has taken it in, with the level of the sandbox that it was told.
    pub fn run(&mut self, stop: &AtomicBool, known: impl Fn(Level)) -> Result<(), CallError> {
        let mut is_known = false;
        let mut proven_at = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if self.sandbox.require().is_err() && proven_at.elapsed() >= PROVE_EVERY {
                self.sandbox = self.sandbox.again();
                proven_at = Instant::now();
                // The hub shows the level to people.
                is_known &= self.sandbox.require().is_err();
            }
            let result = if is_known {
                self.once()
            } else {
                self.register().map(|()| known(self.sandbox.report().level))
            };
            match result {
                Ok(()) => is_known = true,
                Err(CallError::Unreachable { path, cause }) => {
                    tracing::warn!(%path, %cause, "the hub is not reached");
                    is_known = false;
                    std::thread::park_timeout(PAUSE);
                }
                Err(refused) => return Err(refused),
            }
        }
        Ok(())
    }

    fn register(&self) -> Result<(), CallError> {
        let report = self.sandbox.report();
        self.client.register(&Registration {
            name: "patchbot".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.name.clone(),
            public_key: hex(self.key.verifying_key().as_bytes()),
            sandbox: report.level,
            fixers: fixers::all().iter().map(|fixer| fixer.id.clone()).collect(),
            protocol: vec![1],
        })?;
        tracing::info!(level = ?report.level, reason = %report.reason, "registered");
        self.give_back()
    }

    /// Gives back what killed agents of this folder held: nobody else knows yet that nobody works on it.
    fn give_back(&self) -> Result<(), CallError> {
        let left = self.den.left().unwrap_or_else(|cause| {
            // The hub finds it out by itself, a minute later.
            tracing::warn!(%cause, "the agent's folder cannot be looked through");
            Vec::new()
        });
        for left in left {
            let Held { task, lease, epoch } = left.held().clone();
            let finish = Finish {
                lease,
                epoch,
                code: "lease_lost".to_owned(),
                reason: "its agent was killed, or lost the hub, while it worked on it".to_owned(),
                retry: true,
            };
            match self.client.finish(&task, &finish) {
                Ok(_) => tracing::info!(%task, "a lease that nobody works on any more is given back"),
                // The hub has found out by itself, or knows no such task.
                Err(CallError::Fenced | CallError::Refused { .. }) => {}
                Err(other) => return Err(other),
            }
            left.forget();
        }
        Ok(())
    }

    /// One task, if one waits.
    fn once(&self) -> Result<(), CallError> {
        let Some(leased) = self.client.lease(&LeaseRequest {
            agent: self.name.clone(),
            wait_ms: WAIT_MS,
        })?
        else {
            return Ok(());
        };
        let held = Held {
            task: leased.task.clone(),
            lease: leased.lease.clone(),
            epoch: leased.epoch,
        };
        // What cannot be noted is found by the hub when the lease runs out.
        if let Err(cause) = self.den.hold(&held) {
            tracing::warn!(%cause, "the lease cannot be noted in the agent's folder");
        }
        let (ended, ends) = mpsc::channel::<()>();
        let result = std::thread::scope(|scope| {
            let (client, task) = (&self.client, &leased);
            scope.spawn(move || keep(client, task, &ends));
            let result = self.work(&leased);
            drop(ended);
            result
        });
        let result = match result {
            // The hub refuses what was made of this task, and not this agent.
            Err(CallError::Refused { status, detail, .. }) => {
                let reason = format!("the hub answers {status}: {detail}");
                self.finish(&leased, "host_error", &reason, true)
            }
            other => other,
        };
        match result {
            // It hears of it when it is back: the note stays until then, as it does when this process is killed.
            Err(away @ CallError::Unreachable { .. }) => Err(away),
            Ok(()) | Err(CallError::Fenced | CallError::Refused { .. }) => {
                self.den.let_go();
                Ok(())
            }
        }
    }

    fn work(&self, leased: &Leased) -> Result<(), CallError> {
        let log = match insist(|| self.client.log(&leased.task)) {
            Ok(log) => log,
            Err(CallError::Refused { detail, .. }) => return self.finish(leased, "no_log", &detail, false),
            Err(other) => return Err(other),
        };
        let verdict = classify::classify(&leased.check, &log, None);
        let findings = classify::findings(&log, None);
        let is_drift = leased.snapshots && drift(&verdict, &findings).is_some();
        let is_test = verdict.category == Category::Test && verdict.code == Some("no_fixer");
        if let Some(code) = verdict.code.filter(|_| !is_test) {
            return self.finish(leased, code, &told(&verdict), false);
        }
        let tree = match insist(|| self.client.source(&leased.task)) {
            Ok(tree) => tree,
            Err(CallError::Refused { detail, .. }) => return self.finish(leased, "host_error", &detail, true),
            Err(other) => return Err(other),
        };
        if is_test && !is_drift {
            let outcome = self.tested(leased, &verdict, &findings, &tree);
            return self.finish(leased, outcome.code, &outcome.reason, outcome.may_pass);
        }
        let at = verdict.evidence.first().copied().unwrap_or_default();
        let command = classify::command(&log, at);
        match self.repair(leased, (&verdict, &findings), command.as_deref(), &tree) {
            Ok(propose) => {
                let stands = insist(|| self.client.propose(&leased.task, &propose))?;
                tracing::info!(task = %leased.task, state = %stands.state, "patch handed in");
                Ok(())
            }
            Err(outcome) => self.finish(leased, outcome.code, &outcome.reason, outcome.may_pass),
        }
    }

    /// A failed test is not repaired, but told: where it fails, and whether it fails each time.
    fn tested(&self, leased: &Leased, verdict: &Verdict, findings: &[Finding], tree: &[u8]) -> Outcome {
        let told = told(verdict);
        let ran = || {
            let folder = tempfile::tempdir().map_err(|cause| crashed(&cause))?;
            let repository = self.unpack(folder.path(), tree)?;
            failures(&self.request(leased, &repository, verdict, findings), &self.sandbox)
        };
        match ran() {
            Ok(Some((failed, command))) if (1..RUNS).contains(&failed) => {
                let how = format!("`{command}` failed in {failed} of {RUNS} runs on one tree");
                Outcome::lasting("flaky_suspected", format!("{told}; {how}"))
            }
            Ok(Some((0, command))) => Outcome::lasting(
                "not_reproduced",
                format!("{told}; `{command}` passes here in {RUNS} of {RUNS} runs"),
            ),
            Ok(Some((_, command))) => Outcome::lasting(
                "no_fixer",
                format!("{told}; `{command}` fails here in {RUNS} of {RUNS} runs"),
            ),
            Ok(None) => Outcome::lasting("no_fixer", told),
            // Whether it is flaky is worth another try, but not the last one.
            Err(outcome) if outcome.may_pass && leased.attempt < ATTEMPTS => outcome,
            // That it could not be run again takes nothing from the diagnosis.
            Err(outcome) => Outcome::lasting(
                "no_fixer",
                format!("{told}; it could not be run again: {}", outcome.reason),
            ),
        }
    }

    fn request<'a>(
        &'a self,
        leased: &'a Leased,
        repository: &'a Path,
        verdict: &'a Verdict,
        findings: &'a [Finding],
    ) -> Request<'a> {
        Request {
            task: &leased.task,
            repository,
            verdict,
            findings,
            command: None,
            fork: leased.from_fork,
            snapshots: leased.snapshots,
            agent: &self.name,
            limit: LIMIT,
        }
    }

    /// Repairs with the command of the failing step; where that does not fail here, because it ran in another folder or after steps that
    /// are not known, with the fixer's own check of the files that the log names.
    fn repair(
        &self,
        leased: &Leased,
        (verdict, findings): (&Verdict, &[Finding]),
        command: Option<&str>,
        tree: &[u8],
    ) -> Result<Propose, Outcome> {
        let folder = tempfile::tempdir().map_err(|cause| crashed(&cause))?;
        let repository = self.unpack(folder.path(), tree)?;
        let plain = self.request(leased, &repository, verdict, findings);
        let request = Request {
            command,
            ..plain.clone()
        };
        let certificate = match repair(&request, &self.sandbox, &self.key) {
            Err(outcome) if command.is_some() && matches!(outcome.code, "not_reproduced" | "vacuous_pass") => {
                repair(&plain, &self.sandbox, &self.key)?
            }
            other => other?,
        };
        let read = |path: &String| std::fs::read_to_string(repository.join(path)).map(|text| (path.clone(), text));
        let before = certificate
            .files
            .iter()
            .map(|file| read(&file.path))
            .collect::<Result<_, _>>();
        Ok(Propose {
            lease: leased.lease.clone(),
            epoch: leased.epoch,
            category: match drift(verdict, findings).filter(|fixer| fixer.id == certificate.fixer) {
                Some(_) => "snapshot".to_owned(),
                None => verdict.category.word().to_owned(),
            },
            tool: verdict.tool.clone().unwrap_or_default(),
            message: verdict.message.clone(),
            before: before.map_err(|cause| crashed(&cause))?,
            certificate,
        })
    }

    /// Unpacks a tree in the sandbox, since who packed it is not trusted; returns its single top folder.
    fn unpack(&self, folder: &Path, tree: &[u8]) -> Result<std::path::PathBuf, Outcome> {
        std::fs::write(folder.join("tree.tar.gz"), tree).map_err(|cause| crashed(&cause))?;
        let argv = ["tar", "--no-same-owner", "--no-same-permissions", "-xzf", "tree.tar.gz"].map(str::to_owned);
        let ran = self.sandbox.run(&Job {
            argv: &argv,
            workspace: folder,
            folder: "",
            limit: LIMIT,
        })?;
        if ran.status != Some(0) {
            let reason = format!("the tree cannot be unpacked: {}", String::from_utf8_lossy(&ran.output));
            // It may have been cut off on its way.
            return Err(Outcome::passing("fixer_crashed", reason));
        }
        let mut folders = std::fs::read_dir(folder).map_err(|cause| crashed(&cause))?.flatten();
        let top = folders.find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        top.map(|entry| entry.path())
            .ok_or_else(|| Outcome::passing("fixer_crashed", "the tree is empty"))
    }

    fn finish(&self, leased: &Leased, code: &str, reason: &str, retry: bool) -> Result<(), CallError> {
        tracing::info!(task = %leased.task, %code, %reason, "no patch");
        let (code, reason) = (code.to_owned(), reason.to_owned());
        let finish = Finish {
            lease: leased.lease.clone(),
            epoch: leased.epoch,
            code,
            reason,
            retry,
        };
        insist(|| self.client.finish(&leased.task, &finish))?;
        Ok(())
    }
}

/// Asks or tells the hub something of a task, again while the hub is away: within a lease's time it is worth the wait. What was heard
/// already is not taken twice, since then the lease is gone.
fn insist<T>(call: impl Fn() -> Result<T, CallError>) -> Result<T, CallError> {
    let begun = Instant::now();
    loop {
        match call() {
            Err(CallError::Unreachable { path, cause }) if begun.elapsed() < PERSIST => {
                tracing::warn!(%path, %cause, "the hub is not reached and asked again");
                std::thread::park_timeout(PAUSE);
            }
            result => return result,
        }
    }
}

/// What would write snapshots anew, if that is all that differs.
fn drift(verdict: &Verdict, findings: &[Finding]) -> Option<&'static Fixer> {
    fixers::for_drift(verdict.tool.as_deref().unwrap_or_default(), findings)
}

/// What failed, for people: the diagnosis stays useful where nothing is repaired.
fn told(verdict: &Verdict) -> String {
    let place = match (&verdict.path, verdict.line) {
        (Some(path), Some(line)) => format!(" at {path}:{line}"),
        (Some(path), None) => format!(" in {path}"),
        _ => String::new(),
    };
    format!(
        "{} {}{place}: {}",
        verdict.category.word(),
        verdict.tool.as_deref().unwrap_or_default(),
        verdict.message
    )
}

fn crashed(cause: &std::io::Error) -> Outcome {
    Outcome::passing("fixer_crashed", cause.to_string())
}

/// Extends the lease until the work has ended. A lease that is lost is not extended any more; the work's own next call is refused.
fn keep(client: &Client, leased: &Leased, ends: &mpsc::Receiver<()>) {
    while let Err(mpsc::RecvTimeoutError::Timeout) = ends.recv_timeout(EXTEND_EVERY) {
        let extend = Extend {
            lease: leased.lease.clone(),
            epoch: leased.epoch,
            phase: "repairing".to_owned(),
            progress: 500,
        };
        if let Err(CallError::Fenced) = client.extend(&leased.task, &extend) {
            return;
        }
    }
}
