//! `confidence`: how sure one must be of a prediction for the risk of the action, and whether it is worth it.
//!
//! Compared is the calibrated lower bound, never a brain's own number. A prediction that is missing, or older than a quarter of its
//! horizon, needs a person unless `on_missing` says otherwise.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, mul_div};
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;

/// How sure a prediction must be, by risk class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confidence {
    names: Vec<String>,
    /// In hundredths of a percent: low, medium, high.
    bounds_bp: [i64; 3],
    min_n: i64,
    on_missing: OnUnknown,
}

/// Numbers of a prediction. The last three, in any one unit of money, are asked for together or not at all.
pub(crate) const PREDICTION: [&str; 7] = [
    "p_lo_bp",
    "n",
    "age_ms",
    "horizon_ms",
    "benefit_micros",
    "harm_micros",
    "cost_micros",
];

impl Confidence {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let names = PREDICTION.map(|name| format!("prediction.{name}")).to_vec();
        let bound = |value: Option<i64>, usual: i64| value.unwrap_or(usual);
        let unit = Some(Unit::BasisPoints);
        let low = fields.amount(
            "low",
            unit,
            "lower bound of the calibrated probability for class low; 60 %",
        );
        let medium = fields.amount("medium", unit, "for class medium; 75 %");
        let high = fields.amount("high", unit, "for class high; 90 %. Irreversible always needs approval");
        for (name, value) in [("low", low), ("medium", medium), ("high", high)] {
            if value.is_some_and(|bp| !(0..=10_000).contains(&bp)) {
                fields.doubt(name, "is no probability: 0 % to 100 %");
            }
        }
        let min_n = fields.number("min_n", 0, 1_000_000, "outcomes that the calibration must rest on; 30");
        Some(Self {
            names,
            bounds_bp: [bound(low, 6_000), bound(medium, 7_500), bound(high, 9_000)],
            min_n: min_n.unwrap_or(30),
            on_missing: OnUnknown::read_as(
                fields,
                "what a prediction means that is missing, too old, or of unknown calibration; require_approval",
            )
            .or(Verdict::RequireApproval),
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let limit = match asked.info().class {
            RiskClass::Safety => return,
            RiskClass::Low => self.bounds_bp[0],
            RiskClass::Medium => self.bounds_bp[1],
            RiskClass::High => self.bounds_bp[2],
            RiskClass::Irreversible => {
                let finding = Finding::pass(2, "=", Some(1), Some(0), Unit::Flag);
                return push(finding.fails(Verdict::RequireApproval, None));
            }
        };
        let stale = match (numbers.get(2), numbers.get(3)) {
            (Some(age), Some(horizon)) => age > horizon / 4,
            _ => false,
        };
        let Some(p) = numbers.get(0).filter(|_| !stale) else {
            let unit = Unit::BasisPoints;
            return push(self.on_missing.finding(asked, 0, ">=", Some(limit), unit));
        };
        push(match numbers.get(1) {
            None if self.min_n > 0 => self.on_missing.finding(asked, 1, ">=", Some(self.min_n), Unit::Count),
            n => {
                let n = n.unwrap_or(0);
                let counted = Finding::pass(1, ">=", Some(n), Some(self.min_n), Unit::Count);
                counted.fails_unless(n >= self.min_n, Verdict::RequireApproval, None)
            }
        });
        let finding = Finding::pass(0, ">=", Some(p), Some(limit), Unit::BasisPoints);
        push(finding.fails_unless(p >= limit, Verdict::RequireApproval, None));
        let value = (numbers.get(4), numbers.get(5), numbers.get(6));
        if let (Some(benefit), Some(harm), Some(cost)) = value {
            // p x benefit > (1 - p) x harm + what the action costs.
            let p = p.clamp(0, 10_000);
            let gain = mul_div(benefit, p, 10_000);
            let loss = mul_div(harm, 10_000 - p, 10_000).saturating_add(cost);
            let finding = Finding::pass(3, ">", Some(gain), Some(loss), Unit::Count);
            push(finding.fails_unless(gain > loss, Verdict::RequireApproval, None));
        }
    }

    pub fn what(&self, part: u8) -> String {
        match part {
            0 => "calibrated lower bound of success, counted by the hub from past outcomes".to_owned(),
            1 => "outcomes behind the calibration".to_owned(),
            3 => "expected benefit, against expected harm and cost".to_owned(),
            _ => "irreversible".to_owned(),
        }
    }

    pub fn text(&self) -> String {
        let show = |bp| crate::rule::show(bp, Unit::BasisPoints);
        let [low, medium, high] = self.bounds_bp;
        format!(
            "sure by {} (low), {} (medium), {} (high)",
            show(low),
            show(medium),
            show(high)
        )
    }
}
