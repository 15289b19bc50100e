//! What is known of brains, for people and scripts: how much each may do without a person, and what that rests on.

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::reading::{DeviceId, Quantity, Unit};
use crate::time::Wall;

/// One brain with one verb. Chances and shares are in hundredths of a percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BrainView {
    /// Its name, as its plans have it.
    pub brain: String,
    /// What it wants done, for example `power_cap`.
    pub verb: String,
    /// The version of the model that answers now; empty before its first prediction.
    pub model: String,
    /// `T0` to `T3`.
    pub tier: String,
    /// What that lets it do, in one word: shadow, advise, bounded, full.
    pub tier_name: String,
    /// Since when.
    pub since: Wall,
    /// Predictions whose outcome is known, or is known to be unknown.
    pub predictions: u64,
    /// Of them, those that could not be told: nothing ran, nothing could be seen, or our own action interfered.
    pub censored: u64,
    /// What keeps it from the next tier; absent at the highest one, or when the next outcome may bring it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_tier_lacks: Option<String>,
    /// Evidence that it claims too much, in hundredths: 100 is none, 4,000 takes the tier away.
    pub evidence_over: u64,
    /// Evidence that it claims too little, in hundredths; it only informs.
    pub evidence_under: u64,
    /// How good its claims were; absent before the first outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<BrainScoresView>,
    /// The last changes of tier, oldest first.
    pub changes: Vec<TierChangeView>,
}

/// How good a brain's claims were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BrainScoresView {
    /// Outcomes that count.
    pub outcomes: u64,
    /// As many equally weighted outcomes would say as much, in hundredths.
    pub effective: u64,
    /// The share that came true.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "base_rate", with = "super::unit::ratio")]
    pub base_rate_bp: i64,
    /// Mean squared distance between claim and outcome, in ten-thousandths.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "brier", with = "super::unit::ratio")]
    pub brier_bp: i64,
    /// How much better than always claiming the base rate; absent where all outcomes are alike.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(
        rename = "skill",
        with = "super::unit::ratio",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub skill_bp: Option<i64>,
    /// Mean distance between claim and share that came true.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "calibration_error", with = "super::unit::ratio")]
    pub calibration_error_bp: i64,
    /// The reliability plot: at most ten bins of equal count, by claim.
    pub bins: Vec<ReliabilityBinView>,
}

/// One bin of the reliability plot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReliabilityBinView {
    /// The mean claim.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "claimed_ratio", with = "super::unit::ratio")]
    pub claimed_bp: i64,
    /// The share that came true.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "came_true_ratio", with = "super::unit::ratio")]
    pub came_true_bp: i64,
    /// Weight of its outcomes, in hundredths.
    pub weight: u64,
}

/// A change of tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TierChangeView {
    /// When.
    pub at: Wall,
    /// The tier before.
    pub from: String,
    /// The tier since.
    pub to: String,
    /// Why, for people.
    pub why: String,
}

/// A person sets what a brain may do with a verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// `T0` to `T3`.
    pub tier: String,
    /// Why; it is journaled.
    pub reason: String,
}

/// How what the embedded brain watches of a device goes on: the temperature of a GPU, the use of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForecastView {
    /// Of which node.
    pub node: AgentId,
    /// Of which device.
    pub device: DeviceId,
    /// What.
    pub quantity: Quantity,
    /// In what unit the values are.
    pub unit: Unit,
    /// End of the readings that it rests on, by the node's clock.
    pub at: Wall,
    /// The value that must not be reached: where the rules in force act.
    pub limit: i64,
    /// The measured distances ahead, in order.
    pub points: Vec<ForecastPointView>,
    /// The limit, if it is foreseen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreseen: Option<ForeseenView>,
}

/// A forecast at one distance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForecastPointView {
    /// How far ahead.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "ahead_seconds", with = "super::unit::thousandths")]
    pub ahead_ms: u64,
    /// Below this lie 5 % of values.
    pub low: i64,
    /// Below this lies half of them.
    pub middle: i64,
    /// Above this lie 5 % of values.
    pub high: i64,
}

/// A limit that is foreseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForeseenView {
    /// It is expected to be reached after this time.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "in_seconds", with = "super::unit::thousandths")]
    pub in_ms: u64,
    /// It will have been reached by then …
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "by_seconds", with = "super::unit::thousandths")]
    pub by_ms: u64,
    /// … with this chance …
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "chance", with = "super::unit::ratio")]
    pub chance_bp: i64,
    /// … counted from so many past errors at that distance.
    pub errors: u64,
}
