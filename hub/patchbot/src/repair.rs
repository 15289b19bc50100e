//! The repair ladder: reproduce, fix, check, prove that the check looked, look for new failures.
//!
//! Every rung that fails ends the repair with a stable code; nothing is proposed that was not seen red before and green after, by
//! the same command, in a proven sandbox. The repository is only read; all work happens on copies.
//!
//! Order: V0 the check fails on the tree as it is, with the same tool and a file of the failure; the fixer runs, and formatters of
//! whose form the files were, and all of them once more without changing anything; V1 the check passes; V2 with any repaired file put back it fails again (a check that finds no files
//! also passes, and is caught here); V3 other checks that passed on the touched files still pass; V4 what runs tests is run three times
//! before and after, because a test that fails now and then is flaky and no drift.

use std::path::Path;
use std::time::Duration;

use ed25519_dalek::SigningKey;

use crate::certificate::{Certificate, Command, Phase, SCHEMA};
use crate::classify;
use crate::fixers::{self, Fixer};
use crate::sandbox::{Job, Ran, Sandbox, SandboxError};
use crate::verdict::{Finding, Verdict};
use crate::workspace::{self, Change, WorkspaceError};

/// How often what runs tests is run: a test that does not fail each time is flaky.
pub const RUNS: usize = 3;
/// The most files put back one at a time to see whether the check notices.
const CANARIES: usize = 5;

/// What is to be repaired.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Task id, or empty.
    pub task: &'a str,
    /// The tree at the failing commit.
    pub repository: &'a Path,
    /// What failed.
    pub verdict: &'a Verdict,
    /// All complaints of it.
    pub findings: &'a [Finding],
    /// The command of the failing step, if known.
    pub command: Option<&'a str>,
    /// True when the code comes from a fork: only fixers that run none of it.
    pub fork: bool,
    /// The repository's owner wants drifted snapshots written anew.
    pub snapshots: bool,
    /// Who signs.
    pub agent: &'a str,
    /// Wall-clock limit of each command.
    pub limit: Duration,
}

/// Why there is no repair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Outcome {
    /// Stable code.
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// It tells of this machine and this moment, not of the code: another try may end otherwise.
    pub may_pass: bool,
}

impl Outcome {
    /// An answer: another try would end the same.
    pub fn lasting(code: &'static str, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            may_pass: false,
        }
    }

    /// No answer: something was in the way.
    pub fn passing(code: &'static str, reason: impl Into<String>) -> Self {
        Self {
            may_pass: true,
            ..Self::lasting(code, reason)
        }
    }
}

fn no(code: &'static str, reason: impl Into<String>) -> Outcome {
    Outcome::lasting(code, reason)
}

impl From<WorkspaceError> for Outcome {
    fn from(cause: WorkspaceError) -> Self {
        match cause {
            WorkspaceError::Unfit { .. } => no("out_of_scope", cause.to_string()),
            WorkspaceError::TooLarge => no("too_large", cause.to_string()),
            WorkspaceError::Copy { .. } => Outcome::passing("fixer_crashed", cause.to_string()),
        }
    }
}

impl From<SandboxError> for Outcome {
    fn from(cause: SandboxError) -> Self {
        let code = match cause {
            SandboxError::LevelTooLow { .. } => "sandbox_level_too_low",
            SandboxError::Start { .. } | SandboxError::Broke { .. } | SandboxError::Killed { .. } => "fixer_crashed",
        };
        Self::passing(code, cause.to_string())
    }
}

/// Repairs, proves and signs. Blocks for as long as the tools do, at most about ten times `limit`.
pub fn repair(request: &Request<'_>, sandbox: &Sandbox, key: &SigningKey) -> Result<Certificate, Outcome> {
    let tool = request.verdict.tool.as_deref().unwrap_or_default();
    let drift = fixers::for_drift(tool, request.findings).filter(|_| request.snapshots);
    let fixer = drift
        .or_else(|| fixers::for_tool(tool))
        .ok_or_else(|| no("no_fixer", format!("nothing here repairs what `{tool}` finds")))?;
    if request.fork && !fixer.data_only {
        return Err(no(
            "fork_policy",
            format!(
                "{} runs code of the repository, which a fork's is not trusted to be",
                fixer.id
            ),
        ));
    }
    sandbox.require()?;
    let bench = Bench::new(request.repository, sandbox, request.limit)?;
    let version = version(fixer, request.repository, &bench)?;
    let files = fixers::files_of(request.findings, request.repository);
    if files.is_empty() {
        return Err(no("no_result_line", "the log names no file of this repository"));
    }
    let edition = fixers::edition(&files[0], request.repository);
    let commands = fixer.commands(request.command, &files, edition.as_deref());

    let mut run = Vec::new();
    let red = bench.check_before(&commands.check, fixer.silent)?;
    reproduced(&red, fixer, &files, request)?;
    run.push(red.command(Phase::Reproduce));
    again(&bench, fixer, &commands.check, Phase::Reproduce, &mut run)?;
    let changes = fix(&bench, fixer, &commands.fix, &mut run)?;
    let green = bench.check_after(&commands.check, fixer.silent)?;
    if !green.passed {
        let code = if changes.is_empty() {
            "fixer_no_change"
        } else {
            "partial_fix"
        };
        return Err(no(
            code,
            format!("`{}` still fails: {}", commands.check.join(" "), green.first_line()),
        ));
    }
    run.push(green.command(Phase::Check));
    again(&bench, fixer, &commands.check, Phase::Check, &mut run)?;
    let files = match fixer.writes_snapshots() {
        true => snapshots_of(&changes)?,
        false => files,
    };
    let examined = canaries(&bench, fixer, &commands.check, &changes, &files, &mut run)?;
    siblings(&bench, fixer, &changes, &mut run)?;

    let certificate = Certificate {
        schema: SCHEMA,
        task: request.task.to_owned(),
        fingerprint: request.verdict.fingerprint.clone(),
        fixer: fixer.id.clone(),
        fixer_version: version,
        silent: fixer.silent,
        base_tree: tree_digest(bench.before())?,
        patched_tree: tree_digest(bench.after())?,
        patch: workspace::patch_digest(&changes),
        files: changes,
        commands: run,
        examined,
        canary_caught: true,
        sandbox: sandbox.report().level,
        self_test: sandbox.report().digest.clone(),
        network: "none".to_owned(),
        agent: request.agent.to_owned(),
        public_key: String::new(),
        signature: String::new(),
    };
    Ok(certificate.sign(key))
}

/// V4: what runs tests says the same each time.
fn again(
    bench: &Bench<'_>,
    fixer: &Fixer,
    check: &[String],
    phase: Phase,
    run: &mut Vec<Command>,
) -> Result<(), Outcome> {
    if !fixer.writes_snapshots() {
        return Ok(());
    }
    for _ in 1..RUNS {
        let ran = match phase {
            Phase::Reproduce => bench.check_before(check, fixer.silent)?,
            _ => bench.check_after(check, fixer.silent)?,
        };
        let line = check.join(" ");
        match (phase, ran.passed) {
            (Phase::Reproduce, true) => {
                return Err(no(
                    "flaky_suspected",
                    format!("`{line}` fails and passes on the same tree"),
                ));
            }
            (Phase::Check, false) => {
                return Err(no(
                    "unstable_tests",
                    format!("`{line}` passes and fails on the repaired tree"),
                ));
            }
            _ => run.push(ran.command(phase)),
        }
    }
    Ok(())
}

/// How often the tests that a log names fail on one tree: (failed, the command). `None`: nothing here runs them.
pub fn failures(request: &Request<'_>, sandbox: &Sandbox) -> Result<Option<(usize, String)>, Outcome> {
    let Some(fixer) = fixers::for_tests(request.verdict.tool.as_deref().unwrap_or_default()) else {
        return Ok(None);
    };
    let files = fixers::files_of(request.findings, request.repository);
    if files.is_empty() || crate::sandbox::find(&fixer.program).is_none() || request.fork {
        return Ok(None);
    }
    sandbox.require()?;
    let bench = Bench::new(request.repository, sandbox, request.limit)?;
    let check = fixer.commands(request.command, &files, None).check;
    let mut failed = 0;
    for _ in 0..RUNS {
        let ran = bench.check_before(&check, fixer.silent)?;
        failed += usize::from(!ran.passed);
    }
    Ok(Some((failed, check.join(" "))))
}

/// The changed files, if they are snapshots and nothing else: code is never changed to fit a result.
fn snapshots_of(changes: &[Change]) -> Result<Vec<String>, Outcome> {
    const CODE: [&str; 8] = ["py", "rs", "js", "jsx", "ts", "tsx", "go", "java"];
    let is_snapshot = |path: &str| {
        let kept = path
            .split('/')
            .rev()
            .skip(1)
            .any(|part| matches!(part, "__snapshots__" | "snapshots"));
        let ending = path.rsplit('.').next().unwrap_or_default();
        matches!(ending, "snap" | "ambr") || (kept && !CODE.contains(&ending))
    };
    match changes.iter().find(|change| !is_snapshot(&change.path)) {
        Some(other) => Err(no("out_of_scope", format!("`{}` is no snapshot", other.path))),
        None => Ok(changes.iter().map(|change| change.path.clone()).collect()),
    }
}

/// The version that will run; a repository that pins another is refused.
fn version(fixer: &Fixer, repository: &Path, bench: &Bench<'_>) -> Result<String, Outcome> {
    if fixer.program.is_empty() {
        return Ok(env!("CARGO_PKG_VERSION").to_owned());
    }
    if crate::sandbox::find(&fixer.program).is_none() {
        return Err(no("fixer_missing_tool", format!("`{}` is not on PATH", fixer.program)));
    }
    // gofmt has no version of its own; its Go has.
    let asked = match fixer.id.as_str() {
        "gofmt" => vec!["go".to_owned(), "version".to_owned()],
        // Its own version is that of the library which the repository's lock file names.
        "insta" => vec!["cargo".to_owned(), "--version".to_owned()],
        _ => vec![fixer.program.clone(), "--version".to_owned()],
    };
    let ran = bench.run(&asked, bench.before())?;
    let answer = String::from_utf8_lossy(&ran.output).into_owned();
    let have = fixers::version_in(&answer.replace("go1", "1")).unwrap_or_else(|| "unknown".to_owned());
    match fixer.pinned(repository) {
        Some(pinned) if pinned != have => Err(no(
            "fixer_version_mismatch",
            format!("the repository pins {} {pinned}, here is {have}", fixer.program),
        )),
        _ => Ok(have),
    }
}

/// V0: the check fails here, too, and for the reason that the log gives.
fn reproduced(red: &Check, fixer: &Fixer, files: &[String], request: &Request<'_>) -> Result<(), Outcome> {
    if red.passed {
        return Err(no("not_reproduced", format!("`{}` passes here", red.argv.join(" "))));
    }
    let text = String::from_utf8_lossy(&red.output);
    if [
        "Cannot find package",
        "Cannot find module",
        "ERR_MODULE_NOT_FOUND",
        "couldn't find the plugin",
        "couldn't find the config",
        "ModuleNotFoundError",
        "no matching package",
        "failed to download",
        "Preset ts-jest not found",
    ]
    .iter()
    .any(|word| text.contains(word))
    {
        return Err(no(
            "fixer_missing_tool",
            format!("the check needs the repository's dependencies: {}", red.first_line()),
        ));
    }
    if fixer.program.is_empty() {
        return Ok(());
    }
    let found = classify::findings(&red.output, Some(&red.argv.join(" ")));
    let here = fixers::files_of(&found, request.repository);
    if files.iter().any(|file| here.contains(file)) {
        return Ok(());
    }
    Err(no(
        "not_reproduced",
        format!(
            "`{}` fails here for another reason: {}",
            red.argv.join(" "),
            red.first_line()
        ),
    ))
}

/// Runs the fixer, twice: what a second run still changes would never settle.
fn fix(bench: &Bench<'_>, fixer: &Fixer, argv: &[String], run: &mut Vec<Command>) -> Result<Vec<Change>, Outcome> {
    let mut once = Vec::new();
    for phase in [Phase::Fix, Phase::FixAgain] {
        apply(bench, fixer, argv, phase, run)?;
        keep_form(bench, fixer, phase, run)?;
        let now = workspace::changes(bench.before(), bench.after())?;
        if phase == Phase::Fix {
            once = now;
        } else if now != once {
            return Err(no(
                "fixer_not_idempotent",
                format!("a second run of `{}` changes more", argv.join(" ")),
            ));
        }
    }
    if once.is_empty() {
        return Err(no("fixer_no_change", format!("`{}` changes nothing", argv.join(" "))));
    }
    Ok(once)
}

/// Runs one repairing command on the tree as it becomes.
fn apply(
    bench: &Bench<'_>,
    fixer: &Fixer,
    argv: &[String],
    phase: Phase,
    run: &mut Vec<Command>,
) -> Result<(), Outcome> {
    let ran = bench.fix(argv)?;
    if ran.timed_out {
        return Err(Outcome::passing(
            "fixer_timeout",
            format!("`{}` did not end", argv.join(" ")),
        ));
    }
    if !ran.status.is_some_and(|status| fixer.is_ok(status)) {
        return Err(no(
            "fixer_crashed",
            format!("`{}` left with {:?}", argv.join(" "), ran.status),
        ));
    }
    let check = Check {
        argv: argv.to_vec(),
        passed: true,
        ran_in: String::new(),
        canary: None,
        output: ran.output,
        status: ran.status,
        took: ran.took,
    };
    run.push(check.command(phase));
    Ok(())
}

/// What was in a formatter's form before the repair is brought into it again: taking out an import leaves a blank line behind.
fn keep_form(bench: &Bench<'_>, fixer: &Fixer, phase: Phase, run: &mut Vec<Command>) -> Result<(), Outcome> {
    let changes = workspace::changes(bench.before(), bench.after())?;
    for (other, files) in others(fixer, &changes).filter(|(other, _)| other.formats) {
        let commands = other.commands(None, &files, fixers::edition(&files[0], bench.before()).as_deref());
        let was_in_form = bench.check_before(&commands.check, other.silent)?.passed;
        if was_in_form && !bench.check_after(&commands.check, other.silent)?.passed {
            apply(bench, other, &commands.fix, phase, run)?;
        }
    }
    Ok(())
}

/// Other fixers of this machine that read some of the changed files and run no code of the repository, each with those files.
fn others<'a>(fixer: &'a Fixer, changes: &'a [Change]) -> impl Iterator<Item = (&'static Fixer, Vec<String>)> + 'a {
    let reads = |other: &Fixer, path: &str| {
        path.rsplit_once('.')
            .is_some_and(|(_, ending)| other.extensions.iter().any(|known| known == ending))
    };
    fixers::all()
        .iter()
        .filter(|other| other.id != fixer.id && other.data_only && !other.program.is_empty())
        .filter(|other| crate::sandbox::find(&other.program).is_some())
        .map(move |other| {
            let paths = changes.iter().map(|change| change.path.clone());
            (other, paths.filter(|path| reads(other, path)).collect::<Vec<_>>())
        })
        .filter(|(_, files)| !files.is_empty())
}

/// V2: with a repaired file as it was, the check must fail. Returns the files for which it did.
fn canaries(
    bench: &Bench<'_>,
    fixer: &Fixer,
    check: &[String],
    changes: &[Change],
    files: &[String],
    run: &mut Vec<Command>,
) -> Result<Vec<String>, Outcome> {
    let mut examined = Vec::new();
    for change in changes
        .iter()
        .filter(|change| files.contains(&change.path))
        .take(CANARIES)
    {
        let found = bench.check_with_canary(check, fixer.silent, &change.path)?;
        if found.passed {
            return Err(no(
                "vacuous_pass",
                format!(
                    "`{}` passes with `{}` as it was, so it does not look at it",
                    check.join(" "),
                    change.path
                ),
            ));
        }
        run.push(found.command(Phase::Canary));
        examined.push(change.path.clone());
    }
    if examined.is_empty() {
        return Err(no("vacuous_pass", "no file of the failure was repaired"));
    }
    Ok(examined)
}

/// V3: other checks on the touched files that passed before must pass after.
fn siblings(bench: &Bench<'_>, fixer: &Fixer, changes: &[Change], run: &mut Vec<Command>) -> Result<(), Outcome> {
    for (other, files) in others(fixer, changes) {
        let check = other
            .commands(None, &files, fixers::edition(&files[0], bench.before()).as_deref())
            .check;
        if !bench.check_before(&check, other.silent)?.passed {
            continue;
        }
        let after = bench.check_after(&check, other.silent)?;
        if !after.passed {
            return Err(no(
                "new_failure",
                format!(
                    "`{}` passed before and fails now: {}",
                    check.join(" "),
                    after.first_line()
                ),
            ));
        }
        run.push(after.command(Phase::Sibling));
    }
    Ok(())
}

fn tree_digest(folder: &Path) -> Result<String, Outcome> {
    let mut hasher = blake3::Hasher::new();
    for (path, (digest, executable)) in workspace::digests(folder)? {
        hasher.update(path.as_bytes());
        hasher.update(digest.as_bytes());
        hasher.update(&[u8::from(executable)]);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// A check that was run.
#[derive(Debug)]
pub struct Check {
    argv: Vec<String>,
    ran_in: String,
    canary: Option<String>,
    status: Option<i32>,
    output: Vec<u8>,
    took: Duration,
    /// True when it found nothing wrong.
    pub passed: bool,
}

impl Check {
    fn command(&self, phase: Phase) -> Command {
        Command {
            phase,
            argv: self.argv.clone(),
            folder: self.ran_in.clone(),
            status: self.status.unwrap_or(-1),
            passed: self.passed,
            wall_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            output: blake3::hash(&self.output).to_hex().to_string(),
            canary: self.canary.clone(),
        }
    }

    fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.output);
        crate::verdict::shorten(
            text.lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("it wrote nothing"),
        )
    }
}

/// Two copies of a repository, as it was and as it becomes, and the sandbox to run checks in them.
pub struct Bench<'a> {
    folder: tempfile::TempDir,
    sandbox: &'a Sandbox,
    limit: Duration,
    before: std::path::PathBuf,
    after: std::path::PathBuf,
}

impl<'a> Bench<'a> {
    /// Copies `repository` twice.
    pub fn new(repository: &Path, sandbox: &'a Sandbox, limit: Duration) -> Result<Self, Outcome> {
        let folder = tempfile::tempdir()
            .map_err(|cause| Outcome::passing("fixer_crashed", format!("cannot make a folder to work in: {cause}")))?;
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        workspace::copy(repository, &before)?;
        workspace::copy(repository, &after)?;
        Ok(Self {
            folder,
            sandbox,
            limit,
            before,
            after,
        })
    }

    /// The tree as it was.
    pub fn before(&self) -> &Path {
        &self.before
    }

    /// The tree as it becomes.
    pub fn after(&self) -> &Path {
        &self.after
    }

    /// Runs a check on the tree as it was.
    pub fn check_before(&self, argv: &[String], silent: bool) -> Result<Check, Outcome> {
        self.check(argv, silent, &self.before, None)
    }

    /// Runs a check on the repaired tree.
    pub fn check_after(&self, argv: &[String], silent: bool) -> Result<Check, Outcome> {
        self.check(argv, silent, &self.after, None)
    }

    /// Runs a check on the repaired tree with `file` put back as it was.
    pub fn check_with_canary(&self, argv: &[String], silent: bool, file: &str) -> Result<Check, Outcome> {
        let failed =
            |cause: std::io::Error| Outcome::passing("fixer_crashed", format!("cannot put `{file}` back: {cause}"));
        let repaired = self.folder.path().join("repaired");
        std::fs::rename(self.after.join(file), &repaired).map_err(failed)?;
        std::fs::copy(self.before.join(file), self.after.join(file)).map_err(failed)?;
        let ran = self.check(argv, silent, &self.after, Some(file.to_owned()));
        std::fs::rename(&repaired, self.after.join(file)).map_err(failed)?;
        ran
    }

    fn check(&self, argv: &[String], silent: bool, tree: &Path, canary: Option<String>) -> Result<Check, Outcome> {
        let ran = self.run(argv, tree)?;
        if ran.timed_out {
            return Err(Outcome::passing(
                "fixer_timeout",
                format!("`{}` did not end", argv.join(" ")),
            ));
        }
        let quiet = !silent || ran.stdout.trim_ascii().is_empty();
        Ok(Check {
            argv: argv.to_vec(),
            ran_in: String::new(),
            canary,
            passed: ran.status == Some(0) && quiet,
            status: ran.status,
            output: ran.output,
            took: ran.took,
        })
    }

    fn fix(&self, argv: &[String]) -> Result<Ran, Outcome> {
        if argv.first().is_some_and(String::is_empty) {
            return self.trim(&argv[1..]);
        }
        self.run(argv, &self.after)
    }

    fn run(&self, argv: &[String], tree: &Path) -> Result<Ran, Outcome> {
        if argv.first().is_some_and(String::is_empty) {
            return Ok(untrimmed(&argv[1..], tree));
        }
        Ok(self.sandbox.run(&Job {
            argv,
            workspace: tree,
            folder: "",
            limit: self.limit,
        })?)
    }

    /// The fixer that needs no program, because it only reads text and writes text.
    fn trim(&self, files: &[String]) -> Result<Ran, Outcome> {
        for file in files {
            let path = self.after.join(file);
            let text = std::fs::read_to_string(&path)
                .map_err(|cause| no("fixer_crashed", format!("cannot read `{file}`: {cause}")))?;
            let clean = fixers::without_trailing_space(&text);
            std::fs::write(&path, clean)
                .map_err(|cause| Outcome::passing("fixer_crashed", format!("cannot write `{file}`: {cause}")))?;
        }
        Ok(answer(0, String::new()))
    }
}

fn untrimmed(files: &[String], tree: &Path) -> Ran {
    let dirty: Vec<String> = files
        .iter()
        .filter(|file| {
            std::fs::read_to_string(tree.join(file)).is_ok_and(|text| fixers::without_trailing_space(&text) != text)
        })
        .map(|file| format!("{file}:1: trailing whitespace."))
        .collect();
    answer(i32::from(!dirty.is_empty()), dirty.join("\n"))
}

fn answer(status: i32, text: String) -> Ran {
    Ran {
        status: Some(status),
        timed_out: false,
        output: text.clone().into_bytes(),
        stdout: text.into_bytes(),
        took: Duration::ZERO,
    }
}
