//! What a file says, what it forbids, and what is told of what cannot be read.

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
        wishes.refusals(&[file("a.py")], "lint", ("ruff-check", "1")),
        Vec::<String>::new()
    );
    assert_eq!(
        wishes.refusals(&[file("a.snap")], "snapshot", ("jest", "1")),
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
        wishes.refusals(&files, category, (fixer, "1.0")).join(" ")
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

/// 2026-12-05T12:00:00Z, a Saturday.
const SATURDAY: Wall = Wall(1_796_472_000_000);

#[test]
fn a_freeze_holds_until_its_end_and_the_longest_of_several_counts() {
    let wishes = Wishes::parse(
        "[[freeze]]\ncron = \"0 18 * * fri\"\nduration = \"62 h\"\ntz = \"Europe/Berlin\"\nreason = \"weekend\"\n\
         [[freeze]]\ncron = \"0 0 * * sat\"\nduration = \"24 h\"\n",
    );
    assert_eq!(wishes.problems, Vec::<String>::new());
    let frozen = wishes.frozen(SATURDAY).expect("it is Saturday");
    assert_eq!(
        (frozen.code.as_str(), frozen.until.to_string().as_str()),
        ("frozen", "2026-12-07T07:00:00.000Z")
    );
    for part in [
        "(weekend)",
        "`0 18 * * fri` for 62 h in Europe/Berlin",
        "until 2026-12-07T07:00:00",
    ] {
        assert!(frozen.reason.contains(part), "{}", frozen.reason);
    }
    assert_eq!(wishes.frozen(frozen.until), None);
    assert_eq!(wishes.pause("a/b", [].iter(), SATURDAY), Some(frozen));
}

#[test]
fn no_more_pull_requests_are_begun_than_are_wanted() {
    use super::super::queue::tests::task;
    let wishes = Wishes::parse("[budgets]\nopen = 2\nper_day = 3\n");
    let begun = |id: &str, repository: &str, state: TaskState, hours_ago: i64| {
        let mut task = task(id, repository, "main", 0);
        task.state = state;
        task.pull_request = Some("http://forge/1".to_owned());
        task.started_at = Some(Wall(SATURDAY.0 - hours_ago * 3_600_000));
        task
    };
    let code = |tasks: &[Task]| {
        wishes
            .pause("a/b", tasks.iter(), SATURDAY)
            .map(|pause| (pause.code, pause.until.0 - SATURDAY.0))
    };
    let mut tasks = vec![
        begun("1", "a/b", TaskState::Proposed, 1),
        begun("2", "a/other", TaskState::Proposed, 1),
        begun("3", "a/b", TaskState::Merged, 5),
        begun("4", "a/b", TaskState::Closed, 30),
    ];
    assert_eq!(code(&tasks), None);
    tasks.push(begun("5", "a/b", TaskState::Publishing, 2));
    assert_eq!(code(&tasks), Some(("budget(open)".to_owned(), AGAIN_MS)));
    tasks[0].state = TaskState::Merged;
    // Three within a day: the oldest of them leaves it in 19 hours.
    assert_eq!(code(&tasks), Some(("budget(per_day)".to_owned(), 19 * 3_600_000)));
    let none = Wishes::parse("[budgets]\nopen = 0\n");
    assert!(none.pause("a/b", [].iter(), SATURDAY).is_some(), "none is none");
}

#[test]
fn paths_versions_labels_and_reviewers_are_what_the_file_says() {
    let wishes = Wishes::parse(
        "labels = [\"bot\", \"needs review\"]\nreviewers = [\"ada\", \"org/team\"]\ntarget = \"stacked_pr\"\n\
         [paths]\nallow = [\"src/\", \"*.md\"]\nprotect = [\"src/gen/\"]\n[fixers]\nversion = { ruff-check = \"0.17.6\" }\n",
    );
    assert_eq!(wishes.problems, Vec::<String>::new());
    assert_eq!(
        (wishes.labels.join(" "), wishes.reviewers.join(" ")),
        ("bot needs review".to_owned(), "ada org/team".to_owned())
    );
    let codes = |path: &str, fixer: (&str, &str)| wishes.refusals(&[file(path)], "lint", fixer).join(" ");
    assert_eq!(codes("src/a.py", ("ruff-check", "0.17.6")), "");
    assert_eq!(codes("README.md", ("black", "1")), "");
    assert_eq!(codes("src/a.py", ("ruff-check", "0.17.5")), "fixer_version_mismatch");
    assert_eq!(codes("lib/a.py", ("black", "1")), "out_of_scope");
    assert_eq!(codes("src/gen/a.py", ("black", "1")), "protected_path");
    let stars = Wishes::parse(&format!("paths.allow = [\"{}\"]\n", "*".repeat(40)));
    assert_eq!(
        stars.refusals(&[file("a.py")], "lint", ("black", "1")),
        ["out_of_scope"],
        "what is too much to try lets nothing through"
    );
}

#[test]
fn a_bad_value_is_told_with_its_key_and_a_way_out_and_forbids() {
    for (text, said) in [
        ("freeze = true\n", "freeze is true, it must be a list of { cron ="),
        (
            "freeze = [{ cron = \"0 18 * *\", duration = \"1 h\" }]\n",
            "freeze[0].cron: `0 18 * *` has 4 fields, it must have 5",
        ),
        (
            "freeze = [{ cron = \"0 18 * * *\" }]\n",
            "freeze[0] needs cron and duration",
        ),
        (
            "freeze = [{ cron = \"0 18 * * *\", duration = \"1 h\", tz = \"Mars\" }]\n",
            "freeze[0].tz: unknown time zone `Mars`",
        ),
        ("budgets = { open = -1 }\n", "budgets.open is -1: "),
        ("budgets = 5\n", "budgets is 5, it must be a table"),
        ("labels = \"bot\"\n", "labels is \"bot\": "),
        (
            "labels = [\"a,b\"]\n",
            "labels holds \"a,b\": a name has 1 to 50 bytes and no comma",
        ),
        ("reviewers = [\"\"]\n", "reviewers holds \"\": "),
        (
            "target = \"push_to_pr_branch\"\n",
            "target is \"push_to_pr_branch\", this hub does \"stacked_pr\" alone: write that",
        ),
        ("fixers.version = [\"1\"]\n", "fixers.version is [\"1\"]: "),
        ("paths.allow = 1\n", "paths.allow is 1: "),
    ] {
        let wishes = Wishes::parse(text);
        assert!(
            wishes.problems.iter().any(|problem| problem.starts_with(said)),
            "{text}{:?}",
            wishes.problems
        );
        assert!(!wishes.enabled, "{text}");
    }
    let wishes =
        Wishes::parse("budgets = { week = 1 }\n[[freeze]]\ncron = \"0 0 1 1 *\"\nduration = \"1 d\"\nname = \"x\"\n");
    assert_eq!(
        wishes.problems,
        [
            "budgets.week is no key of .patchbot.toml",
            "freeze[0].name is no key of .patchbot.toml"
        ]
    );
    assert!(wishes.enabled);
}
