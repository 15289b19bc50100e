//! What the owner of a repository wishes: `.patchbot.toml` of its default branch, never of the failing commit.
//!
//! A file may tighten what the hub allows, and ask for two things that nobody gets unasked: that drifted snapshots are written anew, and
//! that a repair is merged without a person (which the rules of `policy/bundles/fixes.yaml` then still decide). A file or a value
//! that cannot be read switches repairs of its repository off, since nobody knows what it wanted to forbid; a key that is not known is told.
//!
//! Read next: `gates.rs` (what is refused whatever the owner wishes), `judge.rs` (what the rules say).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::gates::{PatchFile, changed_lines};

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

/// The wishes of one repository's owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    enabled: bool,
    categories: BTreeMap<String, OfCategory>,
    allowed_fixers: Option<Vec<String>>,
    denied_fixers: Vec<String>,
    protected_paths: Vec<String>,
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
            protected_paths: Vec::new(),
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
                    other => problems.unknown(&format!("fixers.{other}")),
                }),
                "paths" => each("paths", value, &mut problems, |name, value, problems| match name {
                    "protect" => take("paths.protect", value, &mut wishes.protected_paths, problems),
                    other => problems.unknown(&format!("paths.{other}")),
                }),
                "branches" => each("branches", value, &mut problems, |name, value, problems| match name {
                    "include" => some("branches.include", value, &mut wishes.included_branches, problems),
                    "exclude" => take("branches.exclude", value, &mut wishes.excluded_branches, problems),
                    other => problems.unknown(&format!("branches.{other}")),
                }),
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

    /// All codes that speak against a patch.
    pub fn refusals(&self, files: &[PatchFile], category: &str, fixer: &str) -> Vec<String> {
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
        codes
    }
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

/// What is wrong with a file.
#[derive(Default)]
struct Problems {
    invalid: Vec<String>,
    unknown: Vec<String>,
}

impl Problems {
    fn unknown(&mut self, key: &str) {
        self.unknown.push(format!("{key} is no key of {FILE}"));
    }

    fn invalid(&mut self, what: String) {
        self.invalid.push(what);
    }
}

/// A value of the type that is wanted; another one is told, and what stands stays.
fn take<'de, T: Deserialize<'de>>(key: &str, value: toml::Value, into: &mut T, problems: &mut Problems) {
    let shown = value.to_string();
    match value.try_into() {
        Ok(read) => *into = read,
        Err(cause) => problems.invalid(format!("{key} is {shown}: {}", cause.message())),
    }
}

fn some<'de, T: Deserialize<'de>>(key: &str, value: toml::Value, into: &mut Option<T>, problems: &mut Problems) {
    let shown = value.to_string();
    match value.try_into() {
        Ok(read) => *into = Some(read),
        Err(cause) => problems.invalid(format!("{key} is {shown}: {}", cause.message())),
    }
}

fn each(
    key: &str,
    value: toml::Value,
    problems: &mut Problems,
    mut take: impl FnMut(&str, toml::Value, &mut Problems),
) {
    match value {
        toml::Value::Table(table) => table.into_iter().for_each(|(name, value)| take(&name, value, problems)),
        other => problems.invalid(format!("{key} is {other}, it must be a table")),
    }
}

fn tables(key: &str, value: toml::Value, problems: &mut Problems) -> Vec<(String, toml::Table)> {
    let mut all = Vec::new();
    each(key, value, problems, |name, value, problems| match value {
        toml::Value::Table(table) => all.push((name.to_owned(), table)),
        other => problems.invalid(format!("{key}.{name} is {other}, it must be a table")),
    });
    all
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
    // Each star tries every place: as many as a person writes, and not as many as would stall the hub.
    if pattern.bytes().filter(|byte| *byte == b'*').count() > 8 {
        return true;
    }
    let folder = pattern.strip_suffix('/').map(|folder| format!("{folder}/**"));
    let pattern = folder.as_deref().unwrap_or(pattern);
    from(pattern.as_bytes(), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> PatchFile {
        PatchFile {
            path: path.to_owned(),
            mode: "100644".to_owned(),
            before: "a\nb\n".to_owned(),
            after: "a\nc\n".to_owned(),
        }
    }

    #[test]
    fn without_a_file_repairs_are_proposed_and_nothing_is_merged_and_no_snapshot_written() {
        let wishes = Wishes::default();
        assert_eq!(wishes.mode("lint"), Mode::Propose);
        assert_eq!(wishes.mode("snapshot"), Mode::Annotate);
        assert!(!wishes.wants_merge("format"));
        assert_eq!(wishes.objects_to(Some("main"), true), None);
        assert_eq!(
            wishes.refusals(&[file("a.py")], "lint", "ruff-check"),
            Vec::<String>::new()
        );
        assert_eq!(
            wishes.refusals(&[file("a.snap")], "snapshot", "jest"),
            ["category_disabled(snapshot)"]
        );
    }

    #[test]
    fn a_file_tightens_and_asks_for_a_merge() {
        let wishes = Wishes::parse(
            "[categories.format]\nmode = \"auto_merge\"\nmin_confidence = 0.95\n[categories.lint]\nmax_files = 1\nmax_lines = 1\n\
             [categories.lockfile]\nmode = \"off\"\n[fixers]\ndeny = [\"black\"]\n[paths]\nprotect = [\"api/\", \"**/*.gen.py\"]\n\
             [branches]\nexclude = [\"release/*\"]\n",
        );
        assert_eq!(wishes.problems, Vec::<String>::new());
        assert!(wishes.wants_merge("format") && !wishes.wants_merge("lint"));
        assert_eq!((wishes.least_bp("format"), wishes.least_bp("lint")), (9_500, 0));
        let codes = |paths: &[&str], category: &str, fixer: &str| {
            let files: Vec<PatchFile> = paths.iter().map(|path| file(path)).collect();
            wishes.refusals(&files, category, fixer).join(" ")
        };
        assert_eq!(codes(&["a.py"], "format", "ruff-format"), "");
        assert_eq!(
            codes(&["a.py", "b.py"], "lint", "ruff-check"),
            "too_many_files too_many_lines"
        );
        assert_eq!(codes(&["a.py"], "format", "black"), "fixer_disabled(black)");
        assert_eq!(codes(&["x/y/z.gen.py"], "format", "ruff-format"), "protected_path");
        assert_eq!(codes(&["api/v1/a.py"], "format", "ruff-format"), "protected_path");
        assert_eq!(codes(&["a.lock"], "lockfile", "cargo"), "category_disabled(lockfile)");
        assert_eq!(wishes.objects_to(Some("main"), false), None);
        assert_eq!(wishes.objects_to(None, false), None);
        assert!(
            wishes.objects_to(Some(""), false).is_some(),
            "nobody knows which branch it is"
        );
        assert_eq!(
            wishes.objects_to(Some("release/1"), false).map(|(code, _)| code),
            Some("repo_disabled")
        );
    }

    #[test]
    fn what_cannot_be_read_forbids_and_what_is_not_known_is_told() {
        let broken = Wishes::parse("enabled = ");
        assert_eq!(
            broken.objects_to(Some("main"), false).map(|(code, _)| code),
            Some("repo_disabled")
        );
        for text in [
            "[categories.lint]\nmode = \"yes\"\n",
            "[categories.lint]\nmin_confidence = 70\n",
            "paths = 1\n",
        ] {
            let wishes = Wishes::parse(text);
            assert_eq!((wishes.enabled, wishes.problems.len()), (false, 1), "{text}");
        }
        let wishes = Wishes::parse("enabld = false\nforks = \"off\"\n");
        assert_eq!(wishes.problems, ["enabld is no key of .patchbot.toml"]);
        assert_eq!(
            wishes.objects_to(Some("main"), true).map(|(code, _)| code),
            Some("fork_policy")
        );
    }

    #[test]
    fn a_pattern_is_a_path_with_stars() {
        for (pattern, text, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1", true),
            ("release/*", "release/1/2", false),
            ("**/*.snap", "a/b/c.snap", true),
            ("docs/", "docs/a/b.md", true),
            ("docs/", "docs2/a", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        assert!(fits(&"*".repeat(40), "a"), "what is too much to try is protected");
    }
}
