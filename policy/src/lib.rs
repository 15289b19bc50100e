//! The one judge: rules of a signed bundle over readings and wanted actions, explained and replayable.
//!
//! Pure: no clock, no I/O, no randomness, no float in a decision. An agent feeds readings to a [`Judge`], which pushes [`Want`]s;
//! [`judge()`] turns the facts of one want into a judgement; the hub runs [`vet`] on its own copy before it commands; [`replay()`]
//! makes a stored decision again; [`explain()`] writes it down for people.
//!
//! Read next: `bundle.rs` (the text), `engine.rs` (readings to wants), `walk.rs` (the evaluation), `judge.rs` (the decision), `kind.rs` (the rules).

mod actions;
mod bundle;
mod calendar;
pub mod canary;
mod cases;
mod cel;
mod compare;
mod counters;
pub mod cron;
mod decide;
mod domains;
mod engine;
mod explain;
mod fleet;
mod flights;
mod glass;
pub mod health;
mod indicator;
mod isolation;
mod jsonl;
mod judge;
mod kind;
mod ledger;
mod meter;
mod rehearse;
mod replay;
mod ring;
mod rule;
mod schema;
mod sites;
mod table;
mod text;
mod walk;

pub use actions::{KINDS, KindInfo, parse_action};
pub use bundle::{Bundle, Freeze, MAX_RULES};
pub use cases::{CaseResult, run_cases};
pub use cel::check_condition;
pub use compare::{Difference, diff, is_reproduced};
pub use decide::{Answer, Decider, Question, Stated};
pub use domains::{MeshRate, free_in_name, given_name};
pub use engine::{Judge, Situation, Verify, Want};
pub use explain::explain;
pub use fleet::{Fleet, FleetNode};
pub use glass::{OpenGlass, glass_problem};
pub use isolation::Isolated;
pub use judge::{ClaimWorth, judge, may_be_lifted, vet, vet_claim};
pub use kind::blast::Crowd;
pub use kind::cost::lease_slice;
pub use kind::objective::burn_milli;
pub use ledger::{Calms, Ledger, Turn, Turns};
pub use rehearse::readings::{ReadingCounts, Readings};
pub use rehearse::wishes::OnlyDraft;
pub use rehearse::{Rehearsal, Rehearsed};
pub use replay::replay;
pub use schema::{explain_kind, other_topics, rule_kinds, schema};
pub use sites::{Members, Site};

/// The bundle to begin with: `sentinel policy init` writes it, and `sentinel policy publish --starter` publishes it.
pub const STARTER_BUNDLE: &str = include_str!("../bundles/starter.yaml");
/// The bundle of the demo.
pub const DEMO_BUNDLE: &str = include_str!("../bundles/demo.yaml");
/// A stricter one, which the demo's tour publishes.
pub const DEMO_STRICT_BUNDLE: &str = include_str!("../bundles/demo-strict.yaml");
/// What the remediation of failed checks may do by itself, under every published bundle.
pub const FIXES_BUNDLE: &str = include_str!("../bundles/fixes.yaml");
