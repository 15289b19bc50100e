//! `change_freeze` and `maintenance_window`: times in which changes do not begin, and times outside which they do not.
//!
//! Safety reflexes and rollbacks are exempt. A change that would still run when a freeze begins is not started.
//! The wall clock counts as standing anywhere within its error: a freeze is as much longer, a maintenance window as much shorter.
//! With a clock that is certainly wrong, or of which nothing is known, a freeze within a day counts as active for class medium and
//! above; for the lower classes it counts as right. Source: `control.md` 9.1 and 9.4.
//!
//! Invariant: what is granted does not stay valid into a freeze.

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
}

/// What becomes of changes that are under way.
const IN_FLIGHT: &[&str] = &["finish", "pause", "rollback"];

impl Windows {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let calendar = Calendar::read(fields);
        let reason = fields.text("reason", "what people call it").unwrap_or_default();
        let in_flight = fields.choice(
            "in_flight",
            IN_FLIGHT,
            "for a freeze: what becomes of a change that is under way when it begins; finish",
        );
        calendar.map(|calendar| Self {
            calendar,
            reason,
            in_flight: in_flight.unwrap_or(0),
        })
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
        let Some(lasts_ms) = asked.details.lasts_ms else {
            return;
        };
        let Some(start) = self.calendar.next_start(now) else {
            return;
        };
        let left = start.saturating_sub(now);
        let needs = lasts_ms.saturating_add(asked.details.rollback_ms).saturating_add(error);
        let finding = Finding::pass(2, "<=", Some(needs), Some(left), Unit::Milliseconds);
        push(if needs <= left {
            finding
        } else {
            let end = self.calendar.covers(start).map(|end| end.saturating_sub(now));
            finding.fails(Verdict::Hold, end.and_then(|ms| u64::try_from(ms).ok()))
        });
    }

    /// A maintenance window: holds unless a window covers now. `open` says that another such rule's window does.
    pub fn assess_maintenance(&self, asked: &Asked<'_>, open: bool, push: &mut impl FnMut(Finding)) {
        let now = asked.now.wall.0;
        let inside = self.is_open(asked);
        let finding = Finding::pass(0, "=", Some(i64::from(inside)), Some(1), Unit::Flag);
        push(if inside {
            finding
        } else if open {
            // The union of all maintenance windows counts.
            finding.fails(Verdict::Allow, None)
        } else {
            let next = self.calendar.next_start(now).map(|start| start.saturating_sub(now));
            finding.fails(Verdict::Hold, next.and_then(|ms| u64::try_from(ms).ok()))
        });
    }

    /// Whether a window covers now, wherever within its error the clock stands.
    pub fn is_open(&self, asked: &Asked<'_>) -> bool {
        let (now, error) = (asked.now.wall.0, asked.clock_error_ms);
        let end = self.calendar.covers(now.saturating_sub(error));
        end.is_some_and(|end| end > now.saturating_add(error))
    }

    /// How long it is certain that no freeze begins, if that is less than `far_ms`; none counts as active now.
    pub fn quiet_for(&self, asked: &Asked<'_>, far_ms: i64) -> Option<u64> {
        let unsure_ms = if is_unsure(asked) { DAY_MS } else { asked.clock_error_ms };
        let from = asked.now.wall.0.saturating_add(unsure_ms);
        let start = self.calendar.start_between(from, from.saturating_add(far_ms))?;
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

/// How long it is certain that none of these freezes begins that would hold an action back, in milliseconds, if that is less than `far_ms`.
pub(crate) fn until_freeze(rules: &[Rule], asked: &Asked<'_>, far_ms: i64) -> Option<u64> {
    let begun = Finding::pass(0, "=", Some(1), Some(0), Unit::Flag).fails(Verdict::Hold, None);
    let holds = |rule: &&Rule| {
        let counts = rule.kind.is_freeze() && rule.mode == Mode::Enforce && rule.applies(asked);
        counts && !rule.weigh(begun, asked).verdict.runs()
    };
    let freezes = rules.iter().filter(holds);
    freezes.filter_map(|rule| rule.kind.quiet_for(asked, far_ms)).min()
}

/// Whether the clock says nothing, and the action is one that then waits for a freeze that may be there.
fn is_unsure(asked: &Asked<'_>) -> bool {
    (asked.clock_wrong || asked.clock_unknown) && asked.info().class >= RiskClass::Medium
}
