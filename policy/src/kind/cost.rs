//! `cost_ceiling`: what a scope spends in a window, projected with the change, against a ceiling in millionths of a unit of money.
//!
//! A node without its hub spends from a leased slice only: the fact `SCOPE.cost_lease_micros`, [`lease_slice`].
//!
//! Projected = spent + committed + (run rate + change) x time left. In a rolling window of n days nothing is ever "left", so there
//! the rate counts over a whole window and the larger of the two is compared. What lowers cost is exempt, and so is every safety
//! reflex (a power cap, whatever its number; an envelope bounds that) and the way back from a step already taken.
//!
//! Where the rate is told and what was spent is not, as of clusters, a rolling window compares the rate alone.
//!
//! What was spent and the run rate come from a meter of the bundle, which the agent observes itself (`meter.rs`) and for which nothing
//! need be leased, or from elsewhere by name. So does the change: on a device that the meter meters it is the change of allotted power
//! times the price. A change that nobody stated is not nothing: the rule then cannot know, and `on_missing` says what that means.

use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, mul_div, read_names};
use crate::actions;
use crate::calendar::Zone;
use crate::indicator::MAX_PERIOD_MS;
use crate::ledger::{Numbers, World};
use crate::meter::Meter;
use crate::rule::{Asked, Finding, POWER};
use crate::text::fields::Fields;
use crate::text::units::show_duration;

/// What a hub may lease to one node for the time without it: half of the node's share of what is left, so that all nodes together
/// cannot pass the ceiling while the hub goes on spending the other half.
pub fn lease_slice(remaining_micros: i64, share_bp: u16) -> i64 {
    mul_div(remaining_micros.max(0), i64::from(share_bp.min(10_000)), 20_000)
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Places of the numbers that a meter gives.
const SPENT: usize = 0;
const RATE: usize = 2;

/// Which comparison: with the soft limit, with the lease, and that of which only the change is not known.
const SOFT: u8 = 1;
const LEASE: u8 = 2;
const CHANGE: u8 = 3;

/// The ceiling of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cost {
    scope: String,
    /// The meter of that name, if the bundle has one.
    meter: Option<Meter>,
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
        let (scope, names) = read_names(
            fields,
            "scope",
            "whose cost: a meter of the bundle, which the agent observes itself; or a tenant, a namespace, a node",
            &numbers,
        );
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
            meter: None,
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

    /// Finds the meter that it is about. An error says why that cannot answer for it.
    pub fn bind(&mut self, meters: &[Meter]) -> Result<(), String> {
        self.meter = meters.iter().find(|meter| meter.id == self.scope).cloned();
        let window_ms = u64::try_from(self.window_ms).unwrap_or(0);
        if self.meter.is_some() && self.calendar.is_none() && window_ms > MAX_PERIOD_MS {
            return Err(format!(
                "meter `{}` looks back over {} at most, or a calendar month",
                self.scope,
                show_duration(MAX_PERIOD_MS)
            ));
        }
        Ok(())
    }

    /// Whether a meter of the bundle tells what is spent.
    pub fn is_metered(&self) -> bool {
        self.meter.is_some()
    }

    /// Takes what was spent in its own window, and the run rate, from the meter that it is about, where there are readings to meter.
    pub fn recall(&self, world: &World<'_>, asked: &Asked<'_>, numbers: &mut Numbers) {
        let Some((meters, courses)) = world.meters.filter(|_| self.meter.is_some()) else {
            return;
        };
        let wall = asked.now.wall.0;
        let window_ms = match self.calendar_window(wall) {
            None => u64::try_from(self.window_ms).unwrap_or(MAX_PERIOD_MS),
            // Nobody knows when the window began.
            Some(_) if asked.clock_wrong => MAX_PERIOD_MS,
            Some((start, _)) => wall.saturating_sub(start).unsigned_abs(),
        };
        if let Some((spent, rate)) = courses.spent(meters, &self.scope, asked.now.mono, window_ms) {
            numbers.set(SPENT, spent);
            numbers.set(RATE, rate);
        }
    }

    /// By how much the action changes the cost per hour, if anybody knows.
    fn change(&self, asked: &Asked<'_>) -> Option<i64> {
        let stated = asked.details.cost_delta_micros_per_h;
        let Some(meter) = self.meter.as_ref().filter(|meter| meter.covers(asked.target)) else {
            return stated;
        };
        match asked.details.resource(POWER) {
            Some(change) => change.map(|milliwatts| meter.price.of_power(milliwatts)),
            // Of what an agent does itself, only a limit of power changes what a device may draw.
            None => stated.or_else(|| actions::keeps_power(asked.kind).then_some(0)),
        }
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let change = self.change(asked);
        if change.is_some_and(|change| change < 0) {
            return;
        }
        if let (Some(change), Some(lease)) = (change, numbers.get(3)) {
            // Away from the hub only the slice that it leased counts; what others spend meanwhile is not known.
            let left = self.left_ms(asked.now.wall.0).unwrap_or(self.window_ms);
            let more = mul_div(change, left, HOUR_MS);
            let finding = Finding::pass(LEASE, "<=", Some(more), Some(lease), Unit::Count);
            return push(finding.fails_unless(more <= lease, self.on_hard, None));
        }
        let (spent, rate) = match (numbers.get(SPENT), numbers.get(RATE)) {
            (Some(spent), Some(rate)) => (spent, rate),
            // In a rolling window the rate counts over the whole of it; only what a calendar window has spent cannot be left out.
            (None, Some(rate)) if self.calendar.is_none() => (0, rate),
            (_, None) | (None, Some(_)) => {
                let limit = Some(self.ceiling_micros);
                return push(self.on_missing.finding(asked, 0, "<=", limit, Unit::Count));
            }
        };
        let Some(change) = change else {
            return push(self.on_missing.finding(asked, CHANGE, "<=", None, Unit::Count));
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
                    part: SOFT,
                    limit: Some(soft),
                    ..hard
                }
                .fails(self.on_soft, None),
            );
        } else {
            push(hard);
        }
    }

    /// The present calendar window: from, until.
    fn calendar_window(&self, now: i64) -> Option<(i64, i64)> {
        Some(match self.calendar? {
            CalendarWindow::Day => self.zone.day_of(now),
            CalendarWindow::Week => self.zone.week_of(now),
            CalendarWindow::Month => self.zone.month_of(now),
        })
    }

    /// What is left of a calendar window.
    fn left_ms(&self, now: i64) -> Option<i64> {
        let (_, end) = self.calendar_window(now)?;
        Some(end.saturating_sub(now))
    }

    /// The window for people.
    fn window_text(&self) -> String {
        match self.calendar {
            Some(CalendarWindow::Day) => "this day".to_owned(),
            Some(CalendarWindow::Week) => "this week".to_owned(),
            Some(CalendarWindow::Month) => "this month".to_owned(),
            None => show_duration(self.window_ms.unsigned_abs()),
        }
    }

    pub fn what(&self, part: u8) -> String {
        if part == LEASE {
            return format!(
                "cost of this in what {} leased to the node, in millionths of {}",
                self.scope, self.currency
            );
        }
        let limit = if part == SOFT { ", soft limit" } else { "" };
        let change = if part == CHANGE { "change by this of the " } else { "" };
        let Self { scope, currency, .. } = self;
        match &self.meter {
            // With all that its numbers depend on: of another price or window they are other numbers.
            Some(meter) => format!(
                "{change}projected cost of {scope} at {}, in millionths of {currency}{limit}, in {}",
                meter.price.text(currency),
                self.window_text()
            ),
            None => format!("{change}projected cost of {scope} in millionths of {currency}{limit}"),
        }
    }

    pub fn text(&self) -> String {
        let spends = format!(
            "{} spends at most {}.{:02} {}",
            self.scope,
            self.ceiling_micros / 1_000_000,
            self.ceiling_micros % 1_000_000 / 10_000,
            self.currency
        );
        match &self.meter {
            Some(meter) => {
                let window = self.window_text().replace("this ", "a ");
                format!("{spends} in {window} ({})", meter.what())
            }
            None => spends,
        }
    }
}
