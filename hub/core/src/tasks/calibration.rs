//! How likely a repair is to be merged: what became of earlier ones, the nearer the more.
//!
//! An outcome of the same repository and fixer counts whole, one of the same fixer elsewhere half, one of the same category a quarter;
//! below them lies a prior from published rates. What is decided on is the lower bound that holds with 90 %, never the mean, and
//! never an agent's own number.
//!
//! Labels: merged is a success; red checks at our commit, a revert, and a close with an explicit no are failures; a close without a
//! word is a failure of weight 0.36, because only so many of those were the patch's fault (arXiv 2605.22534). What was overtaken
//! counts for nothing.

use std::collections::VecDeque;

use policy_trust::beta::lower_bound;
use policy_trust::score::{Joined, Scores, scores};
use serde::{Deserialize, Serialize};
use wire::time::Wall;

use super::record::{Label, Task};

/// Outcomes that the prior is worth.
const PRIOR_WEIGHT: f64 = 20.0;
/// Weight of a close without a word.
const SILENT: f64 = 0.36;

/// The chance that a repair is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chance {
    /// It is at least so, with 90 %, in hundredths of a percent.
    pub at_least_bp: u16,
    /// The mean, in hundredths of a percent.
    pub mean_bp: u16,
    /// Outcomes behind it.
    pub outcomes: u32,
}

/// Rates at which such repairs are accepted. Sources: formatters and safe lint rules by the vendors' own figures, lock files by
/// dependency bots; the rest by AIDev (arXiv 2601.15195).
fn prior(category: &str) -> f64 {
    match category {
        "format" => 0.9,
        "lint" => 0.85,
        "lockfile" | "generated" => 0.7,
        "test" => 0.15,
        _ => 0.25,
    }
}

/// Success and weight of a label.
fn weighed(label: Label) -> (bool, f64) {
    match label {
        Label::Merged => (true, 1.0),
        Label::Red | Label::Reverted | Label::Rejected => (false, 1.0),
        Label::Closed => (false, SILENT),
    }
}

/// The chance of a repair of this kind, from what became of `tasks`.
pub fn chance<'a>(category: &str, fixer: &str, repository: &str, tasks: impl Iterator<Item = &'a Task>) -> Chance {
    let fixer = name_of(fixer);
    let prior = prior(category);
    let (mut successes, mut failures, mut outcomes) = (PRIOR_WEIGHT * prior, PRIOR_WEIGHT * (1.0 - prior), 0);
    for task in tasks {
        let (Some(label), Some(proposal)) = (task.label, &task.proposal) else {
            continue;
        };
        let near = if proposal.category != category {
            continue;
        } else if name_of(&proposal.fixer) != fixer {
            0.25
        } else if task.repository != repository {
            0.5
        } else {
            1.0
        };
        let (is_success, weight) = weighed(label);
        *(if is_success { &mut successes } else { &mut failures }) += near * weight;
        outcomes += 1;
    }
    // The bound's own prior is flat: one success and one failure.
    let at_least = lower_bound(successes - 1.0, failures - 1.0, 0.1);
    Chance {
        at_least_bp: hundredths(at_least),
        mean_bp: hundredths(successes / (successes + failures)),
        outcomes,
    }
}

/// `ruff-check` of `ruff-check 0.17.6`.
fn name_of(fixer: &str) -> &str {
    fixer.split(' ').next().unwrap_or(fixer)
}

fn hundredths(chance: f64) -> u16 {
    // In 0..=1 by construction.
    (chance.clamp(0.0, 1.0) * 10_000.0).round() as u16
}

/// How well the chances that were given agree with what came: Brier score, calibration error and more. `None` before the first outcome.
pub fn reliability<'a>(tasks: impl Iterator<Item = &'a Task>, now: Wall) -> Option<Scores> {
    let joined: VecDeque<Joined> = tasks
        .filter_map(|task| {
            let (came_true, weight) = weighed(task.label?);
            Some(Joined {
                claim_bp: task.chance?.mean_bp,
                came_true,
                harmful: false,
                share: (weight * 100.0) as u8,
                at_ms: task.updated_at.0.unsigned_abs(),
            })
        })
        .collect();
    scores(&joined, now.0.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::task;
    use super::super::record::Proposal;
    use super::*;

    fn ended(id: usize, repository: &str, fixer: &str, label: Label) -> Task {
        let mut task = task(&id.to_string(), repository, "main", 0);
        task.label = Some(label);
        task.proposal = Some(Proposal {
            certificate: String::new(),
            fixer: fixer.to_owned(),
            files: Vec::new(),
            category: "lint".to_owned(),
            tool: "ruff".to_owned(),
            fingerprint: String::new(),
            branch: String::new(),
        });
        task
    }

    fn after(labels: &[(Label, usize)], repository: &str) -> Chance {
        let labels = labels
            .iter()
            .flat_map(|(label, times)| std::iter::repeat_n(*label, *times));
        let tasks: Vec<Task> = labels
            .enumerate()
            .map(|(id, label)| ended(id, "a/b", "ruff-check 0.1", label))
            .collect();
        chance("lint", "ruff-check 0.2", repository, tasks.iter())
    }

    #[test]
    fn without_outcomes_formatters_and_linters_may_propose_and_others_may_not() {
        let bound = |category: &str| chance(category, "x", "a/b", std::iter::empty()).at_least_bp;
        assert!(
            bound("format") >= 7_000 && bound("format") < 9_000,
            "{}",
            bound("format")
        );
        assert!(bound("lint") >= 7_000 && bound("lint") < 9_000, "{}", bound("lint"));
        for category in ["lockfile", "test", "build"] {
            assert!(bound(category) < 7_000, "{category}: {}", bound(category));
        }
    }

    #[test]
    fn outcomes_move_the_bound_and_the_nearer_ones_more() {
        let none = after(&[], "a/b").at_least_bp;
        let good = after(&[(Label::Merged, 60)], "a/b");
        assert!(good.at_least_bp >= 9_000 && good.outcomes == 60, "{good:?}");
        let elsewhere = after(&[(Label::Merged, 60)], "c/d");
        assert!(elsewhere.at_least_bp < good.at_least_bp && elsewhere.at_least_bp > none);
        let bad = after(&[(Label::Red, 10)], "a/b").at_least_bp;
        let silent = after(&[(Label::Closed, 10)], "a/b").at_least_bp;
        assert!(bad < silent && silent < none, "{bad} {silent} {none}");
        assert!(bad < 7_000);
    }

    #[test]
    fn what_was_said_is_held_against_what_came() {
        assert!(reliability(std::iter::empty(), Wall(0)).is_none());
        let mut tasks: Vec<Task> = (0..10).map(|id| ended(id, "a/b", "x", Label::Merged)).collect();
        for task in &mut tasks {
            task.chance = Some(Chance {
                at_least_bp: 7_000,
                mean_bp: 9_000,
                outcomes: 0,
            });
        }
        let scores = reliability(tasks.iter(), Wall(0)).expect("outcomes");
        assert!((scores.brier - 0.01).abs() < 1e-9 && (scores.calibration_error - 0.1).abs() < 1e-9);
    }
}
