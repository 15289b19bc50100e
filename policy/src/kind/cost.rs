//! `cost_ceiling`: what a scope spends in a window, projected with the change, against a ceiling in millionths of a unit of money.
//!
//! A node without its hub spends from a leased slice only: the fact `SCOPE.cost_lease_micros`, [`lease_slice`].
//!
//! Projected = spent + committed + (run rate + change) x time left. In a rolling window of n days nothing is ever "left", so there
//! the rate counts over a whole window and the larger of the two is compared. What lowers cost is exempt.
//! Source: `control.md` 9.4.

use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, mul_div, read_names};
use crate::calendar::Zone;
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;

/// What a hub may lease to one node for the time without it: half of the node's share of what is left, so that all nodes together
/// cannot pass the ceiling while the hub goes on spending the other half. Source: `control.md` 9.4.
pub fn lease_slice(remaining_micros: i64, share_bp: u16) -> i64 {
    mul_div(remaining_micros.max(0), i64::from(share_bp.min(10_000)), 20_000)
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The ceiling of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cost {
    scope: String,
    names: Vec<String>,
    currency: String,
    ceiling_micros: i64,
    window_ms: i64,
    calendar: Option<CalendarWindow>,
    zone: Zone,
    soft_bp: i64,
    on_soft: Verdict,
    on_hard: Verdict,
    on_missing: OnUnknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CalendarWindow {
    Day,
    Week,
    Month,
}

const VERDICTS: &[&str] = &["hold", "require_approval", "deny"];

impl Cost {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let numbers = [
            "cost_spent_micros",
            "cost_committed_micros",
            "cost_rate_micros_per_h",
            "cost_lease_micros",
        ];
        let (scope, names) = read_names(fields, "scope", "whose cost: a tenant, a namespace, a node", &numbers);
        let currency = fields
            .text("currency", "for people; USD")
            .unwrap_or_else(|| "USD".to_owned());
        let ceiling_micros = fields.need_number(
            "ceiling_micros",
            1,
            i64::MAX,
            "the ceiling, in millionths of the currency",
        );
        let window = fields.need_text("window", "rolling (7 d), or calendar: day, week (from Monday) or month");
        let soft_bp = fields.number(
            "soft_bp",
            1,
            10_000,
            "share of the ceiling, in hundredths of a percent, from which on_soft counts; 8000",
        );
        let verdict = |index: Option<usize>, usual| {
            index.map_or(usual, |i| [Verdict::Hold, Verdict::RequireApproval, Verdict::Deny][i])
        };
        let on_soft = verdict(
            fields.choice("on_soft", VERDICTS, "above the soft limit; hold"),
            Verdict::Hold,
        );
        let on_hard = verdict(
            fields.choice("on_hard", VERDICTS, "above the ceiling; deny"),
            Verdict::Deny,
        );
        let on_missing = OnUnknown::read(fields);
        let (window_ms, calendar) = match window.as_str() {
            "day" => (DAY_MS, Some(CalendarWindow::Day)),
            "week" => (7 * DAY_MS, Some(CalendarWindow::Week)),
            "month" => (31 * DAY_MS, Some(CalendarWindow::Month)),
            text => match crate::text::units::duration_ms(text) {
                Ok(ms) if ms > 0 => (i64::try_from(ms).unwrap_or(i64::MAX), None),
                _ => {
                    if fields.has("window") {
                        fields.problem(
                            "window",
                            format!("`{text}` is neither a duration nor day, week or month"),
                        );
                    }
                    (DAY_MS, None)
                }
            },
        };
        Some(Self {
            scope,
            names,
            currency,
            ceiling_micros,
            window_ms,
            calendar,
            zone: Zone::read(fields, "the IANA time zone of a calendar window; UTC"),
            soft_bp: soft_bp.unwrap_or(8_000),
            on_soft,
            on_hard,
            on_missing,
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let change = asked.details.cost_delta_micros_per_h;
        if change.is_some_and(|change| change < 0) {
            return;
        }
        if let (Some(change), Some(lease)) = (change, numbers.get(3)) {
            // Away from the hub only the slice that it leased counts; what others spend meanwhile is not known.
            let left = self.left_ms(asked.now.wall.0).unwrap_or(self.window_ms);
            let more = mul_div(change, left, HOUR_MS);
            let finding = Finding::pass(2, "<=", Some(more), Some(lease), Unit::Count);
            return push(if more <= lease {
                finding
            } else {
                finding.fails(self.on_hard, None)
            });
        }
        let (Some(change), Some(spent), Some(rate)) = (change, numbers.get(0), numbers.get(2)) else {
            return push(
                self.on_missing
                    .finding(asked, 0, "<=", Some(self.ceiling_micros), Unit::Count),
            );
        };
        let committed = numbers.get(1).unwrap_or(0);
        let rate = rate.saturating_add(change);
        let so_far = spent.saturating_add(committed);
        let projected = match self.left_ms(asked.now.wall.0) {
            Some(left) => so_far.saturating_add(mul_div(rate, left, HOUR_MS)),
            None => so_far.max(mul_div(rate, self.window_ms, HOUR_MS)),
        };
        let soft = mul_div(self.ceiling_micros, self.soft_bp, 10_000);
        let hard = Finding::pass(0, "<=", Some(projected), Some(self.ceiling_micros), Unit::Count);
        if projected > self.ceiling_micros {
            push(hard.fails(self.on_hard, None));
        } else if projected > soft {
            push(
                Finding {
                    part: 1,
                    limit: Some(soft),
                    ..hard
                }
                .fails(self.on_soft, None),
            );
        } else {
            push(hard);
        }
    }

    /// What is left of a calendar window.
    fn left_ms(&self, now: i64) -> Option<i64> {
        let (_, end) = match self.calendar? {
            CalendarWindow::Day => self.zone.day_of(now),
            CalendarWindow::Week => self.zone.week_of(now),
            CalendarWindow::Month => self.zone.month_of(now),
        };
        Some(end.saturating_sub(now))
    }

    pub fn what(&self, part: u8) -> String {
        if part == 2 {
            return format!(
                "cost of this in what {} leased to the node, in millionths of {}",
                self.scope, self.currency
            );
        }
        let limit = if part == 1 { ", soft limit" } else { "" };
        format!(
            "projected cost of {} in millionths of {}{limit}",
            self.scope, self.currency
        )
    }

    pub fn text(&self) -> String {
        format!(
            "{} spends at most {}.{:02} {}",
            self.scope,
            self.ceiling_micros / 1_000_000,
            self.ceiling_micros % 1_000_000 / 10_000,
            self.currency
        )
    }
}
