//! What is asked of an InfraMind about the size of a build, and what builds were like: for programs of a CI and for people.

use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// How large a build is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BuildSize {
    /// Things that it does at once.
    pub concurrency: u32,
    /// Cores that it asks for.
    pub cpus: u32,
    /// Memory that it asks for, in GiB.
    pub memory_gib: u32,
}

/// A build whose size is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SizeRequest {
    /// Which pipeline, for example `acme/shop test`.
    pub pipeline: String,
    /// What builds it, for example `cargo`; may be left out.
    #[serde(default)]
    pub tool: String,
    /// The size of its last run that went well.
    #[serde(default)]
    pub last: Option<BuildSize>,
    /// The most memory that any step of it was seen to use, in bytes.
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// How many steps it has.
    #[serde(default)]
    pub steps: Option<u32>,
    /// How long a step of it takes on average.
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    #[serde(rename = "step_seconds", with = "super::unit::thousandths", default)]
    pub step_ms: Option<u64>,
    /// No more than this at once.
    #[serde(default)]
    pub most_concurrency: Option<u32>,
    /// No less memory than this, in GiB.
    #[serde(default)]
    pub least_memory_gib: Option<u32>,
}

/// The size that a build should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SizeView {
    /// Which pipeline.
    pub pipeline: String,
    /// Joins the answer to the run that follows it.
    pub id: String,
    /// The size, within the bounds.
    pub size: BuildSize,
    /// Cache that is worth having, in GiB.
    pub cache_gib: u32,
    /// Why, in the brain's own words.
    pub rationale: String,
    /// How sure the brain says it is. Nothing here rests on it.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "confidence", with = "super::unit::ratio")]
    pub claimed_bp: u32,
    /// Where the answer was out of the bounds and was changed, in words.
    pub adjusted: Vec<String>,
}

/// A step of a build that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BuildStep {
    /// Its name.
    pub name: String,
    /// When it began.
    pub began: Wall,
    /// How long it took.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "took_seconds", with = "super::unit::thousandths")]
    pub took_ms: u64,
    /// Exit status.
    pub exit: i32,
    /// Share of one core that it used.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "cpu_ratio", with = "super::unit::ratio", default)]
    pub cpu_bp: u32,
    /// The most memory that it used, in bytes.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// Read from disks, in bytes.
    #[serde(default)]
    pub read_bytes: u64,
    /// Written to disks, in bytes.
    #[serde(default)]
    pub written_bytes: u64,
}

/// A build that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Which pipeline.
    pub pipeline: String,
    /// Its number there.
    pub number: u32,
    /// The commit that it built.
    pub commit: String,
    /// The branch of that.
    pub branch: String,
    /// When it began.
    pub began: Wall,
    /// How long it took.
    #[cfg_attr(feature = "schema", schemars(with = "f64"))]
    #[serde(rename = "took_seconds", with = "super::unit::thousandths")]
    pub took_ms: u64,
    /// Whether it went well.
    pub ok: bool,
    /// What built it.
    pub tool: String,
    /// How large it was run.
    pub size: BuildSize,
    /// Its steps, at most 1,000.
    #[serde(default)]
    pub steps: Vec<BuildStep>,
}

/// The brain has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunView {
    /// The brain's id of the run.
    pub id: String,
}
