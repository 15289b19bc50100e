//! Judges every brain by what it predicted and what came true, the embedded one like any other.
//!
//! A prediction is joined to its outcome by id, never by nearness in time. Where our own action may have prevented what was predicted,
//! the outcome is censored: it is neither hit nor miss. From the joined pairs come scores ([`score`]), a calibrated chance with a
//! lower bound, an alarm that may be looked at at any time ([`alarm`]) and a tier per brain and verb ([`tier`]).
//!
//! Pure: no clock, no I/O, no randomness; times are the hub's own milliseconds. A [`Ledger`] is plain data and is stored as such.
//!
//! Invariants: a prediction is joined once; memory is bounded whatever a brain sends ([`MOST_OPEN`], [`score::KEPT`]); a tier rises
//! by one step at a time and only with an outcome, and each change says why.
//! Read next: `record.rs` (what is known of one brain and verb), `tier.rs` (what a tier asks for).

pub mod alarm;
pub mod beta;
mod record;
pub mod score;
pub mod tier;

use std::collections::{BTreeMap, VecDeque};

pub use record::{Record, Standing};
pub use score::{Bin, Calibrated, Scores};
use serde::{Deserialize, Serialize};
pub use tier::{Change, Tier, Why};

/// Predictions of one brain whose outcome is awaited: more than a fleet of 1,000 nodes has open plans.
pub const MOST_OPEN: usize = 2_000;
/// Ids of joined predictions that are remembered, so that an outcome told twice counts once.
const REMEMBERED: usize = 4_000;
/// Brains and verbs that are graded: beyond it the newcomer is refused.
const MOST_RECORDS: usize = 256;
/// An outcome that has not come after so many horizons is lost.
const LOST_AFTER: u64 = 3;

/// What a brain said would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// Its id, by which the outcome will be told.
    pub id: String,
    /// Who said it.
    pub brain: String,
    /// The version of its model; a new one starts a tier lower.
    pub model: String,
    /// What it wants done, for example `power_cap`.
    pub verb: String,
    /// How sure it is, in hundredths of a percent.
    pub claim_bp: u16,
    /// By when it will be seen, from now.
    pub horizon_ms: u64,
}

/// What came of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It came true: the metric moved by at least half of what was predicted, the right way, in time.
    CameTrue,
    /// It did not.
    Failed,
    /// It cannot be told, so it counts for nothing.
    Censored(Censored),
}

/// Why an outcome cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Censored {
    /// An action of our own may have prevented it.
    ByAction,
    /// Less than 80 % of the readings up to the horizon are there.
    ByGap,
    /// The plan was never run.
    NotRun,
}

/// A prediction that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A name is empty or too long.
    #[error("{field} has {bytes} bytes, it takes 1 to 128")]
    Name {
        /// Which.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The claim is more than certain.
    #[error("claim {claim_bp} is more than 10000 hundredths of a percent")]
    Claim {
        /// The claim.
        claim_bp: u16,
    },
    /// The id was used before.
    #[error("prediction `{id}` was made before; each one needs an id of its own")]
    Twice {
        /// The id.
        id: String,
    },
    /// Too many outcomes are awaited.
    #[error("brain `{brain}` awaits {MOST_OPEN} outcomes already; predictions are taken again when some have come")]
    Flood {
        /// Who.
        brain: String,
    },
    /// Too many brains and verbs.
    #[error("{MOST_RECORDS} pairs of brain and verb are graded already, `{brain}` with `{verb}` is one more")]
    Crowd {
        /// Who.
        brain: String,
        /// What.
        verb: String,
    },
}

/// What an outcome did to the books.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It was joined to its prediction; the tier may have changed.
    Joined {
        /// Whose.
        brain: String,
        /// For what.
        verb: String,
        /// The change of tier, if there was one.
        change: Option<Change>,
    },
    /// It had been told before: nothing changed.
    Again,
    /// No such prediction is awaited: it was never made, or is lost.
    Unknown,
}

/// The books: what is awaited, and the record of each brain and verb.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    open: BTreeMap<String, Open>,
    joined: VecDeque<String>,
    records: BTreeMap<String, BTreeMap<String, Record>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    brain: String,
    verb: String,
    claim_bp: u16,
    lost_at_ms: u64,
}

impl Ledger {
    /// The version of the stored form; a store keeps it beside the bytes.
    pub const VERSION: u16 = 1;

    /// Takes a prediction, before anything is done about it. Returns the change of tier that a new model brings.
    pub fn predicted(&mut self, prediction: Prediction, now_ms: u64) -> Result<Option<Change>, Refused> {
        self.check(&prediction)?;
        let Prediction {
            id,
            brain,
            model,
            verb,
            claim_bp,
            horizon_ms,
        } = prediction;
        let record = self.records.entry(brain.clone()).or_default().entry(verb.clone());
        let record = record.or_insert_with(|| Record::new(&model, now_ms));
        let change = record.answers_as(&model, now_ms);
        let lost_at_ms = now_ms.saturating_add(horizon_ms.saturating_mul(LOST_AFTER));
        let open = Open {
            brain,
            verb,
            claim_bp,
            lost_at_ms,
        };
        self.open.insert(id, open);
        Ok(change)
    }

    fn check(&self, prediction: &Prediction) -> Result<(), Refused> {
        let Prediction {
            id, brain, model, verb, ..
        } = prediction;
        for (field, text) in [("id", id), ("brain", brain), ("model", model), ("verb", verb)] {
            if !(1..=128).contains(&text.len()) {
                let bytes = text.len();
                return Err(Refused::Name { field, bytes });
            }
        }
        if prediction.claim_bp > 10_000 {
            let claim_bp = prediction.claim_bp;
            return Err(Refused::Claim { claim_bp });
        }
        if self.open.contains_key(id) || self.joined.contains(id) {
            return Err(Refused::Twice { id: id.clone() });
        }
        if self.open.values().filter(|open| open.brain == *brain).count() >= MOST_OPEN {
            return Err(Refused::Flood { brain: brain.clone() });
        }
        let graded = self.records.values().map(BTreeMap::len).sum::<usize>();
        if graded >= MOST_RECORDS && self.record(brain, verb).is_none() {
            let (brain, verb) = (brain.clone(), verb.clone());
            return Err(Refused::Crowd { brain, verb });
        }
        Ok(())
    }

    /// Joins an outcome to its prediction. `harmful`: it was undone, or a new high fault followed within 30 minutes.
    pub fn outcome(&mut self, id: &str, seen: Seen, harmful: bool, now_ms: u64) -> Told {
        let Some(Open {
            brain, verb, claim_bp, ..
        }) = self.open.remove(id)
        else {
            let again = self.joined.iter().any(|joined| joined == id);
            return if again { Told::Again } else { Told::Unknown };
        };
        self.joined.push_back(id.to_owned());
        if self.joined.len() > REMEMBERED {
            self.joined.pop_front();
        }
        let record = self.records.get_mut(&brain).and_then(|verbs| verbs.get_mut(&verb));
        let change = record.and_then(|record| record.joined(claim_bp, seen, harmful, now_ms));
        Told::Joined { brain, verb, change }
    }

    /// Gives up predictions whose outcome has not come after three horizons, and returns their ids. Call it once a minute.
    pub fn expire(&mut self, now_ms: u64) -> Vec<String> {
        let lost = |open: &Open| open.lost_at_ms <= now_ms;
        let ids: Vec<String> = self
            .open
            .iter()
            .filter(|(_, open)| lost(open))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ids {
            let Some(open) = self.open.remove(id) else { continue };
            if let Some(record) = self.record_mut(&open.brain, &open.verb) {
                record.lost();
            }
        }
        ids
    }

    /// When [`Ledger::expire`] has something to do next.
    pub fn due_ms(&self) -> Option<u64> {
        self.open.values().map(|open| open.lost_at_ms).min()
    }

    /// What this brain may do with this verb without a person.
    pub fn tier(&self, brain: &str, verb: &str) -> Tier {
        self.record(brain, verb).map_or(Tier::T0, Record::tier)
    }

    /// Everything that is known of a brain and a verb, for people; `None` if it never predicted or was granted anything.
    pub fn standing(&self, brain: &str, verb: &str, now_ms: u64) -> Option<Standing> {
        self.record(brain, verb).map(|record| record.standing(now_ms))
    }

    /// Every brain with every verb that it is graded for, in order.
    pub fn graded(&self) -> impl Iterator<Item = (&str, &str)> {
        let verbs = |(brain, verbs)| std::iter::repeat(brain).zip(BTreeMap::keys(verbs));
        self.records
            .iter()
            .flat_map(verbs)
            .map(|(brain, verb): (&String, &String)| (brain.as_str(), verb.as_str()))
    }

    /// What a claim of this brain is worth, by the past: rules judge by [`Calibrated::at_least`], never by the claim.
    pub fn calibrated(&self, brain: &str, verb: &str, claim_bp: u16, now_ms: u64) -> Calibrated {
        let claim = f64::from(claim_bp.min(10_000)) / 10_000.0;
        match self.record(brain, verb) {
            Some(record) => record.calibrated(claim, now_ms),
            None => score::calibrate(&VecDeque::new(), claim, now_ms),
        }
    }

    /// A person sets a tier, up or down. Returns `None` if it had that tier already.
    pub fn grant(&mut self, brain: &str, verb: &str, tier: Tier, by: &str, now_ms: u64) -> Option<Change> {
        let record = self.records.entry(brain.to_owned()).or_default().entry(verb.to_owned());
        let record = record.or_insert_with(|| Record::new("", now_ms));
        record.move_to(tier, Why::Granted { by: by.to_owned() }, now_ms)
    }

    /// What the brain predicts from has changed by this population stability index, in hundredths: above 25 costs a tier.
    pub fn drifted(&mut self, brain: &str, verb: &str, psi_percent: u32, now_ms: u64) -> Option<Change> {
        let record = self.record_mut(brain, verb)?;
        (psi_percent > 25).then_some(())?;
        record.move_to(record.tier().below(), Why::Drift { psi_percent }, now_ms)
    }

    fn record(&self, brain: &str, verb: &str) -> Option<&Record> {
        self.records.get(brain)?.get(verb)
    }

    fn record_mut(&mut self, brain: &str, verb: &str) -> Option<&mut Record> {
        self.records.get_mut(brain)?.get_mut(verb)
    }
}
