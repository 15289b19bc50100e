//! `change_freeze` and `maintenance_window`: times in which changes do not begin, and times outside which they do not.
//!
//! Safety reflexes and rollbacks are exempt. A change that would still run when a freeze begins is not started.
//! The wall clock counts as standing anywhere within its error: a freeze is as much longer, a maintenance window as much shorter.
//! With a clock that is certainly wrong, or of which nothing is known, a freeze within a day counts as active and a maintenance window
//! as open only if it is for a day around now, for class medium and above; for the lower classes the clock counts as right.
//!
//! All maintenance windows of one action are one: what begins in one may end in the next if no time lies between them, and what must
//! wait waits for the soonest that is long enough.
//!
//! Invariant: what is granted is neither valid into a freeze nor beyond the maintenance windows, for as long as it takes.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use crate::calendar::Calendar;
use crate::rule::{Asked, Finding, Mode, Rule};
use crate::text::fields::Fields;

const DAY_MS: i64 = 86_400_000;

/// What cannot be read off the fields of a freeze, for people.
pub(crate) const FREEZE_HELP: &str = "\
what is under way when a freeze begins
  A node takes one step at a time. An action that has started is finished and its effect is verified; one that was allowed and has
  not started by then does not start. Whatever comes next is judged anew, and waits. Safety reflexes and the way back from a step
  already taken are exempt. So a node does the same for each `in_flight`; finish, pause and rollback are in the bundle for whoever
  runs plans of several steps.
whose clock counts
  The node's, give or take by how much it may differ from its hub's (`sentinel describe node`): a freeze is as much longer. A node
  that was compared with no hub since its start counts a freeze within 24 h as active for class medium and above.
";

/// Times, and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Windows {
    calendar: Calendar,
    /// What people call it, for example `peak sale`.
    reason: String,
    /// What becomes of a change that is under way when a freeze begins: index into [`IN_FLIGHT`].
    in_flight: usize,
    /// When the rule counts.
    counts: (i64, i64),
}

/// Most windows that are joined, or passed over because they are too short.
const MAX_WINDOWS: usize = 64;

/// What the maintenance windows say of one action, all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// It may begin now.
    pub is_open: bool,
    /// For how long changes may go on from now, wherever within its error the clock stands. 0 if they may not begin.
    pub left_ms: i64,
    /// In how long it may begin, if it may not now.
    pub retry_ms: Option<u64>,
}

/// What becomes of changes that are under way.
const IN_FLIGHT: &[&str] = &["finish", "pause", "rollback"];

impl Windows {
    pub fn read(fields: &mut Fields<'_>, is_freeze: bool) -> Option<Self> {
        let calendar = Calendar::read(fields);
        let reason = fields.text("reason", "what people call it").unwrap_or_default();
        let in_flight = fields.choice(
            "in_flight",
            IN_FLIGHT,
            "for a freeze: what becomes of a change that is under way when it begins; finish",
        );
        if !is_freeze && in_flight.is_some() {
            fields.doubt(
                "in_flight",
                "is for a change_freeze: nothing is begun that does not end inside a maintenance window",
            );
        }
        calendar.map(|calendar| Self {
            calendar,
            reason,
            in_flight: in_flight.unwrap_or(0),
            counts: (i64::MIN, i64::MAX),
        })
    }

    /// Says from when on and until when the rule counts. Outside that a freeze has no window, and a maintenance window asks for none.
    pub fn set_counts(&mut self, from: i64, until: i64, is_freeze: bool) {
        self.counts = (from, until);
        if is_freeze {
            self.calendar.set_counts(from, until);
        }
    }

    fn counts_at(&self, at: i64) -> bool {
        self.counts.0 <= at && at < self.counts.1
    }

    /// What becomes of a change that is under way when a freeze begins.
    pub fn in_flight(&self) -> &'static str {
        IN_FLIGHT[self.in_flight]
    }

    /// A freeze: holds while a window covers now, or would before the change and its way back are over.
    pub fn assess_freeze(&self, asked: &Asked<'_>, push: &mut impl FnMut(Finding)) {
        let now = asked.now.wall.0;
        let finding = Finding::pass(0, "=", Some(0), Some(0), Unit::Flag);
        if let Some(end) = self.calendar.covers(now) {
            let left = u64::try_from(end.saturating_sub(now)).ok();
            let active = Finding {
                observed: Some(1),
                ..finding
            };
            return push(active.fails(Verdict::Hold, left));
        }
        if is_unsure(asked) && self.calendar.may_cover(now, DAY_MS).is_some() {
            let unsure = Finding {
                part: if asked.clock_wrong { 1 } else { 4 },
                observed: None,
                ..finding
            };
            return push(unsure.fails(Verdict::Hold, None));
        }
        let error = asked.clock_error_ms;
        if error > 0
            && let Some(end) = self.calendar.may_cover(now, error)
        {
            let start = self.calendar.start_between(now, now.saturating_add(error));
            let finding = Finding {
                part: 3,
                limit: Some(error),
                op: ">",
                unit: Unit::Milliseconds,
                observed: start.map(|start| start.saturating_sub(now)),
                ..finding
            };
            let left = end.saturating_sub(now).saturating_add(error);
            return push(finding.fails(Verdict::Hold, u64::try_from(left).ok()));
        }
        push(finding);
        let Some(needs) = asked.details.needs_ms() else {
            return;
        };
        let Some(start) = self.calendar.next_start(now) else {
            return;
        };
        let left = start.saturating_sub(now);
        let needs = needs.saturating_add(error);
        let finding = Finding::pass(2, "<=", Some(needs), Some(left), Unit::Milliseconds);
        push(if needs <= left {
            finding
        } else {
            let end = self.calendar.covers(start).map(|end| end.saturating_sub(now));
            finding.fails(Verdict::Hold, end.and_then(|ms| u64::try_from(ms).ok()))
        });
    }

    /// A maintenance window: holds unless the change lies inside this and the other windows, which `opening` tells of.
    pub fn assess_maintenance(&self, asked: &Asked<'_>, opening: &Opening, push: &mut impl FnMut(Finding)) {
        let now = asked.now.wall.0;
        let error = error_of(asked);
        let is_inside = |at: i64| !self.counts_at(at) || self.calendar.covers(at).is_some();
        let inside = is_inside(now.saturating_sub(error)) && is_inside(now.saturating_add(error));
        let finding = Finding::pass(0, "=", Some(i64::from(inside)), Some(1), Unit::Flag);
        if opening.is_open {
            // Another window of the union may be the one that is open.
            return push(finding.fails_unless(inside, Verdict::Allow, None));
        }
        if is_unsure(asked) {
            let unsure = Finding {
                part: if asked.clock_wrong { UNSURE } else { UNHEARD },
                observed: None,
                ..finding
            };
            return push(unsure.fails(Verdict::Hold, None));
        }
        let needs = asked.details.needs_ms().filter(|_| inside && opening.left_ms > 0);
        let short = needs.map(|needs| {
            let left = Some(opening.left_ms);
            Finding::pass(SHORT, "<=", Some(needs), left, Unit::Milliseconds)
        });
        push(short.unwrap_or(finding).fails(Verdict::Hold, opening.retry_ms));
    }

    /// How long the change may wait before a freeze could begin that it does not end before, if that is less than `far_ms`; none
    /// counts as active now.
    pub fn quiet_for(&self, asked: &Asked<'_>, far_ms: i64) -> Option<u64> {
        let needs = asked.details.needs_ms().unwrap_or(0);
        let from = asked.now.wall.0.saturating_add(error_of(asked)).saturating_add(needs);
        // One that begins just when the change is over leaves no time to wait.
        let start = self
            .calendar
            .start_between(from.saturating_sub(1), from.saturating_add(far_ms))?;
        u64::try_from(start.saturating_sub(from)).ok()
    }

    /// A stretch of time from `at` on in which no window begins or is open; `None` if one covers `at`.
    pub fn quiet_from(&self, at: i64) -> Option<(i64, i64)> {
        // As far ahead as the calendar looks.
        const FAR_MS: i64 = 399 * DAY_MS;
        match self.calendar.covers(at) {
            Some(_) => None,
            None => Some((at, self.calendar.next_start(at).unwrap_or(at.saturating_add(FAR_MS)))),
        }
    }

    /// Until when changes are frozen, and from when next: for calendars. Milliseconds since 1970.
    pub fn now_and_next(&self, at_ms: i64) -> (Option<i64>, Option<i64>) {
        (self.calendar.covers(at_ms), self.calendar.next_start(at_ms))
    }

    /// The windows that touch `[from, to)`, and whether there are more. Milliseconds since 1970.
    pub fn between(&self, from_ms: i64, to_ms: i64) -> (Vec<(i64, i64)>, bool) {
        self.calendar.between(from_ms, to_ms)
    }

    /// The zone of its times, for people.
    pub fn zone_name(&self) -> &str {
        self.calendar.zone_name()
    }

    pub fn what(&self, part: u8, freeze: bool) -> String {
        let name = match (self.reason.is_empty(), freeze) {
            (false, _) => self.reason.clone(),
            (true, true) => "change freeze".to_owned(),
            (true, false) => "maintenance window".to_owned(),
        };
        match part {
            0 => format!("{name} active"),
            1 => format!("{name} active (the clock is wrong, one lies within a day)"),
            4 => format!("{name} active (the clock was compared with no hub yet, one lies within a day)"),
            3 => format!("time to {name}, by more than the clock may be off"),
            SHORT => format!("time that the change and its way back need in {name}"),
            UNSURE => format!("{name} active (the clock is wrong, it is not for a day around now)"),
            UNHEARD => {
                format!("{name} active (the clock was compared with no hub yet, it is not for a day around now)")
            }
            _ => format!("time that the change and its way back need before {name}"),
        }
    }

    pub fn text(&self, freeze: bool) -> String {
        let verb = if freeze { "not during" } else { "only during" };
        format!(
            "{verb} {} ({})",
            self.what(0, freeze).trim_end_matches(" active"),
            self.calendar.zone_name()
        )
    }
}

/// Parts of a maintenance window in the trace, besides whether one is active: it is too short for the change; the clock is wrong, or
/// was compared with no hub.
const SHORT: u8 = 5;
const UNSURE: u8 = 6;
const UNHEARD: u8 = 7;

/// The maintenance windows that an action must lie in, as one.
struct Union<I>(I);

impl<'a, I: Fn() -> R, R: Iterator<Item = &'a Windows>> Union<I> {
    /// Whether an action may begin now, and if not when it may.
    fn opening(&self, asked: &Asked<'_>) -> Opening {
        let (now, error) = (asked.now.wall.0, error_of(asked));
        let needs = asked.details.needs_ms().unwrap_or(0);
        // From the earliest to the latest that the clock may mean, and for as long as the change takes.
        let width = error.saturating_mul(2);
        let fits = |from: i64, until: i64| {
            let length = until.saturating_sub(from);
            length > width && length >= width.saturating_add(needs)
        };
        let first = now.saturating_sub(error);
        let (mut from, mut found) = (first, Opening::default());
        for _ in 0..MAX_WINDOWS {
            let Some(start) = self.opens_from(from) else { break };
            let until = self.closes_after(start, width.saturating_add(needs));
            if start == first {
                found.left_ms = until.saturating_sub(start).saturating_sub(width).max(0);
                found.is_open = fits(start, until);
            }
            if fits(start, until) {
                let wait = start.saturating_add(error).saturating_sub(now);
                found.retry_ms = u64::try_from(wait).ok().filter(|_| !found.is_open);
                break;
            }
            from = until;
        }
        found
    }

    /// When changes may not go on any more that went on at `start`; not looked for further than needed.
    fn closes_after(&self, start: i64, needed: i64) -> i64 {
        let enough = start.saturating_add(needed).saturating_add(VALID_FOR_MS);
        let mut until = start;
        for _ in 0..MAX_WINDOWS {
            match self.open_until(until) {
                Some(later) if later > until => until = later,
                _ => break,
            }
            if until >= enough {
                break;
            }
        }
        until
    }

    /// Until when the windows that cover `at` do; until a rule begins to count if none does at `at`. `None` if changes may not go on.
    fn open_until(&self, at: i64) -> Option<i64> {
        if !(self.0)().any(|windows| windows.counts_at(at)) {
            let begins = (self.0)().map(|windows| windows.counts.0).filter(|begins| *begins > at);
            return Some(begins.min().unwrap_or(i64::MAX));
        }
        let counting = (self.0)().filter(|windows| windows.counts_at(at));
        let ends = counting.filter_map(|windows| Some(windows.calendar.covers(at)?.min(windows.counts.1)));
        ends.max()
    }

    /// The first time from `at` on at which changes may go on.
    fn opens_from(&self, at: i64) -> Option<i64> {
        if self.open_until(at).is_some() {
            return Some(at);
        }
        let starts = (self.0)().filter_map(|windows| {
            let from = at.max(windows.counts.0);
            let is_covered = from > at && windows.calendar.covers(from).is_some();
            let start = if is_covered {
                Some(from)
            } else {
                windows.calendar.next_start(from)
            };
            start.filter(|start| *start < windows.counts.1)
        });
        let ends = (self.0)()
            .map(|windows| windows.counts.1)
            .filter(|end| *end > at && *end < i64::MAX);
        starts.chain(ends.filter(|end| self.open_until(*end).is_some())).min()
    }
}

/// What the maintenance windows of this mode say of an action, all together.
pub(crate) fn opening(rules: &[Rule], mode: Mode, asked: &Asked<'_>) -> Opening {
    let windows = || {
        let counting = rules
            .iter()
            .filter(move |rule| rule.mode == mode && rule.kind.is_maintenance() && rule.applies(asked));
        counting.filter_map(|rule| rule.kind.windows())
    };
    Union(windows).opening(asked)
}

/// How long a grant may wait for its turn.
pub(crate) const VALID_FOR_MS: i64 = 60_000;

/// How long the change may wait before a freeze or the end of a maintenance window would hold it, in milliseconds, if that is less than
/// any grant is valid.
pub(crate) fn until_held(rules: &[Rule], asked: &Asked<'_>) -> Option<u64> {
    let begun = Finding::pass(0, "=", Some(1), Some(0), Unit::Flag).fails(Verdict::Hold, None);
    let holds = |rule: &&Rule| {
        let counts = rule.kind.windows().is_some() && rule.mode == Mode::Enforce && rule.applies(asked);
        counts && !rule.weigh(begun, asked).verdict.runs()
    };
    let counting = || rules.iter().filter(holds);
    let freezes = counting().filter_map(|rule| rule.kind.quiet_for(asked, VALID_FOR_MS));
    let is_kept = counting().any(|rule| rule.kind.is_maintenance());
    let closing = is_kept.then(|| {
        let needs = asked.details.needs_ms().unwrap_or(0);
        let left = opening(rules, Mode::Enforce, asked).left_ms.saturating_sub(needs);
        u64::try_from(left).unwrap_or(0)
    });
    let soonest = freezes.chain(closing).min();
    soonest.filter(|left| *left < VALID_FOR_MS.unsigned_abs())
}

/// By how much the wall clock may be off, either way.
fn error_of(asked: &Asked<'_>) -> i64 {
    if is_unsure(asked) { DAY_MS } else { asked.clock_error_ms }
}

/// Whether the clock says nothing, and the action is one that then waits for a freeze that may be there.
fn is_unsure(asked: &Asked<'_>) -> bool {
    (asked.clock_wrong || asked.clock_unknown) && asked.info().class >= RiskClass::Medium
}
