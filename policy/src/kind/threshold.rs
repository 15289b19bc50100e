//! `threshold` and `stale`: a reading beyond a limit, or one that does not come, wants an action.
//!
//! Says when a condition holds and what it wants; whether that may run is for the other kinds.
//!
//! Invariant: between the limit and the clearing limit nothing changes (hysteresis).

use wire::decision::{Observed, Verdict};
use wire::reading::Unit;
use wire::{ActionKind, DeviceId, Quantity};

use crate::actions;
use crate::rule::{Finding, names_device, show};
use crate::text::did_you_mean;
use crate::text::fields::Fields;
use crate::text::units::{self, show_duration};

/// Sensors are read once a second; ten missed rounds are no hiccup.
const STALE_AFTER_MS: u64 = 10_000;
/// How long an idempotent action that did take effect is left alone before it is asserted again.
const AGAIN_AFTER_MS: u64 = 300_000;
/// Time for a verified effect to show.
const VERIFY_WITHIN_MS: u64 = 60_000;
/// More alternatives than this are no plan.
const MAX_ALTERNATIVES: usize = 8;

/// When a reading wants something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Above(i64),
    Below(i64),
    Missing,
}

/// What a missing reading means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnMissing {
    /// Nothing; what was done stays done.
    Ignore,
    /// The same as a reading beyond the limit.
    Act,
    /// People are told.
    Alarm,
}

/// One action that a rule may want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Then {
    pub kind: ActionKind,
    /// Done to this device instead of the one that was read.
    pub target: Option<DeviceId>,
}

/// A condition over one quantity, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Threshold {
    pub quantity: Quantity,
    /// A device or a class of devices.
    pub device: String,
    pub condition: Condition,
    pub hold_ms: u64,
    /// The condition has cleared when the reading is at this value or calmer.
    pub clear: i64,
    pub clear_hold_ms: u64,
    pub stale_after_ms: u64,
    pub on_missing: OnMissing,
    /// In the order of preference.
    pub then: Vec<Then>,
    pub undo_on_clear: bool,
    /// The effect: the reading falls below this, within so many milliseconds.
    pub verify: Option<(i64, u64)>,
    pub never_expires: bool,
    pub again_after_ms: u64,
}

/// Parts of a condition in the trace.
pub(crate) const VALUE: u8 = 0;
pub(crate) const HELD: u8 = 1;
pub(crate) const CLEARED: u8 = 2;
pub(crate) const AGE: u8 = 3;

impl Threshold {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (quantity, device) = read_series(fields);
        let unit = quantity.map(Quantity::unit);
        let above = fields.amount("above", unit, "the condition holds while the reading is above this");
        let below = fields.amount("below", unit, "the condition holds while the reading is below this");
        let hold_ms = fields.duration("for", "how long it must hold without a break before anything is wanted");
        let clear_below = fields.amount(
            "clear_below",
            unit,
            "with `above`: cleared when the reading is below this",
        );
        let clear_above = fields.amount(
            "clear_above",
            unit,
            "with `below`: cleared when the reading is above this",
        );
        let clear_hold_ms = fields.duration("clear_for", "how long it must be clear before the action is taken back");
        let stale_after_ms = fields.duration("stale_after", "a reading older than this is missing; 10 s");
        let on_missing = fields.choice(
            "on_missing",
            &["ignore", "act", "alarm"],
            "what a missing reading means: ignore (default), act or alarm",
        );
        let mut rule = Self {
            quantity: quantity.unwrap_or(Quantity::CpuUsed),
            device,
            condition: Condition::Missing,
            hold_ms: hold_ms.unwrap_or(0),
            clear: 0,
            clear_hold_ms: clear_hold_ms.unwrap_or(0),
            stale_after_ms: stale_after_ms.unwrap_or(STALE_AFTER_MS).max(1),
            on_missing: match on_missing {
                Some(1) => OnMissing::Act,
                Some(2) => OnMissing::Alarm,
                _ => OnMissing::Ignore,
            },
            then: Vec::new(),
            undo_on_clear: false,
            verify: None,
            never_expires: false,
            again_after_ms: AGAIN_AFTER_MS,
        };
        rule.read_wants(fields);
        rule.undo_on_clear = fields.flag("undo_on_clear", "take the action back when the condition has cleared");
        rule.verify = fields.map("verify", false, "the effect that must be seen after the action", |f| {
            let below = f.need_amount("falls_below", unit, "the reading falls below this");
            let within = f
                .duration("within", "within this time; 60 s")
                .unwrap_or(VERIFY_WITHIN_MS);
            (below, within.max(1))
        });
        rule.check_undo(fields);
        if fields.is_describing() {
            return Some(rule);
        }
        rule.check_reach(fields, above, below);
        match (fields.has("above"), fields.has("below")) {
            (true, false) => {
                let limit = above?;
                rule.condition = Condition::Above(limit);
                rule.clear = clear_below.unwrap_or(limit);
                if fields.has("clear_above") {
                    fields.problem("clear_above", "`clear_above` goes with `below`; use `clear_below`");
                } else if rule.clear > limit {
                    fields.problem(
                        "clear_below",
                        format!("must not lie above the limit of {}", show(limit, rule.unit())),
                    );
                }
            }
            (false, true) => {
                let limit = below?;
                rule.condition = Condition::Below(limit);
                rule.clear = clear_above.unwrap_or(limit);
                if fields.has("clear_below") {
                    fields.problem("clear_below", "`clear_below` goes with `above`; use `clear_above`");
                } else if rule.clear < limit {
                    fields.problem(
                        "clear_above",
                        format!("must not lie below the limit of {}", show(limit, rule.unit())),
                    );
                }
                if rule.verify.is_some() {
                    fields.problem(
                        "verify",
                        "`verify` goes with `above`: the effect is a reading that falls",
                    );
                }
            }
            (true, true) => fields.problem(
                "below",
                "a threshold has one limit, `above` or `below`; write two rules",
            ),
            (false, false) => fields.problem("above", "`above` or `below` is missing: the limit, with its unit"),
        }
        quantity.map(|_| rule)
    }

    pub fn read_stale(fields: &mut Fields<'_>) -> Option<Self> {
        let (quantity, device) = read_series(fields);
        let after_ms = fields.need_duration("after", "how long no reading must have come");
        let mut rule = Self {
            quantity: quantity.unwrap_or(Quantity::CpuUsed),
            device,
            condition: Condition::Missing,
            hold_ms: 0,
            clear: 0,
            clear_hold_ms: 0,
            stale_after_ms: after_ms,
            on_missing: OnMissing::Act,
            then: Vec::new(),
            undo_on_clear: false,
            verify: None,
            never_expires: false,
            again_after_ms: AGAIN_AFTER_MS,
        };
        rule.read_wants(fields);
        rule.undo_on_clear = fields.flag("undo_on_clear", "take the action back when readings come again");
        rule.check_undo(fields);
        quantity.map(|_| rule)
    }

    fn read_wants(&mut self, fields: &mut Fields<'_>) {
        self.then = fields
            .maps("then", true, "the actions that it wants, in the order of preference: the next one when one is denied or does not help", |f| read_then(f))
            .into_iter()
            .flatten()
            .collect();
        self.never_expires = fields.flag(
            "never_expires",
            "works at any age of the policy and while a person holds the node; only if the action is protective",
        );
        self.again_after_ms = fields
            .duration(
                "again_after",
                "how long an action that took effect is left alone while the condition holds on; 5 min",
            )
            .unwrap_or(AGAIN_AFTER_MS);
        if fields.is_describing() {
            return;
        }
        if self.then.len() > MAX_ALTERNATIVES {
            fields.problem("then", format!("at most {MAX_ALTERNATIVES} alternatives"));
        }
        let class = class_of(&self.device);
        for then in &self.then {
            let target = then.target.as_ref().map_or(class, DeviceId::class);
            if let Some(needed) = then.kind.target_class()
                && needed != target
            {
                fields.problem(
                    "then",
                    format!(
                        "`{}` is done to a {needed}, and this rule reads a {target}; add `target:`",
                        then.kind.name()
                    ),
                );
            }
            if self.never_expires && !then.kind.protective() {
                fields.problem(
                    "never_expires",
                    format!(
                        "only protective actions can outlive the policy, and `{}` is none",
                        then.kind.name()
                    ),
                );
            }
        }
    }

    /// A share of something is never above all of it, and nothing is below 0.
    fn check_reach(&self, fields: &Fields<'_>, above: Option<i64>, below: Option<i64>) {
        const ALL: i64 = 10_000;
        // More than one core, and a fan that runs faster than its nominal speed, are more than all.
        let is_share = self.unit() == Unit::BasisPoints
            && !matches!(
                self.quantity,
                Quantity::WorkloadCpu | Quantity::AgentCpu | Quantity::GpuFan
            );
        if is_share && above.is_some_and(|limit| limit >= ALL) {
            fields.doubt("above", format!("{} is never above 100 %", self.quantity));
        }
        if self.unit() != Unit::MilliCelsius && below.is_some_and(|limit| limit <= 0) {
            fields.doubt("below", format!("{} is never below 0", self.quantity));
        }
    }

    fn check_undo(&self, fields: &Fields<'_>) {
        if self.undo_on_clear && !self.then.is_empty() && self.then.iter().all(|then| then.kind.undo().is_none()) {
            fields.problem("undo_on_clear", "none of the actions can be taken back");
        }
    }

    /// The unit of the quantity.
    pub fn unit(&self) -> Unit {
        self.quantity.unit()
    }

    /// Whether it watches this device.
    pub fn watches(&self, device: &DeviceId) -> bool {
        names_device(&self.device, device.as_str())
    }

    /// Whether the reading is beyond the limit.
    pub fn is_met(&self, value: i64) -> bool {
        match self.condition {
            Condition::Above(limit) => value > limit,
            Condition::Below(limit) => value < limit,
            Condition::Missing => false,
        }
    }

    /// Whether the reading is calm enough to take the action back.
    pub fn is_clear(&self, value: i64) -> bool {
        match self.condition {
            Condition::Above(limit) if self.clear == limit => value <= limit,
            Condition::Above(_) => value < self.clear,
            Condition::Below(limit) if self.clear == limit => value >= limit,
            Condition::Below(_) => value > self.clear,
            Condition::Missing => true,
        }
    }

    /// Whether timers must watch for readings that do not come.
    pub fn watches_silence(&self) -> bool {
        self.on_missing != OnMissing::Ignore
    }

    /// Compares what the rule looked at; for an undo, whether it has cleared.
    pub fn assess(&self, seen: Option<&Observed>, cleared: bool, wants_notify: bool, push: &mut impl FnMut(Finding)) {
        let value = seen.and_then(|seen| seen.value);
        let age = seen.and_then(|seen| seen.age_ms);
        let fresh = value.is_some() && age.is_some_and(|age| age < self.stale_after_ms);
        let held = seen.map_or(0, |seen| seen.held_ms);
        if cleared {
            return self.assess_cleared(value.filter(|_| fresh), age, held, push);
        }
        if self.condition == Condition::Missing || !fresh {
            let acts = match self.on_missing {
                OnMissing::Ignore => false,
                OnMissing::Act => true,
                OnMissing::Alarm => wants_notify,
            };
            let limit = as_number(self.stale_after_ms);
            let silent = age.is_none_or(|age| age >= self.stale_after_ms);
            let finding = Finding::pass(AGE, ">=", age.map(as_number), Some(limit), Unit::Milliseconds);
            push(finding.fails_unless(acts && silent, Verdict::Deny, None));
            return;
        }
        let (op, limit) = match self.condition {
            Condition::Above(limit) => (">", limit),
            Condition::Below(limit) => ("<", limit),
            Condition::Missing => return,
        };
        let mut finding = Finding::pass(VALUE, op, value, Some(limit), self.unit());
        finding.age_ms = age;
        push(finding.fails_unless(value.is_some_and(|value| self.is_met(value)), Verdict::Deny, None));
        assess_held(held, self.hold_ms, push);
    }

    fn assess_cleared(&self, value: Option<i64>, age: Option<u64>, held: u64, push: &mut impl FnMut(Finding)) {
        let op = match self.condition {
            Condition::Above(limit) if self.clear == limit => "<=",
            Condition::Above(_) => "<",
            Condition::Below(limit) if self.clear == limit => ">=",
            Condition::Below(_) => ">",
            Condition::Missing => {
                let limit = Some(as_number(self.stale_after_ms));
                let finding = Finding::pass(AGE, "<", age.map(as_number), limit, Unit::Milliseconds);
                return push(finding.fails_unless(
                    age.is_some_and(|age| age < self.stale_after_ms),
                    Verdict::Deny,
                    None,
                ));
            }
        };
        let mut finding = Finding::pass(CLEARED, op, value, Some(self.clear), self.unit());
        finding.age_ms = age;
        push(finding.fails_unless(value.is_some_and(|value| self.is_clear(value)), Verdict::Deny, None));
        assess_held(held, self.clear_hold_ms, push);
    }

    /// What a comparison compares, for people.
    pub fn what(&self, part: u8, device: &str) -> String {
        match part {
            HELD => "held for".to_owned(),
            AGE => format!("age of {} of {device}", self.quantity),
            _ => format!("{} of {device}", self.quantity),
        }
    }

    /// That its limit is broken, for people.
    pub fn broken(&self, device: &DeviceId) -> String {
        let beyond = match self.condition {
            Condition::Above(limit) => format!("above {}", show(limit, self.unit())),
            Condition::Below(limit) => format!("below {}", show(limit, self.unit())),
            Condition::Missing => "missing".to_owned(),
        };
        format!("{} of {device} is {beyond}", self.quantity)
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let when = match self.condition {
            Condition::Above(limit) => format!("{} of {} > {}", self.quantity, self.device, show(limit, self.unit())),
            Condition::Below(limit) => format!("{} of {} < {}", self.quantity, self.device, show(limit, self.unit())),
            Condition::Missing => format!(
                "no {} of {} for {}",
                self.quantity,
                self.device,
                show_duration(self.stale_after_ms)
            ),
        };
        let held = match self.hold_ms {
            0 => String::new(),
            ms => format!(" for {}", show_duration(ms)),
        };
        let wants: Vec<_> = self
            .then
            .iter()
            .map(|then| match &then.target {
                Some(target) => format!("{target} {}", then.kind),
                None => then.kind.to_string(),
            })
            .collect();
        format!("{when}{held}: {}", wants.join(", else "))
    }
}

/// Whether a condition has held for long enough, where it has to.
fn assess_held(held_ms: u64, needed_ms: u64, push: &mut impl FnMut(Finding)) {
    if needed_ms > 0 {
        let left = needed_ms.saturating_sub(held_ms);
        let (held, needed) = (Some(as_number(held_ms)), Some(as_number(needed_ms)));
        let finding = Finding::pass(HELD, ">=", held, needed, Unit::Milliseconds);
        push(finding.fails_unless(left == 0, Verdict::Hold, Some(left)));
    }
}

/// A number of milliseconds as a value of the trace.
pub(crate) fn as_number(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The class that a pattern stands for: `gpu` of `gpu` and of `gpu0`.
fn class_of(pattern: &str) -> &str {
    let end = pattern
        .find(|c: char| c == ':' || c.is_ascii_digit())
        .unwrap_or(pattern.len());
    &pattern[..end]
}

/// Reads which series are meant: a quantity, and a device or a class of devices.
pub(crate) fn read_series(fields: &mut Fields<'_>) -> (Option<Quantity>, String) {
    let name = fields.need_text("quantity", "what is read, for example gpu.temperature");
    let quantity = name.parse::<Quantity>().ok();
    if quantity.is_none() && fields.has("quantity") {
        let hint = did_you_mean(&name, Quantity::ALL.iter().map(|quantity| quantity.name())).map_or_else(
            || "see `sentinel policy explain quantities`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        fields.problem("quantity", format!("unknown quantity `{name}`; {hint}"));
    }
    let device = fields.text(
        "device",
        "a device (gpu0, workload:train) or a class (gpu, workload, node); by default the class that has the quantity",
    );
    let device = device.unwrap_or_else(|| {
        let class = name.split('.').next().unwrap_or_default();
        let own = ["gpu", "workload", "disk", "fs", "net"].contains(&class);
        (if own { class } else { "node" }).to_owned()
    });
    if DeviceId::new(device.clone()).is_err() {
        fields.problem(
            "device",
            format!("`{device}` is neither a device nor a class, for example gpu0 or gpu"),
        );
    }
    (quantity, device)
}

fn read_then(fields: &mut Fields<'_>) -> Option<Then> {
    let kind = fields.need_choice("action", ActionKind::NAMES, "what to do");
    let to = fields.text(
        "to",
        "power_cap: the limit (220 W); throttle: the share of a core (50 %); lock_clocks: the greatest clock (1200 MHz)",
    );
    let message = fields.text("message", "notify: what people are told");
    let target = fields.text("target", "do it to this device instead of the one that was read");
    if fields.is_describing() {
        return None;
    }
    let target = match target.map(DeviceId::new) {
        Some(Ok(device)) => Some(device),
        None => None,
        Some(Err(error)) => {
            fields.problem("target", error.to_string());
            return None;
        }
    };
    let name = *ActionKind::NAMES.get(kind?)?;
    let takes = |field: &'static str, value: Option<String>, wanted: bool| {
        match (value.is_some(), wanted) {
            (true, false) => fields.problem(field, format!("`{name}` takes no `{field}`")),
            (false, true) => fields.problem(field, format!("`{name}` needs `{field}`")),
            _ => {}
        }
        value.filter(|_| wanted)
    };
    let to = takes("to", to, matches!(name, "power_cap" | "throttle" | "lock_clocks"));
    let message = takes("message", message, name == "notify");
    let kind = match name {
        "power_cap" => actions::power_cap(&to?),
        "throttle" => actions::throttle(&to?),
        "notify" => actions::notify(&message?),
        "lock_clocks" => actions::lock_clocks(&to?),
        plain => Ok(actions::without_parameter(plain)?),
    };
    let amount = kind.as_ref().ok().and_then(actions::amount);
    if let Some(why) = amount.and_then(|(value, unit)| units::implausible(value, unit)) {
        fields.doubt("to", why);
    }
    match kind {
        Ok(kind) => Some(Then { kind, target }),
        Err(text) => {
            fields.problem(if name == "notify" { "message" } else { "to" }, text);
            None
        }
    }
}
