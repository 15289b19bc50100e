//! `blast_radius`: how much of a domain may be touched at once and in a window, and a breaker for when too much of it fails.
//!
//! Members that are already unhealthy count against the limit, so that a sick rack is not made sicker.

use wire::action::RiskClass;
use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::{OnUnknown, mul_div, read_names};
use super::threshold::as_number;
use crate::counters::{Counters, MAX_WINDOW, NODE, Place};
use crate::ledger::{Numbers, TurnOf};
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
    /// A domain of one needs no approval.
    alone_runs: bool,
    on_missing: OnUnknown,
}

/// Where the breaker's state is kept: failures 1 is open, finished is since when the share is low.
const BREAKER: Place<'static> = (0, "breaker");
fn set_breaker(counters: &mut Counters, now: Mono, (open, since): (u8, Mono)) {
    counters.change_mark(
        BREAKER,
        now,
        |_| u64::MAX,
        |mark| {
            (mark.failures, mark.finished) = (open, since);
        },
    );
}

/// Long enough for a second wave to show.
const REOPEN_MS: u64 = 15 * 60_000;
/// The share is not low.
const NOT_LOW: Mono = Mono(u64::MAX);

/// A number of members, a share of them, or both.
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

    /// As what may be touched: the smaller of both, and a share is rounded down.
    fn at_most(self, members: i64) -> i64 {
        let share = self.bp.map_or(i64::MAX, |bp| mul_div(members, bp, 10_000));
        self.n.unwrap_or(i64::MAX).min(share)
    }

    /// As what must be there: the larger of both, and a share is rounded up.
    fn at_least(self, members: i64) -> i64 {
        let share = self.bp.map_or(0, |bp| {
            let exact = i128::from(members) * i128::from(bp);
            let rounded_up = -(-exact).div_euclid(10_000);
            i64::try_from(rounded_up).unwrap_or(i64::MAX)
        });
        self.n.unwrap_or(0).max(share)
    }

    /// Whether it is a share of which too few members leave nothing, and not nothing by itself.
    fn is_rounded_away(self) -> bool {
        self.n != Some(0) && self.bp.is_some_and(|bp| bp > 0)
    }
}

/// When it is worth asking again if no turn has come: whoever waits is told of it before.
const TURN_RETRY_MS: u64 = 60_000;
/// Places of numbers behind the first four.
const TURN: usize = 4;
const COUNT: usize = 5;
const FREE_IN: usize = 6;
const BREAKER_OPEN: usize = 7;

/// Whether it is this node's turn. Whatever the rule makes of a violation, to wait for a turn is none.
pub(crate) fn turn_finding(part: u8, turn: i64) -> Finding {
    let finding = Finding::pass(part, "=", Some(turn), Some(1), Unit::Flag);
    match turn {
        1 => finding,
        _ => Finding {
            unknown: true,
            ..finding.fails(Verdict::Hold, Some(TURN_RETRY_MS))
        },
    }
}

/// A domain as a hub counts it, for one member that asks.
pub struct Crowd<'a> {
    /// Members in all.
    pub members: i64,
    /// Members besides the one that asks that are unhealthy or touched.
    pub touched: i64,
    /// How dangerous what the member asks for is.
    pub class: RiskClass,
    /// Members that became unhealthy in the last five minutes.
    pub newly_faulty: i64,
    /// How many turns the rule has given in the last so many milliseconds.
    pub started: &'a dyn Fn(u64) -> u32,
}

/// A domain with one member more touched: each what there would be, and what there may or must be.
struct Room {
    touched: (i64, i64),
    healthy: Option<(i64, i64)>,
}

/// Hundredths of a percent.
fn share_of(faulty: i64, members: i64) -> i64 {
    mul_div(faulty, 10_000, members.max(1))
}

/// A third of a domain at once is no chance.
const BREAKER_BP: i64 = 3_000;

impl Blast {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let numbers = ["members", "unhealthy", "in_flight", "newly_faulty", "turn"];
        let (domain, names) = read_names(
            fields,
            "domain",
            "what is counted: fleet, site, or a label that nodes tell (rack, tenant, driver_version); `rack:r7` counts that one for everybody",
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
        let alone = fields.choice(
            "alone",
            &["require_approval", "allow"],
            "what a domain of one says, which nothing else can stand in for; require_approval, unless it is unhealthy already",
        );
        let on_missing = OnUnknown::read(fields);
        Some(Self {
            domain,
            alone_runs: alone == Some(1),
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
    pub fn observe(&self, counters: &mut Counters, numbers: &Numbers, now: Mono) {
        let (Some(members), Some(faulty)) = (numbers.get(0), numbers.get(3)) else {
            return;
        };
        let share = share_of(faulty, members);
        let mark = counters.mark(BREAKER);
        if share >= self.breaker_bp {
            set_breaker(counters, now, (1, NOT_LOW));
        } else if let Some(open) = mark.filter(|mark| mark.failures > 0) {
            let is_low = share.saturating_mul(2) < self.breaker_bp;
            let since = match (is_low, open.finished) {
                (false, _) => NOT_LOW,
                (true, NOT_LOW) => now,
                (true, since) => since,
            };
            let closes = is_low && now.0.saturating_sub(since.0) >= self.reopen_ms;
            set_breaker(counters, now, (u8::from(!closes), since));
        }
    }

    /// Adds what the ledger knows: how many ran in the window, and whether the breaker is open.
    pub fn recall(&self, counters: &Counters, asked: &Asked<'_>, numbers: &mut Numbers) {
        if let Some((limit, window_ms)) = self.max_per_window {
            let (count, free_in_ms) = counters.window(NODE, asked.now.mono, window_ms, limit);
            numbers.set(COUNT, Some(i64::from(count)));
            numbers.set(FREE_IN, free_in_ms.map(as_number));
        }
        let is_open = counters.mark(BREAKER).is_some_and(|mark| mark.failures > 0);
        numbers.set(BREAKER_OPEN, is_open.then_some(1));
    }

    /// Adds what a hub says of the turn.
    pub fn hear(&self, turn: TurnOf<'_>, numbers: &mut Numbers) {
        if let TurnOf::Heard(turn) = turn {
            numbers.set(TURN, Some(i64::from(turn.mine)));
        }
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
            let share = share_of(faulty, members);
            let is_open = numbers.get(BREAKER_OPEN) == Some(1);
            let limit = if is_open { self.breaker_bp / 2 } else { self.breaker_bp };
            let finding = Finding::pass(2, "<", Some(share), Some(limit), Unit::BasisPoints);
            push(finding.fails_unless(share < self.breaker_bp && !is_open, Verdict::Hold, None));
        }
        if !asked.info().disruptive {
            return;
        }
        if let Some((limit, _)) = self.max_per_window {
            let count = numbers.get(COUNT).unwrap_or(0);
            let finding = Finding::pass(4, "<", Some(count), Some(i64::from(limit)), Unit::Count);
            push(finding.fails_unless(
                count < i64::from(limit),
                Verdict::Hold,
                numbers.get(FREE_IN).and_then(|ms| u64::try_from(ms).ok()),
            ));
        }
        if members == 1 && !self.alone_runs {
            let finding = Finding::pass(3, ">", Some(members), Some(1), Unit::Count);
            return push(if unhealthy > 0 {
                Finding { holds: true, ..finding }
            } else {
                finding.fails(Verdict::RequireApproval, None)
            });
        }
        let room = self.room(members, touched);
        let (after, limit) = room.touched;
        let finding = Finding::pass(0, "<=", Some(after), Some(limit), Unit::Count);
        push(finding.fails_unless(after <= limit, Verdict::Hold, None));
        if let Some((healthy, needed)) = room.healthy {
            let finding = Finding::pass(1, ">=", Some(healthy), Some(needed), Unit::Count);
            push(finding.fails_unless(healthy >= needed, Verdict::Hold, None));
        }
        if let Some(turn) = numbers.get(TURN) {
            push(turn_finding(5, turn));
        }
    }

    /// So many of the domain in so many milliseconds.
    pub fn window(&self) -> Option<(u32, u64)> {
        self.max_per_window
    }

    /// The domain that it counts.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether one member more may be touched, by the counts of the whole domain: what a hub asks before it gives a turn.
    pub fn has_room(&self, crowd: &Crowd<'_>) -> bool {
        let is_full = self
            .max_per_window
            .is_some_and(|(limit, window)| (crowd.started)(window) >= limit);
        let is_open = share_of(crowd.newly_faulty, crowd.members) >= self.breaker_bp;
        if is_full || is_open && crowd.class >= RiskClass::Medium {
            return false;
        }
        // A domain of one asks people, not the hub.
        let room = self.room(crowd.members, crowd.touched);
        crowd.members <= 1
            || (room.touched.0 <= room.touched.1 && room.healthy.is_none_or(|(healthy, needed)| healthy >= needed))
    }

    /// What one member more would make of the domain.
    fn room(&self, members: i64, touched: i64) -> Room {
        let after = touched.saturating_add(1);
        let healthy = members.saturating_sub(after);
        let needed = self.min_healthy.map(|share| share.at_least(members));
        let mut limit = self.max.at_most(members);
        if limit == 0 && self.max.is_rounded_away() && needed.is_some_and(|needed| healthy >= needed) {
            limit = 1;
        }
        Room {
            touched: (after, limit),
            healthy: needed.map(|needed| (healthy, needed)),
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
            5 => format!("turn of this node in {}", self.domain),
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
