//! `rate_limit` and `budget`: at most so many in any interval of a window's length.
//!
//! Counts what ran, never what was refused. Up to 1,024 a log of exact times makes a true sliding window: an event exactly one window
//! old is out. Beyond, and where asked for, GCRA keeps one time instead: at most `burst` at once and the rest of the limit spread
//! over the window, so the sum is never above the limit. Times are running time, so no step of the wall clock refills anything.
//!
//! The keys `global`, `cluster` and `site` span nodes. Where one judge sees everything that is asked, it counts by itself; a node of a
//! hub needs a turn, which the hub counts, and its own count stays a limit besides. A node that hears of no hub does what `on_missing`
//! says.
//!
//! Invariant: no interval of length `window` ever holds more than `limit` granted actions of one key; of a key that spans nodes, more
//! than `limit` that a hub has given turns for.
//!
//! Read next: `hub/core/src/windows.rs` (how a hub counts).

use wire::action::RiskClass;
use wire::reading::Unit;
use wire::{Mono, Verdict};

use crate::counters::{Counters, MAX_WINDOW, Place};
use crate::ledger::{Numbers, TurnOf};
use crate::rule::{Asked, Finding};
use crate::text::fields::Fields;
use crate::text::units::show_duration;

use super::blast::turn_finding;
use super::scope::OnUnknown;
use super::threshold::as_number;

/// What is counted together. The order is that of the names that a bundle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Target,
    Kind,
    TargetKind,
    Node,
    Label,
    LabelKind,
}

/// Names in bundles, what each counts, and the label that it means.
const KEYS: [(&str, Per, &str); 11] = [
    ("target", Per::Target, ""),
    ("kind", Per::Kind, ""),
    ("target_kind", Per::TargetKind, ""),
    ("node", Per::Node, ""),
    ("resource", Per::Target, ""),
    ("namespace", Per::Label, "namespace"),
    ("cluster", Per::Label, "cluster"),
    ("global", Per::Node, ""),
    ("label", Per::Label, ""),
    ("label_kind", Per::LabelKind, ""),
    ("site", Per::Label, "site"),
];

/// Keys that span nodes, and what those that are counted together have in common, as a hub names it.
const SCOPES: [(&str, &str); 3] = [("global", "fleet"), ("cluster", "cluster"), ("site", "site")];

/// The numbers of a rate; those that a hub gives come behind the own ones.
const NUMBERS: [&str; 7] = [
    "count",
    "free_in_ms",
    NO_ROOM_MS,
    "asks_hub",
    "turn",
    "given",
    "given_free_in_ms",
];
const NO_ROOM: usize = 2;
const ASKS_HUB: usize = 3;
const TURN: usize = 4;
const GIVEN: usize = 5;
const GIVEN_FREE_IN: usize = 6;

/// The name of the number that says in how long a rule that counts by key has room for one more, if it has none.
pub(crate) const NO_ROOM_MS: &str = "no_room_ms";
/// The part of the comparison that it makes.
pub(crate) const KEYS_PART: u8 = 9;

/// What a rule that counts by key does not know for want of room. Protection is not held back for that.
pub(crate) fn no_room_finding(asked: &Asked<'_>, no_room_ms: i64) -> Finding {
    let verdict = match asked.info().class {
        RiskClass::Safety => Verdict::Allow,
        _ => Verdict::Hold,
    };
    let finding = Finding::pass(KEYS_PART, "<", None, None, Unit::Count);
    Finding {
        unknown: true,
        ..finding.fails(verdict, u64::try_from(no_room_ms).ok())
    }
}

/// What that compares, for people.
pub(crate) fn no_room_text() -> String {
    "room for one more key that is counted apart".to_owned()
}

/// How many in how long, counted per what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rate {
    limit: u32,
    window_ms: u64,
    per: Per,
    /// The label whose value is counted by.
    label: String,
    /// Without a log: how many at once.
    burst: Option<u32>,
    /// What nodes that are counted together have in common, if the key spans nodes.
    scope: Option<&'static str>,
    /// What a node does that hears of no hub.
    on_missing: OnUnknown,
}

impl Rate {
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let limit = fields.need_number("limit", 0, 1_000_000_000, "at most so many");
        let window_ms = fields.need_duration("window", "in any interval of this length");
        let key = fields.choice(
            "key",
            &KEYS.map(|(name, ..)| name),
            "counted per target (default; also called resource), kind, target_kind, for the whole node, per label, label_kind or the \
             label namespace; over all nodes of the hub (global), those of the same label cluster, or those of one site: then \
             nodes take turns",
        );
        let (name, per, usual) = KEYS[key.unwrap_or(0)];
        let scope = SCOPES.iter().find(|(key, _)| *key == name).map(|(_, scope)| *scope);
        let label = fields.text(
            "label",
            "the label that is counted by, for the keys label and label_kind",
        );
        if matches!(per, Per::Label | Per::LabelKind) && usual.is_empty() && label.is_none() {
            fields.problem(
                "label",
                "`label` is missing: `key: label` counts by the value of one label",
            );
        }
        if label.is_some() && !(matches!(per, Per::Label | Per::LabelKind) && usual.is_empty()) {
            fields.doubt(
                "label",
                "goes with `key: label` or `key: label_kind`; this key counts by something else",
            );
        }
        let algorithm = fields.choice(
            "algorithm",
            &["log", "gcra"],
            "log keeps every time, up to 1024 (default there); gcra keeps one, and spreads what is above the burst",
        );
        let limit = u32::try_from(limit).unwrap_or(0);
        let is_log = algorithm.map_or(limit as usize <= MAX_WINDOW, |index| index == 0);
        if is_log && limit as usize > MAX_WINDOW {
            fields.problem(
                "limit",
                format!("a log holds at most {MAX_WINDOW}; use `algorithm: gcra`"),
            );
        }
        if let Some(scope) = scope.filter(|_| !is_log) {
            let field = if algorithm.is_some() { "algorithm" } else { "limit" };
            let message = format!(
                "`key: {name}` is counted by the hub, over the nodes of a {scope}, with a log of at most {MAX_WINDOW} turns; take \
                 `key: node`, or a limit of at most {MAX_WINDOW} with `algorithm: log`"
            );
            fields.problem(field, message);
        }
        let on_missing = OnUnknown::read_as(
            fields,
            "with a key that spans nodes: what a node does that hears of no hub; by class: safety allow, low and medium hold, \
             above deny",
        );
        if scope.is_none() && fields.has("on_missing") {
            fields.problem(
                "on_missing",
                "is for the keys global, cluster and site: what a node counts by itself is never missing; leave it out",
            );
        }
        let burst = fields.number(
            "burst",
            1,
            1_000_000_000,
            "with gcra: how many at once, below the limit; half of it",
        );
        let burst = burst.map(|burst| u32::try_from(burst).unwrap_or(u32::MAX));
        if !is_log && limit < 2 {
            fields.problem("limit", "gcra needs a limit of at least 2; a log does for less");
        } else if burst.is_some_and(|burst| is_log || burst >= limit) {
            fields.problem("burst", "is for `algorithm: gcra`, and lies below the limit");
        }
        Self {
            limit,
            window_ms,
            per,
            label: label.unwrap_or_else(|| usual.to_owned()),
            burst: (!is_log).then(|| burst.unwrap_or(limit / 2).clamp(1, limit.max(2) - 1)),
            scope,
            on_missing,
        }
    }

    /// What nodes that are counted together have in common: `fleet`, `cluster`, `site`; `None` if every node counts for itself.
    pub fn scope(&self) -> Option<&'static str> {
        self.scope
    }

    /// So many in so many milliseconds.
    pub fn window(&self) -> (u32, u64) {
        (self.limit, self.window_ms)
    }

    /// The names of its numbers.
    pub fn numbers(&self) -> &'static [&'static str] {
        match self.scope {
            Some(_) => &NUMBERS,
            None => &NUMBERS[..ASKS_HUB],
        }
    }

    /// Whether it looks at labels.
    pub fn uses_labels(&self) -> bool {
        matches!(self.per, Per::Label | Per::LabelKind)
    }

    fn place<'a>(&self, asked: &Asked<'a>) -> Place<'a> {
        let kind = asked.kind as u8 + 1;
        let label = || {
            let found = asked.labels.iter().find(|(name, _)| *name == self.label);
            // What has no such label is counted together.
            found.map_or("", |(_, value)| value.as_str())
        };
        match self.per {
            Per::Target => (0, asked.target),
            Per::Kind => (kind, ""),
            Per::TargetKind => (kind, asked.target),
            Per::Node => (0, ""),
            Per::Label => (0, label()),
            Per::LabelKind => (kind, label()),
        }
    }

    /// The time that one grant uses up when no log is kept, rounded up so that the limit is never passed.
    fn each_us(&self, burst: u32) -> u64 {
        let spread = u64::from(self.limit.saturating_sub(burst)).max(1);
        self.window_ms.saturating_mul(1_000).div_ceil(spread)
    }

    pub fn gather(&self, counters: &Counters, turn: TurnOf<'_>, asked: &Asked<'_>) -> Numbers {
        let mut numbers = self.own(counters, asked);
        if !matches!(turn, TurnOf::NotNeeded) {
            numbers.set(ASKS_HUB, Some(1));
        }
        if let TurnOf::Heard(turn) = turn {
            let free_in = turn.free_at.map(|at| as_number(at.0.saturating_sub(asked.now.mono.0)));
            numbers.set(TURN, Some(i64::from(turn.mine)));
            numbers.set(GIVEN, turn.given);
            numbers.set(GIVEN_FREE_IN, free_in);
        }
        numbers
    }

    /// What is counted here.
    fn own(&self, counters: &Counters, asked: &Asked<'_>) -> Numbers {
        let (place, mono) = (self.place(asked), asked.now.mono);
        let Some(burst) = self.burst else {
            let (count, free_in_ms) = counters.window(place, mono, self.window_ms, self.limit);
            let no_room = counters.no_room(place, mono, |counter| counter.in_window_until(self.window_ms));
            return Numbers::of([
                Some(i64::from(count)),
                free_in_ms.map(as_number),
                no_room.map(as_number),
            ]);
        };
        let each = self.each_us(burst);
        let now = asked.now.mono.0.saturating_mul(1_000);
        let ahead = counters.used_until_us(place).unwrap_or(0).saturating_sub(now);
        let used = ahead.div_ceil(each);
        let free = ahead
            .saturating_sub(each.saturating_mul(u64::from(burst) - 1))
            .div_ceil(1_000);
        Numbers::of([
            Some(as_number(used)),
            Some(as_number(free)).filter(|free| *free > 0),
            counters.no_room_to_use(place, mono).map(as_number),
        ])
    }

    pub fn assess(&self, asked: &Asked<'_>, verdict: Verdict, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        // Without a count nothing is known of what ran: the hub's own copy does not ask at all.
        let Some(count) = numbers.get(0) else { return };
        if let Some(no_room_ms) = numbers.get(NO_ROOM) {
            return push(no_room_finding(asked, no_room_ms));
        }
        let limit = i64::from(self.burst.unwrap_or(self.limit));
        let below = |part: u8, count: i64, free_in: usize| {
            let finding = Finding::pass(part, "<", Some(count), Some(limit), Unit::Count);
            finding.fails_unless(
                count < limit,
                verdict,
                numbers.get(free_in).and_then(|ms| u64::try_from(ms).ok()),
            )
        };
        push(below(0, count, 1));
        // What the own count refuses, no turn helps; and a remedy needs none.
        if numbers.get(ASKS_HUB) != Some(1) || count >= limit || asked.is_remedy() {
            return;
        }
        let Some(turn) = numbers.get(TURN) else {
            return push(self.on_missing.finding(asked, 1, "<", Some(limit), Unit::Count));
        };
        if let Some(given) = numbers.get(GIVEN).filter(|_| turn != 1) {
            push(below(1, given, GIVEN_FREE_IN));
        }
        push(turn_finding(2, turn));
    }

    /// Whether no key can have reached the limit.
    pub fn is_idle(&self, counters: &Counters) -> bool {
        match self.burst {
            Some(_) => counters.is_empty(),
            None => counters.is_below(self.limit as usize),
        }
    }

    pub fn debit(&self, counters: &mut Counters, asked: &Asked<'_>) {
        let (place, now): (_, Mono) = (self.place(asked), asked.now.mono);
        match self.burst {
            Some(burst) => counters.use_up(place, now, self.each_us(burst)),
            None => counters.debit(place, now, self.window_ms, self.limit),
        }
    }

    /// Those that are counted together, for people.
    fn nodes(&self) -> &'static str {
        match self.scope {
            Some("cluster") => "the nodes of this cluster",
            Some("site") => "the nodes of this site",
            _ => "all nodes",
        }
    }

    pub fn what(&self, part: u8, asked: &Asked<'_>) -> String {
        match part {
            1 => {
                return format!("turns of {} in {}", self.nodes(), show_duration(self.window_ms));
            }
            2 => return format!("turn of this node among {}", self.nodes()),
            KEYS_PART => return no_room_text(),
            _ => {}
        }
        let kind = asked.info().name;
        let of = match self.per {
            Per::Node => "actions of this node".to_owned(),
            Per::Target => format!("actions on {}", asked.target),
            Per::Kind => format!("{kind} actions"),
            Per::TargetKind => format!("{kind} actions on {}", asked.target),
            Per::Label => format!("actions of {} {}", self.label, self.place(asked).1),
            Per::LabelKind => format!("{kind} actions of {} {}", self.label, self.place(asked).1),
        };
        let ahead = if self.burst.is_some() { ", not yet spread" } else { "" };
        format!("{of}{ahead} in {}", show_duration(self.window_ms))
    }

    pub fn text(&self) -> String {
        let per = match self.per {
            Per::Node if self.scope.is_some() => ", all nodes together".to_owned(),
            Per::Node => String::new(),
            Per::Target => ", per target".to_owned(),
            Per::Kind => ", per kind".to_owned(),
            Per::TargetKind => ", per target and kind".to_owned(),
            Per::Label => format!(", per {}", self.label),
            Per::LabelKind => format!(", per {} and kind", self.label),
        };
        let burst = self.burst.map_or(String::new(), |burst| format!(", {burst} at once"));
        format!(
            "at most {} in any {}{burst}{per}",
            self.limit,
            show_duration(self.window_ms)
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rule::{Details, Source};
    use wire::{Now, Wall};

    fn asked(at: u64) -> Asked<'static> {
        Asked {
            kind: 2,
            source: Source::Brain,
            target: "a",
            labels: &[],
            amount: None,
            details: Details::NONE,
            earlier: 0,
            is_undo: false,
            clock_wrong: false,
            clock_unknown: false,
            clock_error_ms: 0,
            now: Now {
                mono: Mono(at),
                wall: Wall(0),
            },
        }
    }

    proptest::proptest! {
        #[test]
        fn no_window_holds_more_than_the_limit_without_a_log_either(
            limit in 2u32..60,
            share in 1u32..60,
            window_ms in 1u64..5_000,
            steps in proptest::collection::vec(0u64..200, 1..400)
        ) {
            let burst = share.min(limit - 1);
            let rate = Rate { limit, window_ms, per: Per::Node, label: String::new(), burst: Some(burst), scope: None, on_missing: OnUnknown::default() };
            let (mut counters, mut at, mut ran) = (Counters::default(), 0, Vec::new());
            for step in steps {
                at += step;
                let asked = asked(at);
                let mut passes = true;
                let mut retry = None;
                rate.assess(&asked, Verdict::Hold, &rate.own(&counters, &asked), &mut |finding| {
                    passes = finding.holds;
                    retry = finding.retry_after_ms;
                });
                if passes {
                    rate.debit(&mut counters, &asked);
                    ran.push(at);
                } else {
                    // Worth asking again exactly then.
                    let later = super::tests::asked(at + retry.unwrap());
                    rate.assess(&later, Verdict::Hold, &rate.own(&counters, &later), &mut |finding| passes = finding.holds);
                    proptest::prop_assert!(passes, "not free after {:?} ms", retry);
                }
            }
            for from in &ran {
                let inside = ran.iter().filter(|at| (*from..from + window_ms).contains(at)).count();
                proptest::prop_assert!(inside <= limit as usize, "{} > {} from {}", inside, limit, from);
            }
        }
    }
}
