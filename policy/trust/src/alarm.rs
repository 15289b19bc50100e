//! An alarm that may be looked at after every outcome: whether a brain claims more than comes true.
//!
//! A bet against the claims: while they are honest the wealth does not grow on average, whatever the claims are and whenever one
//! looks, and it passes [`ALARM`] with a chance of at most 1 in 40 (Ville's inequality). Six sizes of stake share the wealth,
//! so that a small lie is found as well as a large one.
//!
//! Each change of tier begins a new bet, so that a brain which changes with its tier is found as soon as ever: one that was honest for 150
//! outcomes and then claims nine in ten for six is found after 14 more in the middle of many, and after 44 where the bet goes on. But each
//! new bet is one more chance to be wrong. Of honest brains, the share that is suspected within 400 outcomes, and the outcomes until
//! one that claims 0.9 and is right in 0.6 is found:
//!
//! | alarm at | no promotion | one | three | found (median) |
//! |---|---|---|---|---|
//! | 20 | 2.1 % | 3.5 % | 5.7 % | 13 |
//! | 25 | 1.7 % | 2.8 % | 4.2 % | 13 |
//! | 40 | 1.1 % | 1.6 % | 2.6 % | 14 |
//!
//! 20 is right for one bet that never ends. With a bet for each tier, 40 keeps false alarms at 2.5 % (the bound of one bet) and still finds
//! that lie within 15 outcomes.

use serde::{Deserialize, Serialize};

/// The wealth at which a claim is no longer believed.
pub const ALARM: f64 = 40.0;
/// Below this a brain may still be promoted.
pub const CALM: f64 = 5.0;
const STAKES: [f64; 6] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0];
/// Wealth beyond this tells nothing more; it keeps products finite.
const MOST: f64 = 1e12;

/// The bet on over-confidence, and its mirror on under-confidence, which only informs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bet {
    over: [f64; 6],
    under: [f64; 6],
}

impl Default for Bet {
    fn default() -> Self {
        Self {
            over: [1.0; 6],
            under: [1.0; 6],
        }
    }
}

impl Bet {
    /// Takes a claim and what came of it.
    pub fn take(&mut self, claim: f64, came_true: bool) {
        let seen = if came_true { 1.0 } else { 0.0 };
        stake(&mut self.over, claim - seen, 1.0 - claim);
        stake(&mut self.under, seen - claim, claim);
    }

    /// How strong the evidence is that the claims are too high: 1 is none, [`ALARM`] is enough.
    pub fn over(&self) -> f64 {
        self.over.iter().sum::<f64>() / STAKES.len() as f64
    }

    /// How strong the evidence is that the claims are too low.
    pub fn under(&self) -> f64 {
        self.under.iter().sum::<f64>() / STAKES.len() as f64
    }
}

/// `risk` is the most that one outcome can take of a stake of 1; no stake can lose all.
fn stake(wealth: &mut [f64; 6], gain: f64, risk: f64) {
    for (wealth, stake) in wealth.iter_mut().zip(STAKES) {
        let stake = stake.min(0.99 / risk);
        *wealth = (*wealth * (1.0 + stake * gain)).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn claims_that_come_true_as_often_as_claimed_raise_no_alarm() {
        let mut bet = Bet::default();
        for round in 0..1_000 {
            bet.take(0.9, round % 10 != 0);
            assert!(bet.over() < ALARM, "round {round}: {}", bet.over());
        }
    }

    #[test]
    fn a_claim_of_nine_tenths_that_comes_true_six_times_in_ten_is_found_within_fifteen() {
        let mut bet = Bet::default();
        let found = (0..100).find(|round| {
            bet.take(0.9, !matches!(round % 5, 1 | 3));
            bet.over() >= ALARM
        });
        assert!(found.is_some_and(|round| round < 15), "{found:?}");
    }

    proptest! {
        #[test]
        fn wealth_stays_finite_and_positive(claims in proptest::collection::vec((0.01..0.99f64, any::<bool>()), 0..2_000)) {
            let mut bet = Bet::default();
            for (claim, came_true) in claims {
                bet.take(claim, came_true);
                prop_assert!(bet.over().is_finite() && bet.over() > 0.0);
                prop_assert!(bet.under().is_finite() && bet.under() > 0.0);
            }
        }

        /// What makes the alarm honest: the mean of the next wealth, weighted by the claim itself, is the present one.
        #[test]
        fn an_honest_claim_is_a_fair_bet(claim in 0.01..0.99f64, before in proptest::collection::vec((0.01..0.99f64, any::<bool>()), 0..50)) {
            let mut bet = Bet::default();
            for (claim, came_true) in before {
                bet.take(claim, came_true);
            }
            let next = |came_true| { let mut next = bet; next.take(claim, came_true); next.over() };
            let mean = claim * next(true) + (1.0 - claim) * next(false);
            prop_assert!((mean - bet.over()).abs() <= 1e-9 * bet.over().max(1.0), "{} becomes {mean}", bet.over());
        }
    }
}
