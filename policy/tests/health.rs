//! Health scores: bounded, monotone, unmoved by order and by missing data, capped at once, smoothed slowly upwards.
#![allow(clippy::unwrap_used)]

use policy::health::{Age, Band, Cap, Component, Course, Health, device, node, recurrence_bp};
use proptest::prelude::*;

const CAPS: [(Cap, u16); 4] = [
    (Cap::Critical, 0),
    (Cap::Pending, 3_000),
    (Cap::Throttling, 6_000),
    (Cap::None, 10_000),
];

/// The recommended weights.
const WEIGHTS: [u16; 7] = [2_500, 1_500, 1_500, 1_000, 1_500, 1_000, 1_000];

fn of(values: [Option<i64>; 7]) -> Health {
    let components: Vec<_> = WEIGHTS
        .iter()
        .zip(values)
        .map(|(weight, value)| Component {
            weight_bp: *weight,
            good: 0,
            bad: 100,
            value,
        })
        .collect();
    device(&components, Cap::None)
}

#[test]
fn the_score_is_the_weighted_mean_of_what_is_known() {
    let all = Some(0);
    for (values, expected) in [
        ([all; 7], Health::Score(10_000)),
        ([Some(100), all, all, all, all, all, all], Health::Score(7_500)),
        ([Some(50), Some(50), all, all, all, all, all], Health::Score(8_000)),
        // Unknown memory integrity leaves 75 %, of which all is well; with the link it is 60 %, and nothing is said.
        ([None, all, all, all, all, all, all], Health::Score(10_000)),
        ([None, None, all, all, all, all, all], Health::Unknown),
        // 70 % are enough.
        ([all, all, all, all, None, None, all], Health::Score(10_000)),
        ([Some(-5), Some(1_000), all, all, all, all, all], Health::Score(8_500)),
    ] {
        assert_eq!(of(values), expected, "{values:?}");
    }
}

#[test]
fn smoothing_has_its_time_constants() {
    let after = |from: u16, to: u16, ms: u64| {
        let mut course = Course::default();
        course.observe(Health::Score(from), Cap::None, 1_000_000);
        course.observe(Health::Score(to), Cap::None, 1_000_000 + ms);
        course.score_bp().unwrap()
    };
    for (from, to, ms, expected) in [
        (10_000, 0, 15_000, 3_679),
        (10_000, 0, 30_000, 1_353),
        (0, 10_000, 600_000, 6_321),
        (0, 10_000, 15_000, 247),
        (5_000, 5_000, 9_000, 5_000),
        (10_000, 0, 0, 10_000),
    ] {
        assert_eq!(after(from, to, ms), expected, "{from} to {to} after {ms} ms");
    }
}

/// Observes a score once a second and notes each change of band with its second.
fn bands(steps: &[(u16, Cap, u64)]) -> String {
    let (mut course, mut at, mut seen, mut text) = (Course::default(), 0u64, None, Vec::new());
    for (score, cap, seconds) in steps {
        for _ in 0..*seconds {
            course.observe(Health::Score(*score), *cap, at * 1_000);
            if course.band() != seen {
                seen = course.band();
                text.push(format!("{at} s {:?}", seen.unwrap()));
            }
            at += 1;
        }
    }
    text.join(", ")
}

#[test]
fn a_band_is_left_after_a_minute_and_a_fault_counts_at_once() {
    // Below 80 after 8 s, and for a minute.
    assert_eq!(
        bands(&[(9_500, Cap::None, 10), (5_500, Cap::None, 100)]),
        "0 s Healthy, 77 s Degraded"
    );
    // A dip of ten seconds is nothing.
    assert_eq!(
        bands(&[
            (9_500, Cap::None, 10),
            (7_500, Cap::None, 10),
            (9_500, Cap::None, 2_000)
        ]),
        "0 s Healthy"
    );
    assert_eq!(
        bands(&[(9_500, Cap::None, 10), (9_500, Cap::Critical, 1)]),
        "0 s Healthy, 10 s Failed"
    );
    assert_eq!(
        bands(&[(9_500, Cap::None, 10), (9_500, Cap::Throttling, 1)]),
        "0 s Healthy, 10 s Degraded"
    );
    // Back from throttling: 60 rises to 90 within 20 minutes, and is seen there for a minute.
    let back = bands(&[(9_500, Cap::Throttling, 10), (9_500, Cap::None, 3_000)]);
    assert_eq!(back, "0 s Degraded, 1236 s Healthy");
}

#[test]
fn what_is_not_known_moves_nothing_and_a_fault_still_counts() {
    let mut course = Course::default();
    course.observe(Health::Unknown, Cap::Critical, 0);
    assert_eq!((course.score_bp(), course.band()), (None, None));
    course.observe(Health::Score(4_000), Cap::None, 1_000);
    for second in 2..5_000 {
        course.observe(Health::Unknown, Cap::None, second * 1_000);
    }
    assert_eq!((course.score_bp(), course.band()), (Some(4_000), Some(Band::Suspect)));
    course.observe(Health::Score(10_000), Cap::None, 5_000_000);
    assert!(
        course.score_bp().unwrap() < 4_100,
        "an hour of silence is no hour of health: {course:?}"
    );
    course.observe(Health::Unknown, Cap::Critical, 5_001_000);
    assert_eq!((course.score_bp(), course.band()), (Some(0), Some(Band::Failed)));
}

#[test]
fn remediations_are_forgotten_by_halves() {
    const WEEK: u64 = 7 * 86_400_000;
    for (ages, expected) in [
        (vec![], 10_000),
        (vec![0], 6_667),
        (vec![WEEK], 8_000),
        (vec![0, 0], 5_000),
        (vec![WEEK, WEEK], 6_667),
        (vec![u64::MAX], 10_000),
    ] {
        assert_eq!(recurrence_bp(&ages), expected, "{ages:?}");
    }
}

#[test]
fn old_samples_are_unknown_and_then_dropped() {
    for (age, expected) in [
        (0, Age::Known),
        (3_000, Age::Known),
        (3_001, Age::Unknown),
        (10_000, Age::Unknown),
        (10_001, Age::Dropped),
    ] {
        assert_eq!(Age::of(age, 1_000), expected, "{age}");
    }
    assert_eq!(Age::of(u64::MAX, u64::MAX), Age::Known);
}

#[test]
fn a_node_is_as_healthy_as_its_worst_part() {
    let score = Health::Score;
    let check = |devices: &[Health], host, worst, usable_bp| {
        let found = node(devices, host);
        assert_eq!((found.worst, found.usable_bp), (worst, usable_bp), "{devices:?}");
    };
    check(&[score(9_000), score(2_000)], score(9_500), score(2_000), 5_000);
    check(&[score(9_000), score(9_000)], score(4_000), score(4_000), 10_000);
    check(
        &[score(9_000), Health::Unknown, score(6_000)],
        score(9_500),
        Health::Unknown,
        6_666,
    );
    check(&[], score(9_500), score(9_500), 0);
}

fn component() -> impl Strategy<Value = Component> {
    (
        1u16..3_000,
        any::<i64>(),
        any::<i64>(),
        prop::option::weighted(0.9, any::<i64>()),
    )
        .prop_map(|(weight_bp, good, bad, value)| Component {
            weight_bp,
            good,
            bad,
            value,
        })
}

fn step() -> impl Strategy<Value = (Option<u16>, usize, u64)> {
    (
        prop::option::weighted(0.9, 0u16..10_001),
        prop_oneof![8 => Just(3usize), 1 => 0usize..4],
        0u64..120_000,
    )
}

fn health(score: Option<u16>) -> Health {
    score.map_or(Health::Unknown, Health::Score)
}

proptest! {
    #[test]
    fn any_components_have_a_score_within_bounds_and_cap(mut parts in prop::collection::vec(component(), 0..10), turn in 0usize..10) {
        for (cap, most) in CAPS {
            let found = device(&parts, cap);
            if let Health::Score(score) = found {
                prop_assert!(score <= most, "{score} with {cap:?}");
            }
            let len = parts.len().max(1);
            parts.rotate_left(turn % len);
            parts.reverse();
            prop_assert_eq!(device(&parts, cap), found);
        }
    }

    #[test]
    fn a_component_nearer_to_bad_never_raises_the_score(
        parts in prop::collection::vec((1u16..3_000, -1_000i64..1_000, -1_000i64..1_000, -1_000i64..1_000), 1..8),
        place in 0usize..8,
        worse in 0i64..500,
    ) {
        let mut parts: Vec<_> = parts
            .iter()
            .map(|(weight_bp, good, bad, value)| Component { weight_bp: *weight_bp, good: *good, bad: *bad, value: Some(*value) })
            .collect();
        let before = device(&parts, Cap::None);
        let place = place % parts.len();
        let part = &mut parts[place];
        let towards_bad = (part.bad - part.good).signum();
        prop_assume!(towards_bad != 0);
        part.value = part.value.map(|value| value + towards_bad * worse);
        let (Health::Score(before), Health::Score(after)) = (before, device(&parts, Cap::None)) else {
            return Err(TestCaseError::fail("all is known"));
        };
        prop_assert!(after <= before);
    }

    #[test]
    fn the_course_is_bounded_capped_and_between_what_was_and_what_is(steps in prop::collection::vec(step(), 1..60)) {
        let (mut course, mut now) = (Course::default(), 0);
        for (score, cap, passed) in steps {
            now += passed;
            let before = course.score_bp();
            let (cap, most) = CAPS[cap];
            course.observe(health(score), cap, now);
            let Some(after) = course.score_bp() else { continue };
            prop_assert!(after <= most);
            if let (Some(before), Some(score)) = (before, score) {
                let (before, score) = (before.min(most), score.min(most));
                prop_assert!(after + 1 >= before.min(score) && after <= before.max(score) + 1, "{before} -> {after} towards {score}");
            } else if let Some(before) = before {
                prop_assert_eq!(after, before.min(most));
            }
        }
    }

    #[test]
    fn better_observations_never_make_a_worse_course(steps in prop::collection::vec((0u16..10_001, 0u16..3_000, 0u64..120_000), 1..60)) {
        let (mut worse, mut better, mut now) = (Course::default(), Course::default(), 0);
        for (score, more, passed) in steps {
            now += passed;
            worse.observe(Health::Score(score), Cap::None, now);
            better.observe(Health::Score(score.saturating_add(more).min(10_000)), Cap::None, now);
            prop_assert!(better.score_bp() >= worse.score_bp());
        }
    }

    #[test]
    fn a_component_that_falls_silent_makes_no_jump(values in prop::array::uniform7(0i64..101), silent in 0usize..7) {
        let known = values.map(Some);
        let mut missing = known;
        missing[silent] = None;
        let mut course = Course::default();
        course.observe(of(known), Cap::None, 0);
        let before = course.score_bp().unwrap();
        course.observe(of(missing), Cap::None, 1_000);
        let after = course.score_bp().unwrap();
        // A second moves the score by at most 1 - e^(-1/15) of the way down, and hardly up.
        prop_assert!(before.saturating_sub(after) <= 650 && after.saturating_sub(before) <= 17, "{before} -> {after}");
    }

    #[test]
    fn many_small_steps_are_one_large_step(from in 0u16..10_001, to in 0u16..10_001, steps in 1u64..200) {
        let course = |parts: u64| {
            let mut course = Course::default();
            course.observe(Health::Score(from), Cap::None, 0);
            for part in 1..=parts {
                course.observe(Health::Score(to), Cap::None, part * (steps * 1_000 / parts));
            }
            course.score_bp().unwrap()
        };
        prop_assert!(course(steps).abs_diff(course(1)) <= 1);
    }
}
