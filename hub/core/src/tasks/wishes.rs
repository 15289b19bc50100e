//! What the owner of a repository wishes: `.patchbot.toml` of its default branch, never of the failing commit.
//!
//! A file may tighten what the hub allows, and ask for two things that nobody gets unasked: that drifted snapshots are written anew, and
//! that a repair is merged without a person (which the rules of `policy/bundles/fixes.yaml` then still decide). A file or a value
//! that cannot be read switches repairs of its repository off, since nobody knows what it wanted to forbid; a key that is not known is told.
//!
//! Times in which nothing begins and numbers of pull requests that are not passed do not end a task: it is put off ([`Pause`]).
//!
//! Read next: `wishes/read.rs` (key by key), `gates.rs` (what is refused whatever the owner wishes), `judge.rs` (what the rules say).

mod read;

use std::collections::BTreeMap;

use policy::cron::Recurring;
use serde::Deserialize;
use wire::time::Wall;

use self::read::{Problems, each, rows, some, tables, take};
use super::gates::{PatchFile, changed_lines};
use super::record::{Task, TaskState};

/// Name of the file, at the root of the default branch.
pub const FILE: &str = ".patchbot.toml";

/// How far a repair of one category may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is done.
    Off,
    /// A diagnosis, and no pull request.
    Annotate,
    /// A pull request.
    Propose,
    /// A pull request that is merged once its checks are green, if the rules agree.
    AutoMerge,
}

impl Mode {
    /// The word in files, JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Annotate => "annotate",
            Self::Propose => "propose",
            Self::AutoMerge => "auto_merge",
        }
    }
}

/// What is wished of one category of failures.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct OfCategory {
    mode: Option<Mode>,
    min_confidence: Option<f64>,
    max_files: Option<usize>,
    max_lines: Option<usize>,
}

/// Times in which nothing begins, is opened or merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Freeze {
    /// When.
    pub windows: Recurring,
    /// What people call it; empty if they call it nothing.
    pub reason: String,
}

/// How many pull requests of ours an owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets {
    /// Open at once.
    pub open: Option<u32>,
    /// Of tasks that were begun within 24 hours.
    pub per_day: Option<u32>,
}

/// Why a task is put off, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Stable code.
    pub code: String,
    /// For people.
    pub reason: String,
    /// When it is looked at again.
    pub until: Wall,
}

/// The one place for a repair so far: a pull request of ours, against the branch that failed.
const TARGET: &str = "stacked_pr";
/// The most freezes, labels and reviewers of a file.
const MOST: usize = 20;
/// Longest label and name of a reviewer, in bytes: what forges take.
const NAME_BYTES: usize = 50;
/// A day.
const DAY_MS: i64 = 24 * 60 * 60_000;
/// What waits for the end of a pull request is looked at again after this time.
const AGAIN_MS: i64 = 5 * 60_000;

/// The wishes of one repository's owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    enabled: bool,
    categories: BTreeMap<String, OfCategory>,
    allowed_fixers: Option<Vec<String>>,
    denied_fixers: Vec<String>,
    fixer_versions: BTreeMap<String, String>,
    allowed_paths: Option<Vec<String>>,
    protected_paths: Vec<String>,
    /// Times in which nothing begins.
    pub freezes: Vec<Freeze>,
    /// How many pull requests are wanted.
    pub budgets: Budgets,
    /// Labels of our pull requests.
    pub labels: Vec<String>,
    /// Who is asked to look at one that is ready: names at the forge, or `org/team`.
    pub reviewers: Vec<String>,
    included_branches: Option<Vec<String>>,
    excluded_branches: Vec<String>,
    forks: bool,
    /// Keys that are not known, and values that are none: for people.
    pub problems: Vec<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            enabled: true,
            categories: BTreeMap::new(),
            allowed_fixers: None,
            denied_fixers: Vec::new(),
            fixer_versions: BTreeMap::new(),
            allowed_paths: None,
            protected_paths: Vec::new(),
            freezes: Vec::new(),
            budgets: Budgets::default(),
            labels: Vec::new(),
            reviewers: Vec::new(),
            included_branches: None,
            excluded_branches: Vec::new(),
            forks: true,
            problems: Vec::new(),
        }
    }
}

impl Wishes {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Self {
        match text.parse::<toml::Table>() {
            Ok(table) => Self::read(table),
            Err(cause) => Self {
                enabled: false,
                problems: vec![format!("{FILE} is no TOML: {}", cause.message())],
                ..Self::default()
            },
        }
    }

    fn read(table: toml::Table) -> Self {
        let mut wishes = Self::default();
        let mut problems = Problems::default();
        for (key, value) in table {
            match key.as_str() {
                "enabled" => take(&key, value, &mut wishes.enabled, &mut problems),
                "forks" => match value.as_str() {
                    Some("comment" | "propose") => wishes.forks = true,
                    Some("off") => wishes.forks = false,
                    _ => problems.invalid(format!("forks is {value}, it must be \"comment\" or \"off\"")),
                },
                "categories" => {
                    for (name, fields) in tables("categories", value, &mut problems) {
                        let read = OfCategory::read(&name, fields, &mut problems);
                        wishes.categories.insert(name, read);
                    }
                }
                "fixers" => each("fixers", value, &mut problems, |name, value, problems| match name {
                    "allow" => some("fixers.allow", value, &mut wishes.allowed_fixers, problems),
                    "deny" => take("fixers.deny", value, &mut wishes.denied_fixers, problems),
                    "version" => take("fixers.version", value, &mut wishes.fixer_versions, problems),
                    other => problems.unknown(&format!("fixers.{other}")),
                }),
                "paths" => each("paths", value, &mut problems, |name, value, problems| match name {
                    "protect" => take("paths.protect", value, &mut wishes.protected_paths, problems),
                    "allow" => some("paths.allow", value, &mut wishes.allowed_paths, problems),
                    other => problems.unknown(&format!("paths.{other}")),
                }),
                "branches" => each("branches", value, &mut problems, |name, value, problems| match name {
                    "include" => some("branches.include", value, &mut wishes.included_branches, problems),
                    "exclude" => take("branches.exclude", value, &mut wishes.excluded_branches, problems),
                    other => problems.unknown(&format!("branches.{other}")),
                }),
                "freeze" => wishes.freezes = freezes(value, &mut problems),
                "budgets" => each("budgets", value, &mut problems, |name, value, problems| match name {
                    "open" => some("budgets.open", value, &mut wishes.budgets.open, problems),
                    "per_day" => some("budgets.per_day", value, &mut wishes.budgets.per_day, problems),
                    other => problems.unknown(&format!("budgets.{other}")),
                }),
                "labels" => wishes.labels = names("labels", value, &mut problems),
                "reviewers" => wishes.reviewers = names("reviewers", value, &mut problems),
                "target" => {
                    if value.as_str() != Some(TARGET) {
                        problems.invalid(format!(
                            "target is {value}, this hub does \"{TARGET}\" alone: write that, or leave target out"
                        ));
                    }
                }
                other => problems.unknown(other),
            }
        }
        // What a value was meant to forbid is not known.
        wishes.enabled &= problems.invalid.is_empty();
        wishes.problems = problems.invalid;
        wishes.problems.extend(problems.unknown);
        wishes
    }

    /// Why nothing is repaired there: a code and a sentence. `None`: it may begin. `branch`: of the failing commit, empty where the event
    /// did not name it; `None`: whatever the branch.
    pub fn objects_to(&self, branch: Option<&str>, from_fork: bool) -> Option<(&'static str, String)> {
        if !self.enabled {
            let why = self.problems.first().cloned();
            return Some((
                "repo_disabled",
                why.unwrap_or_else(|| format!("{FILE} says enabled = false")),
            ));
        }
        if from_fork && !self.forks {
            return Some(("fork_policy", format!("{FILE} says forks = \"off\"")));
        }
        let branch = branch.filter(|_| self.names_branches())?;
        if branch.is_empty() {
            return Some((
                "repo_disabled",
                format!("{FILE} names branches, and the event names none"),
            ));
        }
        let named = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, branch));
        if named(&self.excluded_branches) || self.included_branches.as_deref().is_some_and(|some| !named(some)) {
            return Some(("repo_disabled", format!("{FILE} leaves branch `{branch}` out")));
        }
        None
    }

    fn names_branches(&self) -> bool {
        self.included_branches.is_some() || !self.excluded_branches.is_empty()
    }

    /// How far a repair of this category may go. Snapshots are results that a person once agreed to: only who asks gets new ones.
    pub fn mode(&self, category: &str) -> Mode {
        let unasked = if category == "snapshot" {
            Mode::Annotate
        } else {
            Mode::Propose
        };
        let wished = self.categories.get(category).and_then(|one| one.mode);
        wished.unwrap_or(unasked)
    }

    /// Whether the owner wants repairs of this category merged without a person.
    pub fn wants_merge(&self, category: &str) -> bool {
        self.mode(category) == Mode::AutoMerge
    }

    /// The lowest chance at which the owner wants a pull request, in hundredths of a percent.
    pub fn least_bp(&self, category: &str) -> u16 {
        let least = self.categories.get(category).and_then(|one| one.min_confidence);
        // In 0..=1: what is not was left out with a problem.
        (least.unwrap_or(0.0) * 10_000.0).round() as u16
    }

    /// Where patches go: the value of `target`.
    pub const fn target(&self) -> &'static str {
        TARGET
    }

    /// The version that a fixer must have, by its id.
    pub fn fixer_versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fixer_versions
            .iter()
            .map(|(fixer, version)| (fixer.as_str(), version.as_str()))
    }

    /// Paths that may be changed; `None`: all that are not protected.
    pub fn allowed_paths(&self) -> Option<&[String]> {
        self.allowed_paths.as_deref()
    }

    /// Paths that may not be changed.
    pub fn protected_paths(&self) -> &[String] {
        &self.protected_paths
    }

    /// The freeze that holds now: of several the one that ends last.
    pub fn frozen(&self, now: Wall) -> Option<Pause> {
        let holds = |freeze: &Freeze| {
            let end = freeze.windows.covers(now.0)?;
            let name = match freeze.reason.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            Some(Pause {
                code: "frozen".to_owned(),
                reason: format!("{FILE} has a freeze{name}, {}, until {}", freeze.windows, Wall(end)),
                until: Wall(end),
            })
        };
        self.freezes.iter().filter_map(holds).max_by_key(|pause| pause.until)
    }

    /// Why nothing may begin now in this repository, of which `tasks` are all.
    pub fn pause<'a>(
        &self,
        repository: &str,
        tasks: impl Iterator<Item = &'a Task> + Clone,
        now: Wall,
    ) -> Option<Pause> {
        if let Some(frozen) = self.frozen(now) {
            return Some(frozen);
        }
        let its = || tasks.clone().filter(|task| task.repository == repository);
        let open = its().filter(|task| matches!(task.state, TaskState::Publishing | TaskState::Proposed));
        let open = open.count();
        if let Some(most) = self.budgets.open.filter(|most| open >= *most as usize) {
            return Some(Pause {
                code: "budget(open)".to_owned(),
                reason: format!("{FILE} wants {most} open pull requests at most, and {open} are: close or merge one"),
                until: Wall(now.0.saturating_add(AGAIN_MS)),
            });
        }
        let mut begun: Vec<i64> = its()
            .filter(|task| task.pull_request.is_some() || task.state == TaskState::Publishing)
            .filter_map(|task| Some(task.started_at?.0))
            .filter(|begun| now.0.saturating_sub(*begun) < DAY_MS)
            .collect();
        begun.sort_unstable();
        let most = self.budgets.per_day.filter(|most| begun.len() >= *most as usize)?;
        // Room is made by the one that leaves as many behind it as may be, less one.
        let leaves = begun.len().saturating_sub(most.max(1) as usize);
        let until = begun.get(leaves).copied().unwrap_or(now.0).saturating_add(DAY_MS);
        Some(Pause {
            code: "budget(per_day)".to_owned(),
            reason: format!(
                "{FILE} wants {most} pull requests a day at most, and {} were begun",
                begun.len()
            ),
            until: Wall(until),
        })
    }

    /// All codes that speak against a patch of this fixer, in this version.
    pub fn refusals(&self, files: &[PatchFile], category: &str, (fixer, version): (&str, &str)) -> Vec<String> {
        let mut codes = Vec::new();
        if !self.enabled {
            codes.push("repo_disabled".to_owned());
        }
        if self.mode(category) < Mode::Propose {
            codes.push(format!("category_disabled({category})"));
        }
        let is_named = |list: &[String]| list.iter().any(|known| known == fixer);
        if is_named(&self.denied_fixers) || self.allowed_fixers.as_deref().is_some_and(|some| !is_named(some)) {
            codes.push(format!("fixer_disabled({fixer})"));
        }
        if self.fixer_versions.get(fixer).is_some_and(|wanted| wanted != version) {
            codes.push("fixer_version_mismatch".to_owned());
        }
        let wished = self.categories.get(category).copied().unwrap_or_default();
        let lines: usize = files
            .iter()
            .map(|file| changed_lines(file).0 + changed_lines(file).1)
            .sum();
        if wished.max_files.is_some_and(|most| files.len() > most) {
            codes.push("too_many_files".to_owned());
        }
        if wished.max_lines.is_some_and(|most| lines > most) {
            codes.push("too_many_lines".to_owned());
        }
        let is_protected = |file: &PatchFile| self.protected_paths.iter().any(|pattern| fits(pattern, &file.path));
        if files.iter().any(is_protected) {
            codes.push("protected_path".to_owned());
        }
        let is_allowed = |file: &PatchFile| {
            self.allowed_paths
                .as_deref()
                .is_none_or(|some| some.iter().any(|pattern| allows(pattern, &file.path)))
        };
        if !files.iter().all(is_allowed) {
            codes.push("out_of_scope".to_owned());
        }
        codes
    }
}

/// `freeze = [{ cron, duration, tz, reason }]`.
fn freezes(value: toml::Value, problems: &mut Problems) -> Vec<Freeze> {
    let mut freezes = Vec::new();
    let rows = rows("freeze", value, ["cron", "duration", "tz", "reason"], problems);
    for (place, [cron, duration, tz, reason]) in rows.into_iter().enumerate() {
        let (Some(cron), Some(duration)) = (cron, duration) else {
            problems.invalid(format!(
                "freeze[{place}] needs cron and duration, such as cron = \"0 18 * * fri\", duration = \"62 h\""
            ));
            continue;
        };
        match Recurring::parse(&cron, &duration, tz.as_deref().unwrap_or("UTC")) {
            Ok(windows) => freezes.push(Freeze {
                windows,
                reason: reason.unwrap_or_default(),
            }),
            Err(cause) => problems.invalid(format!("freeze[{place}].{cause}")),
        }
    }
    if freezes.len() > MOST {
        problems.invalid(format!("freeze has {} entries, it may have {MOST}", freezes.len()));
        freezes.truncate(MOST);
    }
    freezes
}

/// A list of names that a forge takes.
fn names(key: &str, value: toml::Value, problems: &mut Problems) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    take(key, value, &mut names, problems);
    if names.len() > MOST {
        problems.invalid(format!("{key} has {} entries, it may have {MOST}", names.len()));
    }
    let is_bad = |name: &String| {
        name.trim().is_empty()
            || name.len() > NAME_BYTES
            || name.contains(|letter: char| letter.is_control() || letter == ',')
    };
    if let Some(bad) = names.iter().find(|name| is_bad(name)) {
        problems.invalid(format!(
            "{key} holds {bad:?}: a name has 1 to {NAME_BYTES} bytes and no comma"
        ));
    }
    names.retain(|name| !is_bad(name));
    names.truncate(MOST);
    names
}

impl OfCategory {
    fn read(name: &str, fields: toml::Table, problems: &mut Problems) -> Self {
        let mut wished = Self::default();
        for (key, value) in fields {
            let full = format!("categories.{name}.{key}");
            match key.as_str() {
                "mode" => some(&full, value, &mut wished.mode, problems),
                "min_confidence" => some(&full, value, &mut wished.min_confidence, problems),
                "max_files" => some(&full, value, &mut wished.max_files, problems),
                "max_lines" => some(&full, value, &mut wished.max_lines, problems),
                _ => problems.unknown(&full),
            }
        }
        if let Some(least) = wished.min_confidence.filter(|least| !(0.0..=1.0).contains(least)) {
            problems.invalid(format!(
                "categories.{name}.min_confidence is {least}, it must be 0 to 1"
            ));
            wished.min_confidence = None;
        }
        wished
    }
}

/// Whether a path or a branch fits a pattern: `*` is anything but a slash, `**` is anything; a folder stands for what is in it.
fn fits(pattern: &str, text: &str) -> bool {
    fn from(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| from(rest, &text[at..])),
            [b'*', rest @ ..] => {
                let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                (0..=end).any(|at| from(rest, &text[at..]))
            }
            [first, rest @ ..] => text.first() == Some(first) && from(rest, &text[1..]),
        }
    }
    if !may_be_tried(pattern) {
        return true;
    }
    let folder = pattern.strip_suffix('/').map(|folder| format!("{folder}/**"));
    let pattern = folder.as_deref().unwrap_or(pattern);
    from(pattern.as_bytes(), text.as_bytes())
}

/// Each star tries every place: as many as a person writes, and not as many as would stall the hub.
fn may_be_tried(pattern: &str) -> bool {
    pattern.bytes().filter(|byte| *byte == b'*').count() <= 8
}

/// The same for what lets a path through: what is too much to try lets nothing through.
fn allows(pattern: &str, path: &str) -> bool {
    may_be_tried(pattern) && fits(pattern, path)
}

#[cfg(test)]
mod tests;
