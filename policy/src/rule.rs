//! One rule: what it applies to, what it compares, and what a failed comparison means.
//!
//! A kind of rule turns what was asked and a few numbers into [`Finding`]s, without allocating; text is made from them only
//! when somebody reads it. Read next: [`crate::kind`] (the kinds), `judge.rs` (who calls this).

use wire::decision::Verdict;
use wire::reading::{Unit, human};
use wire::{Action, Now, Origin};

use crate::actions::{self, KINDS, KindInfo};
use crate::kind::Kind;
use crate::text::fields::Fields;
use crate::text::units::show_duration;

/// Whether a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its verdict counts.
    Enforce,
    /// It is evaluated and shown, and its verdict does not count.
    Shadow,
    /// It is not evaluated.
    Off,
}

impl Mode {
    pub const NAMES: &'static [&'static str] = &["enforce", "shadow", "off"];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What a failed comparison means, when the rule says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnViolation {
    Verdict(Verdict),
    /// Shown, and the action runs.
    Warn,
}

/// Who asks. The order is the order of [`Source::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Reflex,
    Brain,
    Human,
    Hub,
    Autoscaler,
    Local,
}

impl Source {
    pub const NAMES: &'static [&'static str] = &["reflex", "brain", "human", "hub", "autoscaler", "local"];
    pub const ALL: [Self; 6] = [
        Self::Reflex,
        Self::Brain,
        Self::Human,
        Self::Hub,
        Self::Autoscaler,
        Self::Local,
    ];

    /// Its name in bundles.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Rule { .. } | Origin::Cleared { .. } | Origin::Fault { .. } => Self::Reflex,
            Origin::Plan { brain: true, .. } => Self::Brain,
            Origin::Command { .. } | Origin::Plan { brain: false, .. } => Self::Human,
            Origin::Local { .. } => Self::Local,
        }
    }
}

/// Names of the risk classes in bundles, in the order of `RiskClass`.
pub(crate) const CLASSES: &[&str] = &["safety", "low", "medium", "high", "irreversible"];

/// What is said of a change before it begins. All of it comes from our own catalogue and plans, none from who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// By how much the cost per hour changes, in millionths of a unit of money; `None` if nobody knows.
    pub cost_delta_micros_per_h: Option<i64>,
    /// How long it takes in 19 of 20 cases, and how long the way back takes.
    pub lasts_ms: Option<i64>,
    pub rollback_ms: i64,
    /// By how much each resource's use changes; `None` if nobody knows. One that is not in the list does not change.
    pub resources: Vec<(String, Option<i64>)>,
}

/// The resource that is the power which devices may draw, in thousandths of a watt.
pub(crate) const POWER: &str = "power_mw";

impl Details {
    /// Nothing is said, and nothing is bought.
    pub const NONE: &'static Self = &Self {
        cost_delta_micros_per_h: Some(0),
        lasts_ms: None,
        rollback_ms: 0,
        resources: Vec::new(),
    };

    /// How long the change and its way back take, if anything is known of that.
    pub fn needs_ms(&self) -> Option<i64> {
        let is_known = self.lasts_ms.is_some() || self.rollback_ms > 0;
        is_known.then(|| self.lasts_ms.unwrap_or(0).saturating_add(self.rollback_ms))
    }

    /// By how much the use of this resource changes; the outer `None`: it does not.
    pub fn resource(&self, name: &str) -> Option<Option<i64>> {
        let found = self.resources.iter().find(|(known, _)| known == name);
        found.map(|(_, change)| *change)
    }
}

/// What is asked, as rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Index into [`KINDS`].
    pub kind: usize,
    pub source: Source,
    /// The device or resource that it is done to.
    pub target: &'a str,
    /// Labels of the target.
    pub labels: &'a [(String, String)],
    /// The number of the action with its unit, where it has one.
    pub amount: Option<(i64, Unit)>,
    pub details: &'a Details,
    /// How many targets of the same request were judged before this one, as if they ran.
    pub earlier: i64,
    /// It takes back what was done before.
    pub is_undo: bool,
    /// The wall clock is certainly wrong.
    pub clock_wrong: bool,
    /// It was compared with no hub since the agent started, so that nobody knows how far it is off.
    pub clock_unknown: bool,
    /// By how much it may be off where that is known.
    pub clock_error_ms: i64,
    pub now: Now,
}

impl<'a> Asked<'a> {
    pub fn of(action: &'a Action, origin: &Origin, now: Now) -> Self {
        Self {
            kind: actions::wire_index(&action.kind),
            source: Source::of(origin),
            target: action.target.as_str(),
            labels: &[],
            amount: actions::amount(&action.kind),
            details: Details::NONE,
            earlier: 0,
            is_undo: matches!(origin, Origin::Cleared { .. } | Origin::Plan { undo: true, .. }),
            clock_wrong: false,
            clock_unknown: false,
            clock_error_ms: 0,
            now,
        }
    }

    pub fn info(&self) -> &'static KindInfo {
        &KINDS[self.kind]
    }

    /// A rule's own way to make things calmer. Telling people is none, and neither is going back to a looser limit.
    pub fn is_reflex(&self) -> bool {
        !self.is_undo && self.is_protection() && self.source == Source::Reflex
    }

    fn is_protection(&self) -> bool {
        let info = self.info();
        info.class == wire::action::RiskClass::Safety && info.name != "notify"
    }

    /// What would have to be done again if what it takes back were wanted once more; `None` if it takes no reflex back. Where another
    /// rule still wants a looser limit, the way back has the kind of the reflex itself.
    pub fn forward(&self) -> Option<Self> {
        let same = self.is_protection().then_some(self.kind);
        let kind = actions::undone_by(self.kind).or(same).filter(|_| self.is_undo)?;
        let forward = Self {
            kind,
            amount: None,
            details: Details::NONE,
            is_undo: false,
            ..*self
        };
        forward.is_reflex().then_some(forward)
    }

    /// Exempt from what only keeps order: a safety reflex, or the way back from a step already taken.
    pub fn is_remedy(&self) -> bool {
        self.is_undo || self.info().is_remedy()
    }
}

/// To which actions a rule applies. Empty means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    kinds: u64,
    sources: u8,
    classes: u8,
    targets: Vec<String>,
    labels: Vec<(String, String)>,
}

impl Default for Selector {
    fn default() -> Self {
        Self {
            kinds: u64::MAX,
            sources: u8::MAX,
            classes: u8::MAX,
            targets: Vec::new(),
            labels: Vec::new(),
        }
    }
}

impl Selector {
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let names: Vec<&'static str> = KINDS.iter().map(|kind| kind.name).collect();
        let kinds = fields.choices("kinds", &names, "kinds of action, for example [restart]");
        let classes = fields.choices("classes", CLASSES, "risk classes");
        let sources = fields.choices("sources", Source::NAMES, "who asks");
        let targets = fields.words("targets", "devices or classes of devices: gpu, gpu0, workload:train");
        let labels = fields.pairs("labels", "labels that the target must all have");
        for name in ["kinds", "classes", "sources", "targets"] {
            fields.doubt_if_empty(name, "leave it out for all of them");
        }
        let bits = |list: Option<Vec<usize>>| list.map(|l| l.iter().fold(0u64, |b, i| b | 1 << i));
        let byte = |bits: u64| (bits & 0xff) as u8;
        Self {
            kinds: bits(kinds).unwrap_or(u64::MAX),
            classes: bits(classes).map_or(u8::MAX, byte),
            sources: bits(sources).map_or(u8::MAX, byte),
            targets: targets.unwrap_or_default(),
            labels,
        }
    }

    /// Whether the rule applies.
    pub fn matches(&self, asked: &Asked<'_>) -> bool {
        self.kinds & (1 << asked.kind) != 0
            && self.sources & (1 << asked.source as u8) != 0
            && self.classes & (1 << asked.info().class as u8) != 0
            && (self.targets.is_empty() || self.targets.iter().any(|t| names_device(t, asked.target)))
            && self.labels.iter().all(|label| asked.labels.contains(label))
    }

    /// The same of an action of which neither who asked nor labels are known: whether the rule may apply.
    pub fn may_match(&self, asked: &Asked<'_>) -> bool {
        self.can_match_kind(asked.kind)
            && (self.targets.is_empty() || self.targets.iter().any(|t| names_device(t, asked.target)))
    }

    /// The kinds that it selects by name; all of them when it names none.
    pub fn kinds(&self) -> impl Iterator<Item = usize> + '_ {
        (0..KINDS.len()).filter(|index| self.kinds & (1 << index) != 0)
    }

    /// Whether it can apply to actions of this kind.
    pub fn can_match_kind(&self, kind: usize) -> bool {
        self.kinds & (1 << kind) != 0 && self.classes & (1 << KINDS[kind].class as u8) != 0
    }

    /// The bits of the sources that it selects.
    pub fn source_bits(&self) -> u8 {
        self.sources
    }

    /// Whether it looks at labels.
    pub fn uses_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Whether it looks at neither target nor labels.
    pub fn is_plain(&self) -> bool {
        self.targets.is_empty() && self.labels.is_empty()
    }

    /// The bits of the kinds that it selects.
    pub fn kind_bits(&self) -> u64 {
        self.kinds
    }

    /// For people: `restart of workload`, or empty for everything.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if self.kinds != u64::MAX {
            let names: Vec<_> = self.kinds().map(|index| KINDS[index].name).collect();
            parts.push(names.join(", "));
        }
        if self.classes != u8::MAX {
            let names: Vec<_> = CLASSES
                .iter()
                .enumerate()
                .filter(|(index, _)| self.classes & (1 << index) != 0)
                .map(|(_, name)| *name)
                .collect();
            parts.push(format!("class {}", names.join(", ")));
        }
        if !self.targets.is_empty() {
            parts.push(format!("of {}", self.targets.join(", ")));
        }
        parts.join(" ")
    }
}

/// Whether `pattern` (a device, or a class of devices) names `device`.
pub(crate) fn names_device(pattern: &str, device: &str) -> bool {
    if pattern == device {
        return true;
    }
    device
        .strip_prefix(pattern)
        .is_some_and(|rest| rest.starts_with(|c: char| c == ':' || c.is_ascii_digit()))
        && !pattern.ends_with(|c: char| c == ':' || c.is_ascii_digit())
}

/// One comparison that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Which of the rule's comparisons; [`Kind::what`] names it for people.
    pub part: u8,
    pub op: &'static str,
    pub observed: Option<i64>,
    pub limit: Option<i64>,
    pub unit: Unit,
    pub age_ms: Option<u64>,
    pub holds: bool,
    pub verdict: Verdict,
    /// How long until it is worth asking again.
    pub retry_after_ms: Option<u64>,
    /// For a clamp, the range that the action's number must lie in.
    pub bounds: Option<(i64, i64)>,
    /// It could not be made: what that means, `on_missing` says, not `on_violation`.
    pub unknown: bool,
    /// An open break-glass token keeps it from counting.
    pub lifted: bool,
}

impl Finding {
    /// A comparison that is true.
    pub fn pass(part: u8, op: &'static str, observed: Option<i64>, limit: Option<i64>, unit: Unit) -> Self {
        Self {
            part,
            op,
            observed,
            limit,
            unit,
            age_ms: None,
            holds: true,
            verdict: Verdict::Allow,
            retry_after_ms: None,
            bounds: None,
            unknown: false,
            lifted: false,
        }
    }

    /// The same comparison, found false.
    #[must_use]
    pub fn fails(mut self, verdict: Verdict, retry_after_ms: Option<u64>) -> Self {
        self.holds = false;
        self.verdict = verdict;
        self.retry_after_ms = retry_after_ms;
        self
    }

    /// The same comparison, found false unless `holds`.
    #[must_use]
    pub fn fails_unless(self, holds: bool, verdict: Verdict, retry_after_ms: Option<u64>) -> Self {
        match holds {
            true => self,
            false => self.fails(verdict, retry_after_ms),
        }
    }

    /// What would have to be different, found by the comparison itself.
    pub fn counterfactual(&self, what: &str) -> String {
        if self.holds {
            return String::new();
        }
        if self.lifted {
            return "lifted by break-glass".to_owned();
        }
        let mut text = match self.limit {
            Some(limit) => format!("would pass if {what} {} {}", self.op, show(limit, self.unit)),
            None => format!("would pass with {what}"),
        };
        if self.verdict == Verdict::Clamp
            && let Some((low, high)) = self.bounds
        {
            text = format!(
                "would pass unchanged within {}..={}",
                show(low, self.unit),
                show(high, self.unit)
            );
        }
        if let Some(ms) = self.retry_after_ms {
            text.push_str(&format!(", in {}", show_duration(ms)));
        }
        text
    }
}

/// A value for people, exact: a limit of 99.99 % is not shown as 99.9 %.
pub(crate) fn show(value: i64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => u64::try_from(value).map_or_else(|_| human(value, unit), show_duration),
        Unit::MilliCelsius => exact(value, 1_000, " °C"),
        Unit::Milliwatt => exact(value, 1_000, " W"),
        Unit::BasisPoints => exact(value, 100, " %"),
        Unit::Milli => exact(value, 1_000, ""),
        Unit::MilliPerSecond => exact(value, 1_000, " /s"),
        Unit::Bytes | Unit::BytesPerSecond | Unit::Megahertz | Unit::Count | Unit::Flag => human(value, unit),
    }
}

fn exact(value: i64, divisor: u64, suffix: &str) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let (whole, rest) = (value.unsigned_abs() / divisor, value.unsigned_abs() % divisor);
    let digits = divisor.ilog10() as usize;
    let fraction = format!(".{rest:0digits$}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}{whole}{fraction}{suffix}")
}

/// One rule of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub id: String,
    pub kind: Kind,
    pub mode: Mode,
    pub selector: Selector,
    pub on_violation: Option<OnViolation>,
    /// How many people must approve what it wants approved.
    pub approvals: u32,
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
    pub why: String,
    pub owner: String,
}

/// What every rule has, while it is read.
pub(crate) struct Common {
    id: String,
    kind: Option<usize>,
    mode: Mode,
    on_violation: Option<OnViolation>,
    approvals: u32,
    not_before: Option<i64>,
    not_after: Option<i64>,
    why: String,
    owner: String,
}

/// More people than this never agree in time.
const MOST_APPROVALS: i64 = 5;
const VIOLATIONS: &[&str] = &["deny", "require_approval", "hold", "clamp", "warn"];

impl Rule {
    /// Reads one rule; problems go into the fields' list.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let common = Self::read_common(fields);
        let Some(index) = common.kind else {
            // Without a kind no further field can be judged.
            fields.accept_all();
            return None;
        };
        let selector = if Kind::wants_selector(index) {
            let doc = "which actions it applies to; all if absent";
            fields
                .map("selector", false, doc, |f| Selector::read(f))
                .unwrap_or_default()
        } else {
            Selector::default()
        };
        let mut kind = Kind::read(index, fields, &selector)?;
        kind.set_counts(
            common.not_before.unwrap_or(i64::MIN),
            common.not_after.unwrap_or(i64::MAX),
        );
        check_meaning(fields, &common, &kind, &selector);
        Some(Self {
            id: common.id,
            kind,
            mode: common.mode,
            selector,
            on_violation: common.on_violation,
            approvals: common.approvals,
            not_before: common.not_before,
            not_after: common.not_after,
            why: common.why,
            owner: common.owner,
        })
    }

    /// Reads the fields that every rule has.
    pub fn read_common(fields: &mut Fields<'_>) -> Common {
        let id = fields.need_text("id", "a short name, unique in the bundle");
        check_id(fields, &id, "a rule");
        let kind = fields.need_choice("kind", Kind::NAMES, "what the rule does");
        let mode = fields.choice("mode", Mode::NAMES, "enforce (default), shadow or off");
        let doc = "what a failed comparison means, instead of the kind's own answer";
        let on_violation = fields.choice("on_violation", VIOLATIONS, doc);
        let doc = "how many people must approve a plan where the rule asks for approval; 1";
        let approvals = fields.number("approvals", 1, MOST_APPROVALS, doc);
        let doc = "the rule counts from this RFC 3339 time";
        let not_before = read_time(fields, "not_before", doc);
        let doc = "the rule counts until this RFC 3339 time";
        let not_after = read_time(fields, "not_after", doc);
        let why = fields.text("why", "the reason, for people");
        let owner = fields.text("owner", "who answers for it");
        Common {
            id,
            kind,
            mode: match mode {
                Some(1) => Mode::Shadow,
                Some(2) => Mode::Off,
                _ => Mode::Enforce,
            },
            on_violation: on_violation.map(|index| match index {
                0 => OnViolation::Verdict(Verdict::Deny),
                1 => OnViolation::Verdict(Verdict::RequireApproval),
                2 => OnViolation::Verdict(Verdict::Hold),
                3 => OnViolation::Verdict(Verdict::Clamp),
                _ => OnViolation::Warn,
            }),
            approvals: approvals.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            not_before,
            not_after,
            why: why.unwrap_or_default(),
            owner: owner.unwrap_or_default(),
        }
    }

    /// Whether nothing but the action's kind, class and source decides whether it applies.
    pub fn is_plain(&self) -> bool {
        self.not_before.is_none() && self.not_after.is_none() && self.selector.is_plain()
    }

    /// Whether it is evaluated for this action at all.
    pub fn applies(&self, asked: &Asked<'_>) -> bool {
        self.mode != Mode::Off
            // What windows begin later may already be too near.
            && (self.kind.windows().is_some() || self.not_before.is_none_or(|t| asked.now.wall.0 >= t))
            && self.not_after.is_none_or(|t| asked.now.wall.0 < t)
            && self.selector.matches(asked)
            && !(self.kind.exempts_remedies() && asked.is_remedy())
    }

    /// What it is asked about, if it is evaluated for this action at all: the action, or for a budget the reflex that the action takes
    /// back. While a budget has no room for doing that again, it must stay done.
    pub fn counted_as<'a>(&self, asked: &Asked<'a>) -> Option<Asked<'a>> {
        let is_budget = matches!(self.kind, Kind::Budget(_));
        let forward = asked.forward().filter(|forward| is_budget && self.applies(forward));
        match forward {
            Some(forward) if forward.kind == asked.kind || !self.applies(asked) => Some(forward),
            Some(_) | None => self.applies(asked).then_some(*asked),
        }
    }

    /// Whether nodes of a hub need a turn to do what it selects. A rule that is only tried out gives none.
    pub fn needs_turn(&self) -> bool {
        self.mode == Mode::Enforce && self.kind.needs_turn()
    }

    /// The finding as this rule wants it to count.
    pub fn weigh(&self, mut finding: Finding, asked: &Asked<'_>) -> Finding {
        if finding.holds {
            return finding;
        }
        if asked.is_reflex() && matches!(self.kind, Kind::Budget(_)) {
            // A budget never takes protection away: what it lacks, it holds back from the way back.
            return finding.fails(Verdict::Allow, None);
        }
        match self.on_violation {
            // A clamp that has no range to clamp into is a denial.
            Some(OnViolation::Verdict(Verdict::Clamp)) if finding.bounds.is_none() && !finding.unknown => {
                finding.verdict = Verdict::Deny;
            }
            Some(OnViolation::Verdict(_)) if finding.unknown => {}
            Some(OnViolation::Verdict(verdict)) => finding.verdict = verdict,
            Some(OnViolation::Warn) => finding.verdict = Verdict::Allow,
            None => {}
        }
        finding
    }
}

/// Notes what a rule cannot have been meant to say: it could never count, or never object to anything.
fn check_meaning(fields: &Fields<'_>, common: &Common, kind: &Kind, selector: &Selector) {
    if let (Some(from), Some(until)) = (common.not_before, common.not_after)
        && from >= until
    {
        fields.doubt("not_after", "is not after `not_before`: the rule would never count");
    }
    if kind.condition().is_some() || !fields.has("selector") {
        return;
    }
    let selected = || (0..KINDS.len()).filter(|index| selector.can_match_kind(*index));
    if selected().next().is_none() {
        fields.doubt(
            "selector",
            "no kind of action is of these `kinds` and of these `classes`",
        );
    } else if !selected().any(|index| kind.can_hold_back(&KINDS[index])) {
        let name = kind.name();
        let names: Vec<_> = selected().map(|index| KINDS[index].name).collect();
        let message = format!(
            "`{name}` never objects to {}: select other kinds, or leave the rule out",
            names.join(", ")
        );
        fields.doubt("selector", message);
    }
}

/// Names that the trace uses for what is built in.
pub(crate) const BUILT_IN: &[&str] = &[
    "authority",
    "hold",
    "journal",
    "device",
    "permits",
    "reflexes",
    "relapses",
    "command",
    "local",
    "labels",
    "break_glass",
    "clock",
];

/// Notes what is wrong with a name in the field `id`; `of` says of what, with its article.
pub(crate) fn check_id(fields: &Fields<'_>, id: &str, of: &str) {
    let valid = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    if !valid && fields.has("id") {
        fields.problem(
            "id",
            format!("`{id}` is not {of} name: 1 to 64 of a-z, 0-9, -, _ and ."),
        );
    }
    if BUILT_IN.contains(&id) {
        fields.problem("id", format!("`{id}` is the name of a built-in check; choose another"));
    }
}

fn read_time(fields: &mut Fields<'_>, name: &'static str, doc: &'static str) -> Option<i64> {
    let text = fields.text(name, doc)?;
    match text.parse::<wire::Wall>() {
        Ok(wall) => Some(wall.0),
        Err(error) => {
            fields.problem(name, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_exactly_as_it_was_written() {
        for (value, unit, expected) in [
            (9_999, Unit::BasisPoints, "99.99 %"),
            (9_990, Unit::BasisPoints, "99.9 %"),
            (9_900, Unit::BasisPoints, "99 %"),
            (5, Unit::BasisPoints, "0.05 %"),
            (-500, Unit::MilliCelsius, "-0.5 °C"),
            (85_125, Unit::MilliCelsius, "85.125 °C"),
            (220_000, Unit::Milliwatt, "220 W"),
            (i64::MIN, Unit::Milli, "-9223372036854775.808"),
        ] {
            assert_eq!(show(value, unit), expected);
        }
    }

    #[test]
    fn a_pattern_names_a_device_or_its_class() {
        for (pattern, device, expected) in [
            ("gpu", "gpu0", true),
            ("gpu0", "gpu0", true),
            ("gpu", "gpu", true),
            ("gpu1", "gpu10", false),
            ("fs", "fs:/var", true),
            ("fs:", "fs:/var", false),
            ("workload:a", "workload:ab", false),
            ("gp", "gpu0", false),
        ] {
            assert_eq!(names_device(pattern, device), expected, "{pattern} {device}");
        }
    }
}
