//! What is known of one brain with one verb, and when that moves its tier.
//!
//! Invariant: a demotion needs no waiting and a promotion moves one step; after each change the alarm's bet starts anew.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Seen;
use crate::alarm::{ALARM, Bet};
use crate::score::{self, Calibrated, Joined, KEPT, Scores};
use crate::tier::{self, Change, Tier, Why};

/// Changes that are kept for people to read.
const CHANGES: usize = 16;
/// What all outcomes of a former model count for together.
const INHERITED: usize = 10;
/// Two harmful outcomes within this time cost a tier.
const HARM_WINDOW_MS: u64 = 24 * 3_600_000;
/// Below so many outcomes skill is not held against a brain.
const SKILL_FROM: f64 = 30.0;
/// Standard errors by which it must be worse than the base rate: 1 in 100 by chance.
const BEYOND_CHANCE: f64 = 2.33;

/// The record of one brain with one verb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    model: String,
    tier: Tier,
    since_ms: u64,
    joined: VecDeque<Joined>,
    bet: Bet,
    in_bet: u32,
    harmed_at_ms: Option<u64>,
    predictions: u64,
    censored: u64,
    changes: VecDeque<Change>,
}

/// What people see of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The version of the model that answers now.
    pub model: String,
    /// What it may do.
    pub tier: Tier,
    /// Since when, in the hub's own milliseconds.
    pub since_ms: u64,
    /// The scores, with the reliability plot; `None` before the first outcome.
    pub scores: Option<Scores>,
    /// Evidence that it claims too much; [`ALARM`] is enough.
    pub evidence_over: f64,
    /// Evidence that it claims too little; it only informs.
    pub evidence_under: f64,
    /// Predictions whose outcome was told, also those that could not be told.
    pub predictions: u64,
    /// Outcomes that could not be told.
    pub censored: u64,
    /// What keeps it from the next tier; `None` at the highest one, or when the next outcome may bring it.
    pub next_tier_lacks: Option<String>,
    /// The last changes of tier, oldest first.
    pub changes: Vec<Change>,
}

impl Record {
    /// Nothing is known yet: the lowest tier. `model` may be empty until the brain has predicted something.
    pub fn new(model: &str, now_ms: u64) -> Self {
        Self {
            model: model.to_owned(),
            tier: Tier::T0,
            since_ms: now_ms,
            joined: VecDeque::new(),
            bet: Bet::default(),
            in_bet: 0,
            harmed_at_ms: None,
            predictions: 0,
            censored: 0,
            changes: VecDeque::new(),
        }
    }

    /// What it may do without a person.
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// The version of the model that answers now; empty before its first prediction.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A prediction came from this model. A new one starts a tier lower and inherits ten outcomes' worth of the record.
    pub fn predicted(&mut self, model: &str, now_ms: u64) -> Option<Change> {
        if self.model == model {
            return None;
        }
        let first = std::mem::replace(&mut self.model, model.to_owned()).is_empty();
        if first {
            return None;
        }
        let share = (100 * INHERITED / self.joined.len().max(INHERITED)) as u8;
        self.joined.iter_mut().for_each(|one| one.share = one.share.min(share));
        (self.bet, self.in_bet) = (Bet::default(), 0);
        let model = model.to_owned();
        self.move_to(self.tier.below(), Why::NewModel { model }, now_ms)
    }

    /// Takes the outcome of a prediction that claimed this chance, and says whether it moves the tier. Call it once for each.
    ///
    /// `harmful`: it was undone because its effect did not come, or a new high fault followed within 30 minutes.
    pub fn outcome(&mut self, claim_bp: u16, seen: Seen, harmful: bool, now_ms: u64) -> Option<Change> {
        self.predictions += 1;
        let harm = harmful && self.harms_again(now_ms);
        let came_true = match seen {
            Seen::CameTrue => !harmful,
            Seen::Failed => false,
            Seen::Censored(_) => {
                self.censored += 1;
                return if harm {
                    self.move_to(self.tier.below(), Why::Harm, now_ms)
                } else {
                    None
                };
            }
        };
        self.keep(Joined {
            claim_bp,
            came_true,
            harmful,
            at_ms: now_ms,
            share: 100,
        });
        let (to, why) = self.verdict(harm, now_ms)?;
        self.move_to(to, why, now_ms)
    }

    /// Whether this is the second harm within a day; two that were counted do not count again.
    fn harms_again(&mut self, now_ms: u64) -> bool {
        let again = self
            .harmed_at_ms
            .is_some_and(|before| now_ms.saturating_sub(before) <= HARM_WINDOW_MS);
        self.harmed_at_ms = if again { None } else { Some(now_ms) };
        again
    }

    fn keep(&mut self, one: Joined) {
        let claim = f64::from(one.claim_bp) / 10_000.0;
        self.bet.take(claim.clamp(0.01, 0.99), one.came_true);
        self.in_bet = self.in_bet.saturating_add(1);
        self.joined.push_back(one);
        if self.joined.len() > KEPT {
            self.joined.pop_front();
        }
    }

    /// Where the record moves the tier to, the worst reason first.
    fn verdict(&self, harm: bool, now_ms: u64) -> Option<(Tier, Why)> {
        let evidence = self.bet.over();
        if evidence >= ALARM {
            let outcomes = self.in_bet;
            return Some((Tier::T0, Why::Overconfident { evidence, outcomes }));
        }
        let scores = score::scores(&self.joined, now_ms)?;
        if let Some(skill) = scores.skill
            && scores.effective >= SKILL_FROM
            && scores.worse_than_base_rate > BEYOND_CHANCE
        {
            return Some((Tier::T0, Why::NoSkill { skill }));
        }
        if harm {
            return Some((self.tier.below(), Why::Harm));
        }
        let outcomes = scores.effective as u32;
        let above = self.tier.above()?;
        self.earns(above, &scores, now_ms).ok()?;
        Some((above, Why::Earned { outcomes }))
    }

    fn earns(&self, tier: Tier, scores: &Scores, now_ms: u64) -> Result<(), String> {
        let record = tier::Record {
            without_harm: self.joined.iter().rev().take_while(|one| !one.harmful).count(),
            evidence: self.bet.over(),
            dwelt_ms: now_ms.saturating_sub(self.since_ms),
        };
        tier::earns(tier, scores, &record)
    }

    /// Moves the tier and remembers why. An alarm is kept even at the lowest tier, so that people see it.
    fn move_to(&mut self, to: Tier, why: Why, now_ms: u64) -> Option<Change> {
        let alarm = matches!(why, Why::Overconfident { .. });
        if to == self.tier && !alarm {
            return None;
        }
        if alarm || to != self.tier {
            (self.bet, self.in_bet) = (Bet::default(), 0);
        }
        let change = Change {
            at_ms: now_ms,
            from: self.tier,
            to,
            why,
        };
        (self.tier, self.since_ms) = (to, now_ms);
        self.changes.push_back(change.clone());
        if self.changes.len() > CHANGES {
            self.changes.pop_front();
        }
        Some(change)
    }

    /// A person sets the tier, up or down. Returns `None` if it was that already.
    pub fn grant(&mut self, tier: Tier, by: &str, now_ms: u64) -> Option<Change> {
        self.move_to(tier, Why::Granted { by: by.to_owned() }, now_ms)
    }

    /// What a claim is worth, by the past: rules judge by [`Calibrated::at_least`], never by the claim.
    pub fn calibrated(&self, claim_bp: u16, now_ms: u64) -> Calibrated {
        let claim = f64::from(claim_bp.min(10_000)) / 10_000.0;
        score::calibrate(&self.joined, claim, now_ms)
    }

    /// As many equally weighted outcomes would say as much as those that are kept.
    pub fn effective(&self, now_ms: u64) -> f64 {
        score::scores(&self.joined, now_ms).map_or(0.0, |scores| scores.effective)
    }

    /// Everything that is known, for people.
    pub fn standing(&self, now_ms: u64) -> Standing {
        let scores = score::scores(&self.joined, now_ms);
        let lacks = self.tier.above().and_then(|above| match &scores {
            Some(scores) => self.earns(above, scores, now_ms).err(),
            None => Some("there is no outcome yet".to_owned()),
        });
        Standing {
            model: self.model.clone(),
            tier: self.tier,
            since_ms: self.since_ms,
            scores,
            evidence_over: self.bet.over(),
            evidence_under: self.bet.under(),
            predictions: self.predictions,
            censored: self.censored,
            next_tier_lacks: lacks,
            changes: self.changes.iter().cloned().collect(),
        }
    }
}
