//! Bugs planted on purpose: a simulation that does not find them within CI's seeds proves nothing.

use testbed_sim::{CI_SEEDS, CI_WORLD, Planted, Swarm, run};

/// The first of CI's seeds that finds the bug, and what it says.
fn hunt(planted: Planted, neighbours: bool) -> Option<(u64, String)> {
    (0..CI_SEEDS).find_map(|seed| {
        let swarm = Swarm::of_seed(seed, CI_WORLD.0, CI_WORLD.1);
        let swarm = if neighbours { swarm.with_neighbours() } else { swarm };
        run(seed, swarm, planted).err().map(|wrong| (seed, wrong))
    })
}

/// Bugs that need neighbours in touch, or policy that ages within minutes.
const AMONG_NEIGHBOURS: [&str; 10] = [
    "old-beacon",
    "equal-generation",
    "keep-authority",
    "share-by-session",
    "share-by-process",
    "trust-again",
    "endless-gifts",
    "skip-on-move",
    "fresh-by-peers",
    "note-strangers",
];

fn check(name: &str, invariant: &str) {
    check_any(name, &[invariant]);
}

/// A bug that breaks several promises is found by whichever breaks first.
fn check_any(name: &str, invariants: &[&str]) {
    let known = Planted::ALL.into_iter().find(|(known, _)| *known == name);
    let (_, planted) = known.expect("a planted bug");
    let (seed, wrong) =
        hunt(planted, AMONG_NEIGHBOURS.contains(&name)).unwrap_or_else(|| panic!("no seed finds {name}"));
    println!("{name}: seed {seed}: {wrong}");
    let is_told = invariants.iter().any(|invariant| wrong.contains(invariant));
    assert!(is_told, "{name}: {wrong}");
}

#[test]
fn an_ack_before_the_commit_is_found() {
    check_any("ack-before-commit", &["D3", "D5"]);
}

#[test]
fn a_commit_that_nobody_knows_of_and_that_is_called_failed_is_found() {
    check_any("unknown-is-failed", &["D1", "D3"]);
}

#[test]
fn an_act_before_the_append_is_found() {
    check("act-before-append", "A1");
}

#[test]
fn a_skipped_floor_is_found() {
    check("skip-floor", "T2");
}

#[test]
fn an_epoch_used_again_is_found() {
    check("reuse-epoch", "D4");
}

#[test]
fn a_command_applied_twice_is_found() {
    check("command-twice", "A2");
}

#[test]
fn an_action_repeated_after_a_crash_is_found() {
    check("repeat-blindly", "A2");
}

#[test]
fn telemetry_shed_without_a_gap_is_found() {
    check("shed-silently", "D2");
}

#[test]
fn budgets_forgotten_by_a_restart_are_found() {
    check("forget-budgets", "A3");
}

#[test]
fn a_turn_that_was_not_given_is_found() {
    check_any("take-turn", &["A5", "A6"]);
}

#[test]
fn an_old_beacon_that_makes_policy_fresh_is_found() {
    check_any("old-beacon", &["T3", "T5"]);
}

#[test]
fn another_bundle_of_the_same_generation_is_found() {
    check("equal-generation", "T4");
}

#[test]
fn a_hold_that_a_restart_forgets_is_found() {
    check("forget-hold", "H1");
}

#[test]
fn authority_that_outlives_its_policy_is_found() {
    check("keep-authority", "A9");
}

#[test]
fn a_share_that_begins_anew_with_each_session_is_found() {
    check("share-by-session", "M3");
}

#[test]
fn a_share_that_begins_anew_with_each_process_is_found() {
    check("share-by-process", "M3");
}

#[test]
fn a_carrier_that_is_trusted_again_at_once_is_found() {
    check("trust-again", "M5");
}

#[test]
fn gifts_without_a_bound_are_found() {
    check("endless-gifts", "M6");
}

#[test]
fn entries_that_are_forgotten_when_a_session_moves_are_found() {
    check_any("skip-on-move", &["D1", "D2", "D3", "D5", "V1"]);
}

#[test]
fn policy_that_neighbours_words_make_fresh_is_found() {
    check_any("fresh-by-peers", &["T3", "T5"]);
}

#[test]
fn a_trace_of_what_a_neighbour_passed_on_in_vain_is_found() {
    check("note-strangers", "M4");
}

#[test]
fn a_step_asked_for_again_after_a_crash_of_the_hub_is_found() {
    check_any("repeat-steps", &["P1", "P2"]);
}

#[test]
fn plans_that_a_restarted_hub_leaves_alone_are_found() {
    check("leave-plans", "P6");
}

#[test]
fn an_outcome_that_counts_twice_is_found() {
    check("count-twice", "P5");
}
