//! Says whether a canary is worse than its baseline, with numbers that a person can check.
//!
//! Pure: no clock, no I/O, no randomness but from the seed in the input. Floats are used, because these are statistics and not
//! rules: their outcome is a fact for the rules. All elementary functions are `libm`'s, so a report is the same on every machine.
//! Never changes anything and never promotes by itself: a [`Report`] says what may be done next.
//!
//! Invariants: missing data is never success; neither the order of metrics nor a changed unit changes a verdict; a report does
//! not depend on when it was asked for.
//!
//! Read next: `canary/input.rs` (what is asked), `canary/report.rs` (what is answered), `canary/metric.rs` (one metric),
//! `canary/verdict.rs` (all of them together).

mod early;
mod gate;
mod input;
mod metric;
mod number;
mod rank;
mod report;
mod shift;
mod steps;
mod tail;
mod verdict;

pub use early::{EarlyAbort, STRAIGHT_WORSE, Wealth, straight_worse};
pub use gate::{lag_one, thinning};
pub use input::{
    Canary, CanaryError, Counter, Direction, Effect, Errors, MAX_METRICS, MAX_SAMPLES, Metric, NoDataIs, Nodes, Samples,
};
pub use number::{binomial_tail, hypergeometric_tail, median, normal_quantile, normal_tail};
pub use rank::{MannWhitney, Method, Side, mann_whitney};
pub use report::{
    EarlyReport, GuardReport, LocationReport, MetricReport, Next, Outcome, Report, SeriesReport, TailReport, Verdict,
};
pub use shift::{Shift, hodges_lehmann};
pub use steps::{Candidate, Step, clean_nodes_for, failure_bound, plan_steps, rule_of_three};
pub use tail::{Tail, tail_test};
pub use verdict::judge_canary;
