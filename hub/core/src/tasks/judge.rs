//! What policy says of a repair: may it begin, may it be proposed, may it be merged without a person.
//!
//! The one judge of `policy` decides, on the rules of `policy/bundles/fixes.yaml` and on those of the published bundle; the stricter
//! verdict counts. Here its facts are counted, from stored tasks alone, so that the same tasks give the same verdict after a restart.
//!
//! Read next: `policy/bundles/fixes.yaml` (the rules), `calibration.rs` (how sure).

use std::sync::{Arc, LazyLock};

use policy::{Bundle, Decider, KINDS, Question};
use wire::decision::Verdict;
use wire::time::{Now, Wall};

use super::calibration::Chance;
use super::record::{Task, TaskState};

/// The rules that hold under every published bundle.
static RULES: LazyLock<Arc<Bundle>> = LazyLock::new(|| {
    let bundle = Bundle::parse(policy::FIXES_BUNDLE.as_bytes());
    Arc::new(bundle.expect("the tests of this file parse the same text"))
});

/// First rest after a failure.
const COOLDOWN_MS: i64 = 60 * 60_000;
/// Longest rest after failures.
const LONGEST_COOLDOWN_MS: i64 = 7 * 24 * 60 * 60_000;
/// An hour and a day.
const HOUR_MS: i64 = 60 * 60_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A step that policy is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An agent begins to work on it.
    Start,
    /// A pull request is opened.
    Propose,
    /// It is merged without a person.
    Merge,
}

impl Step {
    /// The word in bundles, JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start_fix",
            Self::Propose => "propose_fix",
            Self::Merge => "merge_fix",
        }
    }
}

/// What policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The stricter verdict of both bundles.
    pub verdict: Verdict,
    /// The rule that gave it; empty when all allow.
    pub rule: String,
    /// A stable code; empty when it may go on.
    pub code: String,
}

impl Judged {
    /// Whether it may go on.
    pub fn runs(&self) -> bool {
        self.verdict.runs()
    }

    /// The repository's owner wants to be surer than the rules do: a person decides.
    pub(super) fn less_than_the_owner_wants() -> Self {
        Self {
            verdict: Verdict::RequireApproval,
            rule: super::wishes::FILE.to_owned(),
            code: "low_confidence".to_owned(),
        }
    }
}

/// Numbers that rules look at, by the names that bundles use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    running: i64,
    other_repositories: i64,
    last_hour: i64,
    last_day: i64,
    since_failure_ms: Option<i64>,
    cooldown_ms: i64,
    merge_wanted: i64,
    chance: Option<Chance>,
}

impl Facts {
    /// Counts what `tasks` say of a step of `task`.
    pub fn count<'a>(task: &Task, tasks: impl Iterator<Item = &'a Task> + Clone, now: Wall) -> Self {
        let busy = tasks
            .clone()
            .filter(|one| matches!(one.state, TaskState::Leased | TaskState::Publishing));
        let others = busy.clone().filter(|one| one.id != task.id);
        let mut repositories: Vec<&str> = others
            .map(|one| one.repository.as_str())
            .filter(|repository| *repository != task.repository)
            .collect();
        repositories.sort_unstable();
        repositories.dedup();
        let started_within = |span: i64| {
            let begun = |one: &&Task| one.started_at.is_some_and(|at| now.0.saturating_sub(at.0) < span);
            count(tasks.clone().filter(begun).count())
        };
        let (since_failure_ms, failures) = failures_of(task, tasks.clone(), now);
        Self {
            running: count(busy.filter(|one| one.id != task.id).count()),
            other_repositories: count(repositories.len()),
            last_hour: started_within(HOUR_MS),
            last_day: started_within(DAY_MS),
            since_failure_ms,
            cooldown_ms: cooldown_ms(failures),
            merge_wanted: 0,
            chance: task.chance,
        }
    }

    /// The same, with the owner's wish to have it merged.
    #[must_use]
    pub fn with_merge_wanted(mut self, wanted: bool) -> Self {
        self.merge_wanted = i64::from(wanted);
        self
    }

    /// The chance as it is known now.
    pub fn set_chance(&mut self, chance: Chance) {
        self.chance = Some(chance);
    }

    fn named(&self) -> [(&'static str, Option<i64>); 9] {
        [
            ("fixes.running", Some(self.running)),
            ("fixes.other_repositories", Some(self.other_repositories)),
            ("fixes.last_hour", Some(self.last_hour)),
            ("fixes.last_day", Some(self.last_day)),
            ("fixes.since_failure_ms", self.since_failure_ms),
            ("fixes.cooldown_ms", Some(self.cooldown_ms)),
            ("fixes.merge_wanted", Some(self.merge_wanted)),
            (
                "prediction.p_lo_bp",
                self.chance.map(|chance| i64::from(chance.at_least_bp)),
            ),
            ("prediction.n", self.chance.map(|chance| i64::from(chance.outcomes))),
        ]
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How long ago the same check of the same repository last failed to be repaired, and how often in a row.
fn failures_of<'a>(task: &Task, tasks: impl Iterator<Item = &'a Task>, now: Wall) -> (Option<i64>, u32) {
    let same = |one: &&Task| one.id != task.id && one.repository == task.repository && one.check == task.check;
    let mut ended: Vec<(Wall, bool)> = tasks
        .filter(same)
        .filter_map(|one| Some((one.ended_at()?, one.has_failed()?)))
        .collect();
    ended.sort_unstable();
    let in_a_row = ended.iter().rev().take_while(|(_, failed)| *failed).count();
    let last = ended.last().filter(|(_, failed)| *failed);
    let since = last.map(|(at, _)| now.0.saturating_sub(at.0).max(0));
    (since, u32::try_from(in_a_row).unwrap_or(u32::MAX))
}

/// 60 minutes, doubled with each further failure in a row, up to 7 days.
fn cooldown_ms(failures: u32) -> i64 {
    let doublings = failures.saturating_sub(1).min(16);
    (COOLDOWN_MS << doublings).min(LONGEST_COOLDOWN_MS)
}

/// What policy says of a step now.
pub fn judge(step: Step, repository: &str, facts: &Facts, published: Option<&Arc<Bundle>>, now: Now) -> Judged {
    let own = ask(&RULES, step, repository, facts, now);
    let theirs = published
        .map(|bundle| ask(bundle, step, repository, facts, now))
        // A bundle that permits nothing of this kind says nothing about it: only its rules count.
        .filter(|judged| !judged.rule.is_empty());
    match theirs {
        Some(theirs) if theirs.verdict > own.verdict => theirs,
        _ => own,
    }
}

fn ask(bundle: &Arc<Bundle>, step: Step, repository: &str, facts: &Facts, now: Now) -> Judged {
    let mut decider = Decider::new(Arc::clone(bundle));
    for (name, value) in facts.named() {
        decider.set_fact(name, value);
    }
    let kind = KINDS.iter().position(|kind| kind.name == step.name());
    let answer = decider.ask(&Question {
        kind: kind.expect("the kinds of this subject are in the table"),
        source: SOURCE_HUB,
        target: repository,
        amount: None,
        now,
    });
    let rules = bundle.rules();
    let rule = answer.rule.and_then(|place| rules.get(usize::from(place)));
    let rule = rule.map(|rule| rule.id.clone()).unwrap_or_default();
    let is_freeze = bundle.freezes(now.wall).iter().any(|freeze| freeze.rule == rule);
    Judged {
        verdict: answer.verdict,
        code: if answer.verdict.runs() {
            String::new()
        } else {
            code(&rule, is_freeze)
        },
        rule,
    }
}

/// `reflex`, `brain`, `human`, `hub`: the order of the question.
const SOURCE_HUB: usize = 3;

/// The stable code of a rule that objects.
fn code(rule: &str, is_freeze: bool) -> String {
    match rule {
        _ if is_freeze => "frozen".to_owned(),
        "at-once" | "repositories" | "hour" | "day" => format!("budget({})", rule.replace('-', "_")),
        "cooldown" => "cooldown".to_owned(),
        "sure" => "low_confidence".to_owned(),
        other => format!("policy({other})"),
    }
}

#[cfg(test)]
mod tests {
    use wire::Mono;

    use super::super::queue::tests::task;
    use super::*;

    fn now(wall_ms: i64) -> Now {
        Now {
            mono: Mono(1_000),
            wall: Wall(wall_ms),
        }
    }

    fn sure(at_least_bp: u16) -> Facts {
        Facts {
            chance: Some(Chance {
                at_least_bp,
                mean_bp: at_least_bp,
                outcomes: 0,
            }),
            ..Facts::default()
        }
    }

    fn code_of(step: Step, facts: &Facts) -> String {
        judge(step, "a/b", facts, None, now(0)).code
    }

    #[test]
    fn a_pull_request_takes_70_percent_and_a_merge_90_and_a_wish() {
        for (bp, proposed, merged) in [
            (6_900, "low_confidence", "low_confidence"),
            (7_000, "", "low_confidence"),
            (8_900, "", "low_confidence"),
            (9_000, "", ""),
            (9_500, "", ""),
        ] {
            assert_eq!(code_of(Step::Propose, &sure(bp)), proposed, "{bp}");
            assert_eq!(code_of(Step::Merge, &sure(bp).with_merge_wanted(true)), merged, "{bp}");
        }
        assert_eq!(code_of(Step::Merge, &sure(9_500)), "policy(asked-for)");
        assert_eq!(code_of(Step::Propose, &Facts::default()), "low_confidence");
    }

    #[test]
    fn three_at_once_ten_repositories_fifty_an_hour() {
        let with = |change: fn(&mut Facts)| {
            let mut facts = Facts::default();
            change(&mut facts);
            code_of(Step::Start, &facts)
        };
        assert_eq!(with(|facts| facts.running = 2), "");
        assert_eq!(with(|facts| facts.running = 3), "budget(at_once)");
        assert_eq!(with(|facts| facts.other_repositories = 10), "budget(repositories)");
        assert_eq!(with(|facts| facts.last_hour = 49), "");
        assert_eq!(with(|facts| facts.last_hour = 50), "budget(hour)");
        assert_eq!(with(|facts| facts.last_day = 200), "budget(day)");
    }

    #[test]
    fn a_check_that_failed_rests_for_60_minutes_and_then_twice_as_long() {
        let failed_at = |minutes: &[i64]| -> Vec<Task> {
            let one = |(at, minutes): (usize, &i64)| {
                let mut task = task(&format!("t{at}"), "a/b", "main", 0);
                (task.check, task.state) = ("lint".to_owned(), TaskState::Dead);
                task.updated_at = Wall(minutes * 60_000);
                task
            };
            minutes.iter().enumerate().map(one).collect()
        };
        let mut fresh = task("new", "a/b", "main", 0);
        fresh.check = "lint".to_owned();
        let code = |failed: &[i64], minutes: i64| {
            let tasks = failed_at(failed);
            let at = now(minutes * 60_000);
            let facts = Facts::count(&fresh, tasks.iter(), at.wall);
            judge(Step::Start, "a/b", &facts, None, at).code
        };
        assert_eq!(code(&[100], 159), "cooldown");
        assert_eq!(code(&[100], 161), "");
        assert_eq!(code(&[100, 200], 319), "cooldown");
        assert_eq!(code(&[100, 200], 321), "");
        assert_eq!(cooldown_ms(40), LONGEST_COOLDOWN_MS);
    }

    #[test]
    fn a_published_freeze_holds_and_a_published_silence_does_not() {
        let bundle = |rules: &str| {
            let text = format!("bundle: x\npermits:\n  - kinds: [notify]\nrules:\n{rules}");
            Arc::new(Bundle::parse(text.as_bytes()).expect("a bundle"))
        };
        let quiet = bundle("  - { id: calm, kind: rate_limit, limit: 60, window: 1 h }\n");
        let judged = judge(Step::Propose, "a/b", &sure(8_000), Some(&quiet), now(0));
        assert!(judged.runs(), "{judged:?}");
    }
}
