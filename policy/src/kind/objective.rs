//! `sla` and `slo_burn`: what is left of a promise, and how fast it is being used up.
//!
//! An SLA budget is time: (1 - target) x period - what was lost. An SLO burns at bad ratio / (1 - target); a tier counts only when
//! its long **and** its short window exceed it. Remedies are never blocked by the breach that they cure.
//! Source: `control.md` 9.4.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, as_ms, mul_div, read_names};
use crate::calendar::Zone;
use crate::ledger::Numbers;
use crate::rule::{Asked, Finding, Source};
use crate::text::fields::Fields;
use crate::text::units;

/// A promise of availability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sla {
    service: String,
    names: Vec<String>,
    target_bp: i64,
    period: Period,
    on_missing: OnUnknown,
}

/// Over which time a promise is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Period {
    Rolling(i64),
    /// A calendar month in a zone.
    Month(Zone),
}

impl Sla {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (service, names) = read_names(fields, "service", "whose promise", &["outage_ms", "prevents_loss_ms"]);
        let target_bp = fields.need_amount("target", Some(Unit::BasisPoints), "the promised availability, 99.9 %");
        let period = fields.text("period", "over this time, 30 d (default), or a calendar month: month");
        let zone = Zone::read(fields, "the IANA time zone of the month; UTC");
        let period = match period.as_deref() {
            Some("month") => Period::Month(zone),
            Some(text) => match units::duration_ms(text) {
                Ok(ms) if ms > 0 => Period::Rolling(as_ms(Some(ms)).unwrap_or(0)),
                _ => {
                    fields.problem("period", format!("`{text}` is neither a duration nor month"));
                    Period::Rolling(0)
                }
            },
            None => Period::Rolling(30 * 86_400_000),
        };
        if !(0..=10_000).contains(&target_bp) {
            fields.problem("target", "is outside 0 %..=100 %");
        }
        Some(Self {
            service,
            names,
            target_bp,
            period,
            on_missing: OnUnknown::read(fields),
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        if !asked.info().disruptive || asked.is_remedy() {
            return;
        }
        let Some(consumed) = numbers.get(0) else {
            return push(self.on_missing.finding(asked, 0, "<=", None, Unit::Milliseconds));
        };
        let period_ms = match &self.period {
            Period::Rolling(ms) => *ms,
            Period::Month(zone) => {
                let (start, end) = zone.month_of(asked.now.wall.0);
                end.saturating_sub(start)
            }
        };
        let budget = mul_div(period_ms, 10_000 - self.target_bp, 10_000).saturating_sub(consumed);
        let Some(lasts) = asked.details.lasts_ms else {
            return push(
                self.on_missing
                    .finding(asked, 0, "<=", Some(budget), Unit::Milliseconds),
            );
        };
        let finding = Finding::pass(0, "<=", Some(lasts), Some(budget), Unit::Milliseconds);
        let saves = numbers.get(1).is_some_and(|prevents| prevents > lasts);
        push(if lasts > budget && !saves {
            finding.fails(Verdict::Deny, None)
        } else if lasts > budget / 2 && !saves {
            Finding {
                part: 1,
                limit: Some(budget / 2),
                ..finding
            }
            .fails(Verdict::RequireApproval, None)
        } else {
            finding
        });
    }

    pub fn what(&self, part: u8) -> String {
        let share = if part == 1 { "half of " } else { "" };
        format!("interruption within {share}the budget left of {}", self.service)
    }

    pub fn text(&self) -> String {
        format!(
            "{} is up {} of the time",
            self.service,
            crate::rule::show(self.target_bp, Unit::BasisPoints)
        )
    }
}

/// One pair of windows of a burn rate.
struct Tier {
    name: &'static str,
    /// Places of the long and the short window's burn among the numbers.
    windows: (usize, usize),
    /// In thousandths.
    burn_milli: i64,
    verdict: Verdict,
    from: RiskClass,
    /// Changes of people are left alone, unless they are steps of a rollout.
    spares_people: bool,
}

/// Numbers of a rule: burns in thousandths by window, then what is left of the budget in hundredths of a percent.
pub(crate) const BURNS: [&str; 9] = [
    "burn_5m",
    "burn_1h",
    "burn_30m",
    "burn_6h",
    "burn_2h",
    "burn_1d",
    "budget_left_bp",
    "events_short",
    "burn_3d",
];
const BUDGET_LEFT: usize = 6;
const EVENTS: usize = 7;
/// With fewer events in the short window only the long one is asked. Source: `control.md` 9.4.
const MIN_EVENTS: i64 = 30;

const TIERS: [Tier; 4] = [
    Tier {
        name: "page-fast (1 h and 5 min)",
        windows: (1, 0),
        burn_milli: 14_400,
        verdict: Verdict::Hold,
        from: RiskClass::Medium,
        spares_people: true,
    },
    Tier {
        name: "page-slow (6 h and 30 min)",
        windows: (3, 2),
        burn_milli: 6_000,
        verdict: Verdict::Hold,
        from: RiskClass::High,
        spares_people: false,
    },
    Tier {
        name: "ticket (1 d and 2 h)",
        windows: (5, 4),
        burn_milli: 3_000,
        verdict: Verdict::RequireApproval,
        from: RiskClass::High,
        spares_people: false,
    },
    // Only shown.
    Tier {
        name: "watch (3 d and 6 h)",
        windows: (8, 3),
        burn_milli: 1_000,
        verdict: Verdict::Allow,
        from: RiskClass::Medium,
        spares_people: false,
    },
];

/// A service level objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slo {
    sli: String,
    names: Vec<String>,
    on_missing: OnUnknown,
}

impl Slo {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (sli, names) = read_names(fields, "sli", "the indicator that burns", &BURNS);
        Some(Self {
            sli,
            names,
            // Unknown holds, whatever the class: burning unseen is burning. Source: `control.md` 9.4.
            on_missing: OnUnknown::read(fields).or(Verdict::Hold),
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let class = asked.info().class;
        if asked.is_remedy() || class < RiskClass::Medium {
            return;
        }
        let is_persons = matches!(asked.source, Source::Human | Source::Local) && asked.info().name != "rollout_step";
        let few = numbers.get(EVENTS).is_some_and(|events| events < MIN_EVENTS);
        for (index, tier) in TIERS.iter().enumerate().filter(|(_, tier)| class >= tier.from) {
            if tier.spares_people && is_persons {
                continue;
            }
            let (long, short) = (numbers.get(tier.windows.0), numbers.get(tier.windows.1));
            let part = index as u8;
            let limit = Some(tier.burn_milli);
            let slower = match (long, short) {
                (Some(long), Some(short)) if !few => long.min(short),
                (Some(long), _) if few => long,
                _ if tier.verdict == Verdict::Allow => continue,
                _ => {
                    push(self.on_missing.finding(asked, part, "<=", limit, Unit::Milli));
                    continue;
                }
            };
            let finding = Finding::pass(part, "<=", Some(slower), limit, Unit::Milli);
            push(if slower <= tier.burn_milli {
                finding
            } else {
                finding.fails(tier.verdict, None)
            });
        }
        if let Some(left) = numbers.get(BUDGET_LEFT) {
            let finding = Finding::pass(BUDGET_LEFT as u8, ">=", Some(left), Some(0), Unit::BasisPoints);
            push(if left >= 0 {
                finding
            } else {
                finding.fails(Verdict::Deny, None)
            });
        }
    }

    pub fn what(&self, part: u8) -> String {
        match TIERS.get(usize::from(part)) {
            Some(tier) => format!("burn rate of {}, {}", self.sli, tier.name),
            None => format!("error budget left of {}", self.sli),
        }
    }

    pub fn text(&self) -> String {
        format!("{} does not burn its error budget", self.sli)
    }
}

/// How fast an error budget is used up, in thousandths: bad share / (1 - target). `None` without events, or with a target of all.
pub fn burn_milli(good: u64, total: u64, target_bp: u16) -> Option<i64> {
    let allowed = 10_000u64
        .checked_sub(u64::from(target_bp))
        .filter(|allowed| *allowed > 0)?;
    let bad = total.checked_sub(good)?;
    let milli = u128::from(bad) * 10_000 * 1_000 / u128::from(total.max(1)) / u128::from(allowed);
    (total > 0).then(|| i64::try_from(milli).unwrap_or(i64::MAX))
}
