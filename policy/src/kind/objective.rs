//! `sla` and `slo_burn`: what is left of a promise, and how fast it is being used up.
//!
//! An SLA budget is time: (1 - target) x period - what was lost. An SLO burns at bad ratio / (1 - target); a tier counts only when
//! its long **and** its short window exceed it, and clears when the short one has been calm for twice its length. Remedies are never
//! blocked by the breach that they cure.
//! The numbers come from an indicator of the bundle, which the agent observes itself (`indicator.rs`), or from elsewhere by name.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, as_ms, mul_div, read_names};
use crate::calendar::Zone;
use crate::counters::{Counters, Place};
use crate::indicator::{Indicator, MAX_PERIOD_MS};
use crate::ledger::{Numbers, World};
use crate::rule::{Asked, Finding, Source};
use crate::text::fields::Fields;
use crate::text::units::{self, show_duration};
use wire::Mono;

/// A promise of availability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sla {
    service: String,
    names: Vec<String>,
    target_bp: i64,
    period: Period,
    /// How long an action interrupts when nobody says.
    lasts_ms: Option<i64>,
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
        let lasts = fields.duration(
            "lasts",
            "how long such an action interrupts when the asker does not say, as on an agent; without it that is unknown",
        );
        Some(Self {
            service,
            names,
            target_bp,
            period,
            lasts_ms: as_ms(lasts),
            on_missing: OnUnknown::read(fields),
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Why an indicator cannot answer for this promise, if it is about one.
    pub fn beyond(&self, indicators: &[Indicator]) -> Option<String> {
        let is_own = indicators.iter().any(|indicator| indicator.id == self.service);
        let limit = as_ms(Some(MAX_PERIOD_MS)).unwrap_or(0);
        match self.period {
            Period::Rolling(ms) if is_own && ms > limit => Some(format!(
                "indicator `{}` looks back over {} at most, or a calendar month",
                self.service,
                show_duration(MAX_PERIOD_MS)
            )),
            Period::Rolling(_) | Period::Month(_) => None,
        }
    }

    /// Takes what was lost in its own period from the indicator that it is about, if the agent has one of that name.
    pub fn recall(&self, world: &World<'_>, asked: &Asked<'_>, numbers: &mut Numbers) {
        let Some((indicators, courses)) = world.indicators else {
            return;
        };
        let wall = asked.now.wall.0;
        let window_ms = match &self.period {
            Period::Rolling(ms) => u64::try_from(*ms).unwrap_or(MAX_PERIOD_MS),
            // Nobody knows when the month began.
            Period::Month(_) if asked.clock_wrong => MAX_PERIOD_MS,
            Period::Month(zone) => wall.saturating_sub(zone.month_of(wall).0).unsigned_abs(),
        };
        if let Some(lost) = courses.outage_ms(indicators, &self.service, asked.now.mono, window_ms) {
            numbers.set(0, lost);
        }
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
        let Some(lasts) = asked.details.lasts_ms.or(self.lasts_ms) else {
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

const MINUTE_MS: u64 = 60_000;
/// A budget that is used up exactly in time burns at this rate, in thousandths.
const STEADY_MILLI: i64 = 1_000;
/// Where it is kept that a tier has fired: failures 1 is firing, finished is since when the short window is calm.
const FIRED: &str = "tier";
fn set_tier(counters: &mut Counters, place: Place<'_>, now: Mono, (firing, since): (u8, Mono)) {
    counters.change_mark(
        place,
        now,
        |_| u64::MAX,
        |mark| {
            (mark.failures, mark.finished) = (firing, since);
        },
    );
}

/// The short window is not calm.
const NOT_CALM: Mono = Mono(u64::MAX);
/// Findings of tiers that have fired and not cleared have this added to their part.
const CLEARING: u8 = 16;

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
    short_ms: u64,
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
/// Names of all numbers: what was observed, then a bit for each tier that has fired and not cleared.
pub(crate) const SLO: [&str; 10] = [
    BURNS[0], BURNS[1], BURNS[2], BURNS[3], BURNS[4], BURNS[5], BURNS[6], BURNS[7], BURNS[8], "firing",
];
const FIRING: usize = 9;
/// The place of the tier whose least class a rule can choose.
const FASTEST: usize = 0;
const BUDGET_LEFT: usize = 6;
const EVENTS: usize = 7;
/// With fewer events in the short window only the long one is asked.
const MIN_EVENTS: i64 = 30;

const TIERS: [Tier; 4] = [
    Tier {
        name: "page-fast (1 h and 5 min)",
        windows: (1, 0),
        burn_milli: 14_400,
        verdict: Verdict::Hold,
        from: RiskClass::Medium,
        spares_people: true,
        short_ms: 5 * MINUTE_MS,
    },
    Tier {
        name: "page-slow (6 h and 30 min)",
        windows: (3, 2),
        burn_milli: 6_000,
        verdict: Verdict::Hold,
        from: RiskClass::High,
        spares_people: false,
        short_ms: 30 * MINUTE_MS,
    },
    Tier {
        name: "ticket (1 d and 2 h)",
        windows: (5, 4),
        burn_milli: 3_000,
        verdict: Verdict::RequireApproval,
        from: RiskClass::High,
        spares_people: false,
        short_ms: 120 * MINUTE_MS,
    },
    // Only shown.
    Tier {
        name: "watch (3 d and 6 h)",
        windows: (8, 3),
        burn_milli: 1_000,
        verdict: Verdict::Allow,
        from: RiskClass::Medium,
        spares_people: false,
        short_ms: 360 * MINUTE_MS,
    },
];

/// A service level objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slo {
    sli: String,
    names: Vec<String>,
    /// The least class that the first tier holds.
    from: RiskClass,
    on_missing: OnUnknown,
}

impl Slo {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (sli, names) = read_names(fields, "sli", "the indicator that burns", &BURNS);
        let from = fields.choice(
            "from",
            &["low", "medium", "high"],
            "the least class of action that the fastest tier (1 h and 5 min) holds; medium",
        );
        Some(Self {
            sli,
            names,
            from: match from {
                Some(0) => RiskClass::Low,
                Some(2) => RiskClass::High,
                _ => RiskClass::Medium,
            },
            // Unknown holds, whatever the class: burning unseen is burning.
            on_missing: OnUnknown::read(fields).or(Verdict::Hold),
        })
    }

    /// Full names of its numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it can object to actions of this class.
    pub fn can_object(&self, class: RiskClass) -> bool {
        class >= self.from.min(RiskClass::Medium)
    }

    /// Lets time pass: a tier fires when both windows exceed it, and clears when the short one has been calm for twice its length.
    pub fn observe(&self, counters: &mut Counters, numbers: &Numbers, now: Mono) {
        let number = |index: usize| numbers.get(index);
        let few = number(EVENTS).is_some_and(|events| events < MIN_EVENTS);
        for (index, tier) in TIERS
            .iter()
            .enumerate()
            .filter(|(_, tier)| tier.verdict != Verdict::Allow)
        {
            let (long, short) = (number(tier.windows.0), number(tier.windows.1));
            let exceeds = |burn: Option<i64>| burn.is_some_and(|burn| burn > tier.burn_milli);
            let place = (index as u8, FIRED);
            if exceeds(long) && (few || exceeds(short)) {
                set_tier(counters, place, now, (1, NOT_CALM));
            } else if let Some(firing) = counters.mark(place).filter(|mark| mark.failures > 0) {
                let is_calm = short.is_some_and(|short| short < STEADY_MILLI);
                let since = match (is_calm, firing.finished) {
                    (false, _) => NOT_CALM,
                    (true, NOT_CALM) => now,
                    (true, since) => since,
                };
                let clears = is_calm && now.0.saturating_sub(since.0) >= 2 * tier.short_ms;
                set_tier(counters, place, now, (u8::from(!clears), since));
            }
        }
    }

    /// Adds which tiers have fired and not cleared.
    pub fn recall(&self, counters: &Counters, numbers: &mut Numbers) {
        let is_firing = |index: &usize| {
            let mark = counters.mark((*index as u8, FIRED));
            mark.is_some_and(|mark| mark.failures > 0)
        };
        let bits = (0..TIERS.len())
            .filter(is_firing)
            .fold(0, |bits, index| bits | 1 << index);
        numbers.set(FIRING, (bits != 0).then_some(bits));
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        let class = asked.info().class;
        if asked.is_remedy() || !self.can_object(class) {
            return;
        }
        let is_persons = matches!(asked.source, Source::Human | Source::Local) && asked.info().name != "rollout_step";
        let few = numbers.get(EVENTS).is_some_and(|events| events < MIN_EVENTS);
        for (index, tier) in TIERS.iter().enumerate() {
            let from = if index == FASTEST { self.from } else { tier.from };
            if class < from || tier.spares_people && is_persons {
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
            if slower > tier.burn_milli {
                push(finding.fails(tier.verdict, None));
            } else if numbers.get(FIRING).unwrap_or(0) & (1 << index) != 0 {
                let clearing = Finding::pass(part + CLEARING, "<", short, Some(STEADY_MILLI), Unit::Milli);
                push(clearing.fails(tier.verdict, None));
            } else {
                push(finding);
            }
        }
        if let Some(left) = numbers.get(BUDGET_LEFT).filter(|_| class >= RiskClass::Medium) {
            let finding = Finding::pass(BUDGET_LEFT as u8, ">=", Some(left), Some(0), Unit::BasisPoints);
            push(finding.fails_unless(left >= 0, Verdict::Deny, None));
        }
    }

    pub fn what(&self, part: u8) -> String {
        if let Some(tier) = part.checked_sub(CLEARING).and_then(|part| TIERS.get(usize::from(part))) {
            return format!(
                "burn rate of {} in the short window, for {}, since {} fired",
                self.sli,
                show_duration(2 * tier.short_ms),
                tier.name
            );
        }
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
