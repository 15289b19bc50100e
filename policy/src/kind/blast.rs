//! `blast_radius`, `confidence` and `mutex`: how much may be touched at once, how sure one must be, and what must not meet.
//!
//! Members that are already unhealthy count against the limit, so that a sick rack is not made sicker.
//! Source: `control.md` 9.4.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, mul_div, read_names};
use super::threshold::as_number;
use crate::ledger::{Counters, Known, MAX_WINDOW, NODE, Numbers, Place, World};
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;
use crate::text::units::show_duration;
use wire::Mono;

/// How much of a domain may be down at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blast {
    domain: String,
    names: Vec<String>,
    max: Share,
    min_healthy: Option<Share>,
    breaker_bp: i64,
    /// For how long the share must be below half of that before the breaker closes.
    reopen_ms: u64,
    /// So many of the domain in so long, and no more.
    max_per_window: Option<(u32, u64)>,
    on_missing: OnUnknown,
}

/// Where the breaker's state is kept: failures 1 is open, finished is since when the share is low.
const BREAKER: Place<'static> = (0, "breaker");
/// Long enough for a second wave to show. Source: `control.md` 9.4.
const REOPEN_MS: u64 = 15 * 60_000;
/// The share is not low.
const NOT_LOW: Mono = Mono(u64::MAX);

/// A number of members, a share of them, or the smaller of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    n: Option<i64>,
    bp: Option<i64>,
}

impl Share {
    fn read(fields: &mut Fields<'_>) -> Self {
        let n = fields.number("n", 0, 1_000_000, "so many members");
        let bp = fields.number(
            "bp",
            0,
            10_000,
            "such a share of the members, in hundredths of a percent",
        );
        if n.is_none() && bp.is_none() {
            fields.problem("n", "`n` or `bp` is missing");
        }
        Self { n, bp }
    }

    fn of(self, members: i64) -> i64 {
        let share = self.bp.map_or(i64::MAX, |bp| mul_div(members, bp, 10_000));
        self.n.unwrap_or(i64::MAX).min(share)
    }
}

/// A third of a domain at once is no chance. Source: `control.md` 9.4.
const BREAKER_BP: i64 = 3_000;

impl Blast {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let numbers = ["members", "unhealthy", "in_flight", "newly_faulty"];
        let (domain, names) = read_names(
            fields,
            "domain",
            "node, rack, site, tenant, service, driver_version, or one of them by name",
            &numbers,
        );
        let max = fields.map(
            "max_concurrent",
            true,
            "how many members may be touched or unhealthy at once",
            |f| Share::read(f),
        );
        let min_healthy = fields.map("min_healthy", false, "how many must stay healthy", |f| Share::read(f));
        let breaker = fields.number(
            "breaker_bp",
            1,
            10_000,
            "share of newly faulty members that stops all but safety reflexes; 3000",
        );
        let reopen = fields.duration(
            "reopen_after",
            "how long the share must be below half of breaker_bp before it stops nothing any more; 15 min",
        );
        let max_per_window = fields.map(
            "max_per_window",
            false,
            "how many disruptive changes of the domain in any interval",
            |f| {
                let n = f.need_number("n", 1, MAX_WINDOW as i64, "so many");
                let window = f.need_duration("window", "in any interval of this length");
                (u32::try_from(n).unwrap_or(1), window)
            },
        );
        let on_missing = OnUnknown::read(fields);
        Some(Self {
            domain,
            reopen_ms: reopen.unwrap_or(REOPEN_MS),
            max_per_window,
            names,
            max: max.unwrap_or(Share { n: Some(0), bp: None }),
            min_healthy,
            breaker_bp: breaker.unwrap_or(BREAKER_BP),
            on_missing,
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Lets time pass for the breaker: it opens with the share, and closes after the share has been below half for long enough.
    pub fn observe(&self, counters: &mut Counters, known: &Known, now: Mono) {
        let number = |index: usize| self.names.get(index).and_then(|name| known.get(name));
        let (Some(members), Some(faulty)) = (number(0), number(3)) else {
            return;
        };
        let share = mul_div(faulty, 10_000, members.max(1));
        let mark = counters.mark(BREAKER);
        if share >= self.breaker_bp {
            let mark = counters.mark_mut(BREAKER, now);
            (mark.failures, mark.finished) = (1, NOT_LOW);
        } else if let Some(open) = mark.filter(|mark| mark.failures > 0) {
            let is_low = share.saturating_mul(2) < self.breaker_bp;
            let since = match (is_low, open.finished) {
                (false, _) => NOT_LOW,
                (true, NOT_LOW) => now,
                (true, since) => since,
            };
            let closes = is_low && now.0.saturating_sub(since.0) >= self.reopen_ms;
            let mark = counters.mark_mut(BREAKER, now);
            (mark.failures, mark.finished) = (u8::from(!closes), since);
        }
    }

    /// Adds what the ledger knows: how many ran in the window, and whether the breaker is open.
    pub fn recall(&self, counters: &Counters, asked: &Asked<'_>, numbers: &mut Numbers) {
        if let Some((limit, window_ms)) = self.max_per_window {
            let (count, free_in_ms) = counters.window(NODE, asked.now.mono, window_ms, limit);
            numbers.set(4, Some(i64::from(count)));
            numbers.set(5, free_in_ms.map(as_number));
        }
        let is_open = counters.mark(BREAKER).is_some_and(|mark| mark.failures > 0);
        numbers.set(6, is_open.then_some(1));
    }

    /// Counts a disruptive change of the domain.
    pub fn debit(&self, counters: &mut Counters, asked: &Asked<'_>) {
        if let Some((limit, window_ms)) = self.max_per_window.filter(|_| asked.info().disruptive) {
            counters.debit(NODE, asked.now.mono, window_ms, limit);
        }
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let class = asked.info().class;
        if class == RiskClass::Safety {
            return;
        }
        let (Some(members), Some(unhealthy)) = (numbers.get(0), numbers.get(1)) else {
            return push(self.on_missing.finding(asked, 0, "<=", None, Unit::Count));
        };
        let touched = unhealthy
            .saturating_add(numbers.get(2).unwrap_or(0))
            .saturating_add(asked.earlier);
        if let Some(faulty) = numbers.get(3).filter(|_| class >= RiskClass::Medium) {
            let share = mul_div(faulty, 10_000, members.max(1));
            let is_open = numbers.get(6) == Some(1);
            let limit = if is_open { self.breaker_bp / 2 } else { self.breaker_bp };
            let finding = Finding::pass(2, "<", Some(share), Some(limit), Unit::BasisPoints);
            push(if share < self.breaker_bp && !is_open {
                finding
            } else {
                finding.fails(Verdict::Hold, None)
            });
        }
        if !asked.info().disruptive {
            return;
        }
        if let Some((limit, _)) = self.max_per_window {
            let count = numbers.get(4).unwrap_or(0);
            let finding = Finding::pass(4, "<", Some(count), Some(i64::from(limit)), Unit::Count);
            push(if count < i64::from(limit) {
                finding
            } else {
                finding.fails(Verdict::Hold, numbers.get(5).and_then(|ms| u64::try_from(ms).ok()))
            });
        }
        let healthy_after = members.saturating_sub(touched).saturating_sub(1);
        let needed = self.min_healthy.map(|share| share.of(members));
        let mut limit = self.max.of(members);
        if members == 1 {
            let finding = Finding::pass(3, ">", Some(members), Some(1), Unit::Count);
            return push(if unhealthy > 0 {
                Finding { holds: true, ..finding }
            } else {
                finding.fails(Verdict::RequireApproval, None)
            });
        }
        if limit == 0 && needed.is_some_and(|needed| healthy_after >= needed) {
            limit = 1;
        }
        let after = touched.saturating_add(1);
        let finding = Finding::pass(0, "<=", Some(after), Some(limit), Unit::Count);
        push(if after <= limit {
            finding
        } else {
            finding.fails(Verdict::Hold, None)
        });
        if let Some(needed) = needed {
            let finding = Finding::pass(1, ">=", Some(healthy_after), Some(needed), Unit::Count);
            push(if healthy_after >= needed {
                finding
            } else {
                finding.fails(Verdict::Hold, None)
            });
        }
    }

    pub fn what(&self, part: u8) -> String {
        match part {
            1 => format!("healthy members of {} after this", self.domain),
            2 => format!("newly faulty members of {}", self.domain),
            3 => format!("members of {}", self.domain),
            4 => {
                let window = self.max_per_window.map_or(0, |(_, window)| window);
                format!("disruptive changes of {} in {}", self.domain, show_duration(window))
            }
            _ => format!("members of {} touched or unhealthy with this", self.domain),
        }
    }

    pub fn text(&self) -> String {
        let limit = match self.max {
            Share { n: Some(n), bp: None } => n.to_string(),
            Share { n, bp: Some(bp) } => {
                let share = crate::rule::show(bp, Unit::BasisPoints);
                n.map_or(share.clone(), |n| format!("{n} and {share}"))
            }
            Share { .. } => "none".to_owned(),
        };
        format!("at most {limit} of {} at once", self.domain)
    }
}

/// How sure a prediction must be, by risk class. Source: `control.md` 9.4.
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
        let min_n = fields.number("min_n", 0, 1_000_000, "outcomes that the calibration must rest on; 30");
        Some(Self {
            names,
            bounds_bp: [bound(low, 6_000), bound(medium, 7_500), bound(high, 9_000)],
            min_n: min_n.unwrap_or(30),
            on_missing: OnUnknown::read(fields),
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
            let finding = Finding::pass(0, ">=", None, Some(limit), Unit::BasisPoints);
            return push(finding.fails(Verdict::RequireApproval, None));
        };
        let n = numbers.get(1).unwrap_or(0);
        let counted = Finding::pass(1, ">=", Some(n), Some(self.min_n), Unit::Count);
        push(if n >= self.min_n {
            counted
        } else {
            counted.fails(Verdict::RequireApproval, None)
        });
        let finding = Finding::pass(0, ">=", Some(p), Some(limit), Unit::BasisPoints);
        push(if p >= limit {
            finding
        } else {
            finding.fails(Verdict::RequireApproval, None)
        });
        let value = (numbers.get(4), numbers.get(5), numbers.get(6));
        if let (Some(benefit), Some(harm), Some(cost)) = value {
            // p x benefit > (1 - p) x harm + what the action costs.
            let p = p.clamp(0, 10_000);
            let gain = mul_div(benefit, p, 10_000);
            let loss = mul_div(harm, 10_000 - p, 10_000).saturating_add(cost);
            let finding = Finding::pass(3, ">", Some(gain), Some(loss), Unit::Count);
            push(if gain > loss {
                finding
            } else {
                finding.fails(Verdict::RequireApproval, None)
            });
        }
    }

    pub fn what(&self, part: u8) -> String {
        match part {
            0 => "calibrated lower bound of success".to_owned(),
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

/// Kinds of action of which never two are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mutex {
    /// Never two on one target; else never two on the node.
    per_target: bool,
    kinds: u64,
}

impl Mutex {
    pub fn read(fields: &mut Fields<'_>, kinds: u64) -> Self {
        let key = fields.choice(
            "key",
            &["target", "node"],
            "never two on one target, or on the whole node (default)",
        );
        Self {
            per_target: key == Some(0),
            kinds,
        }
    }

    pub fn gather(&self, world: &World<'_>, asked: &Asked<'_>) -> Numbers {
        let now = asked.now.mono;
        let count = world.flights.iter().filter(|flight| {
            flight.until > now
                && self.kinds & (1 << flight.kind) != 0
                && (!self.per_target || flight.target.as_str() == asked.target)
        });
        Numbers::of([i64::try_from(count.count()).ok()])
    }

    pub fn assess(&self, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        // When another one ends is not known; a second is a turn of every loop here.
        const RETRY_MS: u64 = 1_000;
        let Some(count) = numbers.get(0) else { return };
        let finding = Finding::pass(0, "=", Some(count), Some(0), Unit::Count);
        push(if count == 0 {
            finding
        } else {
            finding.fails(Verdict::Hold, Some(RETRY_MS))
        });
    }
}
