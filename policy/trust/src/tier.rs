//! How much a brain may do without a person, and why that changed.
//!
//! Trust is earned slowly, one tier at a time, and lost at once. A brain that nobody has graded yet has tier T0.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::action::RiskClass;

use crate::alarm::{ALARM, CALM};
use crate::beta;
use crate::score::Scores;

/// What a brain may do without a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Shadow: its plans are judged and recorded. Nothing runs unless a person approves it.
    #[default]
    T0,
    /// Advice, which its record has shown to be worth reading: a person still approves each plan.
    T1,
    /// Bounded: up to medium risk without a person, within one site, at half of the rate that the plan allows itself.
    T2,
    /// Full, within policy; what cannot be taken back needs a person all the same.
    T3,
}

impl Tier {
    /// All of them, the lowest first.
    pub const ALL: [Self; 4] = [Self::T0, Self::T1, Self::T2, Self::T3];

    /// The short name: `T2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::T0 => "T0",
            Self::T1 => "T1",
            Self::T2 => "T2",
            Self::T3 => "T3",
        }
    }

    /// The tier with this short name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.name().eq_ignore_ascii_case(name))
    }

    /// The lowest tier that lets a brain act without a person at this risk; `None` if none does.
    ///
    /// Capping power is of the class `safety`, and yet it needs a tier: what a rule on the node does at its limit is a reflex, what
    /// a brain does minutes before is a prediction.
    pub const fn needed_for(class: RiskClass) -> Option<Self> {
        match class {
            RiskClass::Safety | RiskClass::Low | RiskClass::Medium => Some(Self::T2),
            RiskClass::High => Some(Self::T3),
            RiskClass::Irreversible => None,
        }
    }

    /// Whether it ends at the borders of a site.
    pub const fn is_bounded(self) -> bool {
        !matches!(self, Self::T3)
    }

    /// What limits on how often a brain acts are multiplied with, in hundredths.
    pub const fn rate_percent(self) -> u32 {
        match self {
            Self::T0 | Self::T1 => 0,
            Self::T2 => 50,
            Self::T3 => 100,
        }
    }

    /// The next higher tier, if there is one.
    pub const fn above(self) -> Option<Self> {
        match self {
            Self::T0 => Some(Self::T1),
            Self::T1 => Some(Self::T2),
            Self::T2 => Some(Self::T3),
            Self::T3 => None,
        }
    }

    /// The next lower tier; the lowest stays.
    pub const fn below(self) -> Self {
        match self {
            Self::T0 | Self::T1 => Self::T0,
            Self::T2 => Self::T1,
            Self::T3 => Self::T2,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::T0 => "T0 shadow",
            Self::T1 => "T1 advise",
            Self::T2 => "T2 bounded",
            Self::T3 => "T3 full",
        })
    }
}

/// A change of tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When, in the hub's own milliseconds.
    pub at_ms: u64,
    /// The tier before.
    pub from: Tier,
    /// The tier since.
    pub to: Tier,
    /// Why.
    pub why: Why,
}

/// Why a tier changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The alarm: claims were higher than what came true.
    Overconfident {
        /// The evidence, [`ALARM`] and more.
        evidence: f64,
        /// Over so many outcomes.
        outcomes: u32,
    },
    /// Always claiming the base rate would be better.
    NoSkill {
        /// The skill, below 0.
        skill: f64,
    },
    /// Two actions in a day did harm.
    Harm,
    /// Another model answers under the brain's name.
    NewModel {
        /// Its version.
        model: String,
    },
    /// The record allows it.
    Earned {
        /// As many equally weighted outcomes would say as much.
        outcomes: u32,
    },
    /// A person said so.
    Granted {
        /// Who.
        by: String,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overconfident { evidence, outcomes } => {
                write!(
                    f,
                    "it claims more than comes true: evidence {evidence:.0} of {ALARM} after {outcomes} outcomes"
                )
            }
            Self::NoSkill { skill } => write!(f, "always claiming the base rate would be better: skill {skill:.2}"),
            Self::Harm => f.write_str("two of its actions did harm within 24 h"),
            Self::NewModel { model } => write!(f, "another model answers: {model}"),
            Self::Earned { outcomes } => write!(f, "its record allows it: {outcomes} outcomes"),
            Self::Granted { by } => write!(f, "{by} granted it"),
        }
    }
}

/// How long a tier is kept at least before the next is earned.
const DWELL_MS: u64 = 72 * 3_600_000;
/// Where so many come true or fail, skill against the base rate cannot show any more.
const NEARLY_ALL: f64 = 0.9;

/// What a tier asks of a record.
struct Asks {
    outcomes: f64,
    skill: f64,
    calibration_error: f64,
    without_harm: usize,
    /// The share that comes true is at least this, where skill cannot show because nearly all come true.
    surely: f64,
}

const fn asks(tier: Tier) -> Asks {
    let (outcomes, skill, calibration_error, without_harm, surely) = match tier {
        Tier::T0 | Tier::T1 => (30.0, 0.05, 0.10, 20, 0.75),
        Tier::T2 => (60.0, 0.10, 0.07, 40, 0.85),
        Tier::T3 => (150.0, 0.20, 0.05, 100, 0.90),
    };
    Asks {
        outcomes,
        skill,
        calibration_error,
        without_harm,
        surely,
    }
}

/// What a promotion is judged by, besides the scores.
pub(crate) struct Record {
    /// Outcomes since the last harmful one.
    pub without_harm: usize,
    /// The evidence of over-confidence.
    pub evidence: f64,
    /// Time at the present tier.
    pub dwelt_ms: u64,
}

/// Whether a record is good enough for `tier`; what is missing otherwise.
pub(crate) fn earns(tier: Tier, scores: &Scores, record: &Record) -> Result<(), String> {
    let asks = asks(tier);
    let missing =
        |what: &str, found: f64, wanted: f64| Err(format!("{what} is {found:.2}, {tier} asks for {wanted:.2}"));
    if scores.effective < asks.outcomes {
        return missing("number of outcomes", scores.effective, asks.outcomes);
    }
    if scores.calibration_error > asks.calibration_error {
        return missing("calibration error", scores.calibration_error, asks.calibration_error);
    }
    let hits = scores.base_rate * scores.effective;
    let surely = beta::lower_bound(hits, scores.effective - hits, 0.1);
    let skill = scores.skill.unwrap_or(0.0);
    if skill < asks.skill && !(scores.base_rate >= NEARLY_ALL && surely >= asks.surely) {
        return missing("skill", skill, asks.skill);
    }
    if record.without_harm < asks.without_harm {
        return missing(
            "number of outcomes without harm",
            record.without_harm as f64,
            asks.without_harm as f64,
        );
    }
    if record.evidence >= CALM {
        return missing("evidence of over-confidence", record.evidence, CALM);
    }
    if record.dwelt_ms < DWELL_MS {
        return missing("hours at this tier", record.dwelt_ms as f64 / 3_600_000.0, 72.0);
    }
    Ok(())
}
