//! Stories of brains and their tiers, and what holds for every story.

use policy_trust::{Censored, Ledger, MOST_OPEN, Prediction, Refused, Seen, Tier, Told, Why};
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
    story.ledger.grant("augur", "power_cap", Tier::T3, "anna", 0);
    let fell =
        (0..40).find_map(|round| story.tell(9_000, if round % 5 < 3 { Seen::CameTrue } else { Seen::Failed }, false));
    let change = fell.expect("forty outcomes are enough");
    assert_eq!((change.from, change.to), (Tier::T3, Tier::T0));
    assert!(matches!(change.why, Why::Overconfident { evidence, outcomes } if evidence >= 20.0 && outcomes < 40));
}

#[test]
fn two_harmful_actions_in_a_day_cost_one_tier_and_two_in_a_month_do_not() {
    let mut story = Story::new();
    story.ledger.grant("augur", "power_cap", Tier::T2, "anna", 0);
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
    let standing = story
        .ledger
        .standing("augur", "power_cap", story.now_ms)
        .expect("it predicted");
    assert_eq!(
        (standing.scores, standing.censored, standing.evidence_over),
        (None, 100, 1.0)
    );
}

#[test]
fn an_outcome_told_twice_counts_once_and_one_without_prediction_for_nothing() {
    let mut story = Story::new();
    story.tell(9_000, Seen::Failed, false);
    let before = story.ledger.clone();
    assert_eq!(
        story.ledger.outcome("p1", Seen::Failed, false, story.now_ms),
        Told::Again
    );
    assert_eq!(
        story.ledger.outcome("p2", Seen::Failed, false, story.now_ms),
        Told::Unknown
    );
    let again = story.ledger.predicted(story.prediction("p1", 9_000), story.now_ms);
    assert_eq!(again, Err(Refused::Twice { id: "p1".to_owned() }));
    assert_eq!(story.ledger, before);
}

#[test]
fn outcomes_that_never_come_are_lost_after_three_horizons_and_counted() {
    let mut story = Story::new();
    for id in 0..60 {
        let prediction = story.prediction(&format!("open{id}"), 9_000);
        story.ledger.predicted(prediction, 0).expect("a new id");
    }
    assert_eq!(story.ledger.due_ms(), Some(180_000));
    assert!(story.ledger.expire(179_999).is_empty());
    assert_eq!(story.ledger.expire(180_000).len(), 60);
    let standing = story
        .ledger
        .standing("augur", "power_cap", 180_000)
        .expect("it predicted");
    assert!(standing.lost == 60 && standing.loses_too_many);
    assert_eq!(
        story.ledger.outcome("open0", Seen::CameTrue, false, 200_000),
        Told::Unknown
    );
}

#[test]
fn a_flooding_brain_is_refused_and_others_are_not() {
    let mut story = Story::new();
    for id in 0..MOST_OPEN {
        let prediction = story.prediction(&format!("open{id}"), 9_000);
        story.ledger.predicted(prediction, 0).expect("there is room");
    }
    let more = story.prediction("more", 9_000);
    assert_eq!(
        story.ledger.predicted(more.clone(), 0),
        Err(Refused::Flood {
            brain: "augur".to_owned()
        })
    );
    let other = Prediction {
        brain: "other".to_owned(),
        ..more
    };
    assert_eq!(story.ledger.predicted(other, 0), Ok(None));
}

#[test]
fn names_and_claims_out_of_bounds_are_refused_by_name() {
    let story = Story::new();
    let refuse = |prediction| {
        Ledger::default()
            .predicted(prediction, 0)
            .expect_err("out of bounds")
            .to_string()
    };
    let good = story.prediction("p", 9_000);
    assert_eq!(
        refuse(Prediction {
            id: String::new(),
            ..good.clone()
        }),
        "id has 0 bytes, it takes 1 to 128"
    );
    assert_eq!(
        refuse(Prediction {
            verb: "v".repeat(129),
            ..good.clone()
        }),
        "verb has 129 bytes, it takes 1 to 128"
    );
    let sure = Prediction {
        claim_bp: 10_001,
        ..good
    };
    assert_eq!(refuse(sure), "claim 10001 is more than 10000 hundredths of a percent");
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
        story.tell_at_once(claim_bp, seen);
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
            let standing = story.ledger.standing("augur", "power_cap", story.now_ms).expect("it predicted");
            prop_assert!(standing.changes.len() <= 16);
            if let Some(scores) = standing.scores {
                prop_assert!((0.0..=1.0).contains(&scores.brier) && scores.log_loss.is_finite());
                prop_assert!(scores.effective <= scores.count as f64 + 1e-6 && scores.count <= 400);
                prop_assert!(scores.bins.len() <= 10 && (0.0..=1.0).contains(&scores.calibration_error));
            }
        }
        let bytes = postcard::to_allocvec(&story.ledger).expect("plain data");
        let read: Ledger = postcard::from_bytes(&bytes).expect("the bytes just written");
        prop_assert!(read == story.ledger, "the stored ledger is another one");
    }
}

struct Story {
    ledger: Ledger,
    now_ms: u64,
    count: u32,
    model: String,
}

impl Story {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            now_ms: 0,
            count: 0,
            model: "1".to_owned(),
        }
    }

    fn prediction(&self, id: &str, claim_bp: u16) -> Prediction {
        Prediction {
            id: id.to_owned(),
            brain: "augur".to_owned(),
            model: self.model.clone(),
            verb: "power_cap".to_owned(),
            claim_bp,
            horizon_ms: 60_000,
        }
    }

    /// A prediction and its outcome, an hour later.
    fn tell(&mut self, claim_bp: u16, seen: Seen, harmful: bool) -> Option<policy_trust::Change> {
        self.now_ms += HOUR_MS;
        self.take(claim_bp, seen, harmful)
    }

    fn tell_at_once(&mut self, claim_bp: u16, seen: Seen) {
        self.take(claim_bp, seen, false);
    }

    fn take(&mut self, claim_bp: u16, seen: Seen, harmful: bool) -> Option<policy_trust::Change> {
        self.count += 1;
        let id = format!("p{}", self.count);
        self.ledger
            .predicted(self.prediction(&id, claim_bp), self.now_ms)
            .expect("a new id");
        match self.ledger.outcome(&id, seen, harmful, self.now_ms) {
            Told::Joined { change, .. } => change,
            told => panic!("{told:?}"),
        }
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
        self.ledger.tier("augur", "power_cap")
    }

    fn scores(&self) -> policy_trust::Scores {
        let standing = self.ledger.standing("augur", "power_cap", self.now_ms);
        standing
            .and_then(|standing| standing.scores)
            .expect("there are outcomes")
    }

    fn calibrated(&self, claim_bp: u16) -> policy_trust::Calibrated {
        self.ledger.calibrated("augur", "power_cap", claim_bp, self.now_ms)
    }
}
