//! `brain-trust`: how soon a brain that claims nine in ten and is right six times in ten loses its tier, and how often an honest one does.
//!
//! Counted in outcomes through the whole record, over many seeded brains. There is no peer: nobody else grades a predictor.

use policy_trust::{Record, Seen, Tier, Why};

use crate::report::{Figure, Goal, quantile};

/// Seeded brains of each kind.
const BRAINS: u64 = 1_000;
/// Outcomes of an honest brain in which it must not be demoted.
const OUTCOMES: u32 = 400;
const CLAIM_BP: u16 = 9_000;
const HOUR_MS: u64 = 3_600_000;

/// Runs it.
pub fn run() -> Result<Vec<Figure>, String> {
    let mut found: Vec<f64> = Vec::new();
    let mut false_alarms = 0;
    for seed in 0..BRAINS {
        let fell = demoted(seed, 0.6)?.ok_or("a brain that is right six times in ten was never demoted")?;
        found.push(f64::from(fell));
        false_alarms += u32::from(demoted(seed, 0.9)?.is_some());
    }
    let share = f64::from(false_alarms) * 100.0 / BRAINS as f64;
    Ok(vec![
        Figure::new("brain-trust", "outcomes", quantile(&mut found, 0.5), Goal::AtMost(15.0)),
        Figure::new("brain-trust-late", "outcomes", quantile(&mut found, 0.9), Goal::Known),
        Figure::new("brain-trust-false", "percent", share, Goal::AtMost(2.5)),
    ])
}

/// After how many outcomes a brain of the second tier falls to the lowest, if it does.
fn demoted(seed: u64, truth: f64) -> Result<Option<u32>, String> {
    let mut record = Record::new("1", 0);
    record.grant(Tier::T2, "bench", 0);
    let mut random = Random(seed);
    for count in 1..=OUTCOMES {
        let now_ms = u64::from(count) * HOUR_MS;
        record.predicted("1", now_ms);
        let seen = if random.share() < truth {
            Seen::CameTrue
        } else {
            Seen::Failed
        };
        match record.outcome(CLAIM_BP, seen, false, now_ms) {
            Some(change) if change.to == Tier::T0 => return Ok(Some(count)),
            Some(change) if !matches!(change.why, Why::Earned { .. }) => {
                return Err(format!(
                    "the tier became {} for another reason: {}",
                    change.to, change.why
                ));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// SplitMix64: the same seed gives the same brain.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
