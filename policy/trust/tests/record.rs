//! Stories of brains and their tiers, and what holds for every story.

use policy_trust::{Censored, Record, Seen, Tier, Why};
use proptest::collection::vec;
use proptest::prelude::*;

const HOUR_MS: u64 = 3_600_000;

#[test]
fn an_honest_brain_with_skill_rises_one_tier_at_a_time() {
    let mut story = Story::new();
    let mut tiers = vec![Tier::T0];
    for round in 0..400 {
        story.round(round);
        if story.tier() != tiers[tiers.len() - 1] {
            tiers.push(story.tier());
        }
    }
    assert_eq!(tiers, [Tier::T0, Tier::T1, Tier::T2, Tier::T3]);
}

#[test]
fn a_brain_that_claims_too_much_falls_to_the_lowest_tier_at_once() {
    let mut story = Story::new();
    story.record.grant(Tier::T3, "anna", 0);
    let fell =
        (0..40).find_map(|round| story.tell(9_000, if round % 5 < 3 { Seen::CameTrue } else { Seen::Failed }, false));
    let change = fell.expect("forty outcomes are enough");
    assert_eq!((change.from, change.to), (Tier::T3, Tier::T0));
    assert!(
        matches!(change.why, Why::Overconfident { evidence, outcomes } if evidence >= policy_trust::alarm::ALARM && outcomes < 40)
    );
}

/// Claims of nine in ten, and outcomes from a generator of its own for each brain: the same numbers on every machine.
#[test]
fn liars_fall_within_fifteen_outcomes_and_hardly_an_honest_brain_ever_does() {
    let mut fell: Vec<u32> = (0..400).filter_map(|seed| fell_after(seed, 0.6)).collect();
    assert_eq!(fell.len(), 400, "each of them is found");
    fell.sort_unstable();
    assert!(fell[200] <= 15, "the median one after {}", fell[200]);
    let honest = (0..1_000).filter(|seed| fell_after(*seed, 0.9).is_some()).count();
    assert!(
        honest <= 25,
        "{honest} of 1,000 honest ones fell, many of which rose to the highest tier before"
    );
}

/// After how many of 400 outcomes a brain that claims nine in ten falls to the lowest tier.
fn fell_after(seed: u64, truth: f64) -> Option<u32> {
    let mut story = Story::new();
    story.record.grant(Tier::T2, "anna", 0);
    let mut state = seed;
    (1..=400).find(|_| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        story.tell(9_000, if share < truth { Seen::CameTrue } else { Seen::Failed }, false);
        story.tier() == Tier::T0
    })
}

#[test]
fn two_harmful_actions_in_a_day_cost_one_tier_and_two_in_a_month_do_not() {
    let mut story = Story::new();
    story.record.grant(Tier::T2, "anna", 0);
    story.tell(5_000, Seen::CameTrue, true);
    story.now_ms += 30 * 24 * HOUR_MS;
    story.tell(5_000, Seen::CameTrue, true);
    assert_eq!(story.tier(), Tier::T2);
    let change = story
        .tell(5_000, Seen::CameTrue, true)
        .expect("the second within a day");
    assert_eq!((change.to, change.why), (Tier::T1, Why::Harm));
}

#[test]
fn a_new_model_starts_a_tier_lower_and_inherits_little() {
    let mut story = Story::new();
    for round in 0..400 {
        story.round(round);
    }
    let before = story.scores().effective;
    story.model = "2".to_owned();
    story.tell(9_500, Seen::CameTrue, false);
    assert_eq!(story.tier(), Tier::T2);
    assert!(before > 150.0);
    let weight: f64 = story.scores().bins.iter().map(|bin| bin.weight).sum();
    assert!(weight <= 11.0, "{weight}");
}

#[test]
fn what_our_own_action_prevented_is_neither_hit_nor_miss() {
    let mut story = Story::new();
    for _ in 0..100 {
        story.tell(9_900, Seen::Censored(Censored::ByAction), false);
    }
    let standing = story.record.standing(story.now_ms);
    assert_eq!(
        (standing.scores, standing.censored, standing.evidence_over),
        (None, 100, 1.0)
    );
}

#[test]
fn a_claim_is_worth_what_such_claims_were_worth() {
    let mut story = Story::new();
    assert!(story.calibrated(9_000).at_least < 0.2, "nothing is known yet");
    for round in 0..200u32 {
        story.tell(
            9_000,
            if round.is_multiple_of(2) {
                Seen::CameTrue
            } else {
                Seen::Failed
            },
            false,
        );
    }
    let worth = story.calibrated(9_000);
    assert!((worth.chance - 0.5).abs() < 0.03 && worth.at_least > 0.4, "{worth:?}");
}

#[test]
fn scores_agree_with_numbers_worked_out_by_hand() {
    let mut story = Story::new();
    for (claim_bp, seen) in [
        (8_000, Seen::CameTrue),
        (8_000, Seen::Failed),
        (2_000, Seen::Failed),
        (2_000, Seen::Failed),
    ] {
        story.take(claim_bp, seen, false);
    }
    let scores = story.scores();
    // (0.04 + 0.64 + 0.04 + 0.04) / 4, against a base rate of a quarter.
    assert!((scores.brier - 0.19).abs() < 1e-12 && (scores.base_rate - 0.25).abs() < 1e-12);
    assert!((scores.skill.expect("both were seen") - (1.0 - 0.19 / 0.1875)).abs() < 1e-12);
    let log_loss = -(0.8f64.ln() + 0.2f64.ln() + 2.0 * 0.8f64.ln()) / 4.0;
    assert!((scores.log_loss - log_loss).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_story_keeps_its_numbers_within_bounds(
        rounds in vec((0..=10_000u16, 0..4u8, any::<bool>(), 0..200 * HOUR_MS, 0..3u8), 0..300),
    ) {
        let mut story = Story::new();
        for (claim_bp, seen, harmful, pause, model) in rounds {
            story.now_ms += pause;
            story.model = model.to_string();
            let before = story.tier();
            let seen = match seen { 0 | 1 => Seen::CameTrue, 2 => Seen::Failed, _ => Seen::Censored(Censored::ByGap) };
            story.tell(claim_bp, seen, harmful);
            prop_assert!(story.tier() <= before.above().unwrap_or(before), "more than one step up");
            let worth = story.calibrated(claim_bp);
            prop_assert!((0.0..=1.0).contains(&worth.at_least) && worth.at_least <= worth.chance && worth.chance <= 1.0, "{worth:?}");
            let standing = story.record.standing(story.now_ms);
            prop_assert!(standing.changes.len() <= 16);
            if let Some(scores) = standing.scores {
                prop_assert!((0.0..=1.0).contains(&scores.brier) && scores.log_loss.is_finite());
                prop_assert!(scores.effective <= scores.count as f64 + 1e-6 && scores.count <= 400);
                prop_assert!(scores.bins.len() <= 10 && (0.0..=1.0).contains(&scores.calibration_error));
            }
        }
        let bytes = postcard::to_allocvec(&story.record).expect("plain data");
        prop_assert!(bytes.len() < 16 * 1024, "{} bytes", bytes.len());
        let read: Record = postcard::from_bytes(&bytes).expect("the bytes just written");
        prop_assert!(read == story.record, "the stored record is another one");
    }
}

struct Story {
    record: Record,
    now_ms: u64,
    model: String,
}

impl Story {
    fn new() -> Self {
        Self {
            record: Record::new("1", 0),
            now_ms: 0,
            model: "1".to_owned(),
        }
    }

    /// A prediction and its outcome, an hour later.
    fn tell(&mut self, claim_bp: u16, seen: Seen, harmful: bool) -> Option<policy_trust::Change> {
        self.now_ms += HOUR_MS;
        self.take(claim_bp, seen, harmful)
    }

    fn take(&mut self, claim_bp: u16, seen: Seen, harmful: bool) -> Option<policy_trust::Change> {
        self.record.predicted(&self.model, self.now_ms);
        self.record.outcome(claim_bp, seen, harmful, self.now_ms)
    }

    /// Claims of 95 % and 5 % in turn, each true 19 times in 20.
    fn round(&mut self, round: u32) {
        let (claim_bp, expected) = if round.is_multiple_of(2) {
            (9_500, true)
        } else {
            (500, false)
        };
        let came_true = expected != (round / 2 % 20 == 7);
        self.tell(claim_bp, if came_true { Seen::CameTrue } else { Seen::Failed }, false);
    }

    fn tier(&self) -> Tier {
        self.record.tier()
    }

    fn scores(&self) -> policy_trust::Scores {
        let standing = self.record.standing(self.now_ms);
        standing.scores.expect("there are outcomes")
    }

    fn calibrated(&self, claim_bp: u16) -> policy_trust::Calibrated {
        self.record.calibrated(claim_bp, self.now_ms)
    }
}
