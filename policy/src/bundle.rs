//! A bundle: rules, permits and the authority ladder, read from the text that was signed.
//!
//! Reads and checks; never judges. Any text is either a bundle or a list of problems with their places.
//!
//! Read next: `rule.rs` (one rule), `judge.rs` (what is done with them), `bundles/demo.yaml` (an example).

use std::collections::BTreeMap;

use wire::api::{BundleProblem, CalendarRuleView, CheckView, RuleView};
use wire::bundle::MAX_BUNDLE_BYTES;
use wire::decision::Authority;
use wire::{AgentId, Quantity, Wall};

use crate::actions::KINDS;
use crate::indicator::{Indicator, MAX_INDICATORS};
use crate::kind::Kind;
use crate::kind::threshold::Condition;
use crate::meter::{MAX_METERS, Meter};
use crate::rule::{Asked, Mode, Rule, Selector};
use crate::sites::{MAX_SITES, Site};
use crate::text::fields::{Fields, Problems};
use crate::text::tree::{self, Place};
use crate::text::{toml, without_mark};

/// Most rules of one bundle.
pub const MAX_RULES: usize = 256;
/// Most permits of one bundle.
const MAX_PERMITS: usize = 64;
/// Safety reflexes that one node may take in an hour.
const REFLEXES_PER_HOUR: u32 = 30;
/// How long it must be clear before an action is taken back that was needed again soon after it had been taken back.
const RELAPSE_WAIT_MS: u64 = 300_000;

/// Until which age of the policy each step of the ladder lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ladder {
    pub full_for_ms: u64,
    pub reversible_for_ms: u64,
    pub protective_for_ms: u64,
}

impl Default for Ladder {
    fn default() -> Self {
        const HOUR_MS: u64 = 3_600_000;
        Self {
            full_for_ms: 6 * HOUR_MS,
            reversible_for_ms: 72 * HOUR_MS,
            protective_for_ms: 30 * 24 * HOUR_MS,
        }
    }
}

/// The rules that people signed, checked and ready to judge by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    name: String,
    pub(crate) rules: Vec<Rule>,
    pub(crate) permits: Vec<Selector>,
    pub(crate) ladder: Ladder,
    pub(crate) reflexes_per_hour: u32,
    pub(crate) relapse_wait_ms: u64,
    /// What agents observe by themselves.
    pub(crate) indicators: Vec<Indicator>,
    pub(crate) meters: Vec<Meter>,
    pub(crate) sites: Vec<Site>,
    /// Whether any rule or permit asks for labels.
    pub(crate) uses_labels: bool,
    /// Whether any rule looks at what an action changes of the power that devices may draw.
    pub(crate) uses_power: bool,
    /// Places of the rules that must be told how time passes.
    pub(crate) watchers: Vec<u16>,
}

impl Bundle {
    /// Reads a bundle's text, YAML or TOML: a first line of the form `name = …` or `[…]` means TOML.
    ///
    /// Returns every problem found, in the order of the text, each with line, column and field; at most 50.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<BundleProblem>> {
        let problems = Problems::default();
        let bundle = Self::read_text(text, &problems);
        match bundle {
            Some(bundle) if problems.is_empty() => Ok(bundle),
            _ => Err(problems.into_vec()),
        }
    }

    /// Reads the text of a bundle that people have signed.
    ///
    /// What [`Bundle::parse`] refuses only because it cannot have been meant is taken as it stands: a node must not lose its rules
    /// because a newer program has become stricter.
    pub fn parse_signed(text: &[u8]) -> Result<Self, Vec<BundleProblem>> {
        let problems = Problems::default();
        let bundle = Self::read_text(text, &problems);
        match bundle {
            Some(bundle) if !problems.is_broken() => Ok(bundle),
            _ => Err(problems.into_vec()),
        }
    }

    /// What a node has that was never given a policy: no rules at all.
    pub fn without_rules() -> Self {
        Self {
            name: "none".to_owned(),
            rules: Vec::new(),
            permits: Vec::new(),
            indicators: Vec::new(),
            meters: Vec::new(),
            sites: Vec::new(),
            ladder: Ladder::default(),
            reflexes_per_hour: REFLEXES_PER_HOUR,
            relapse_wait_ms: RELAPSE_WAIT_MS,
            uses_labels: false,
            uses_power: false,
            watchers: Vec::new(),
        }
    }

    fn read_text(text: &[u8], problems: &Problems) -> Option<Self> {
        if text.len() > MAX_BUNDLE_BYTES {
            let message = format!("{} bytes; a bundle has at most {MAX_BUNDLE_BYTES}", text.len());
            problems.add(Place::default(), "", message);
            return None;
        }
        let text = match std::str::from_utf8(text) {
            Ok(text) => without_mark(text),
            Err(error) => {
                let line = text[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
                let line = u32::try_from(line).unwrap_or(u32::MAX);
                problems.add(Place { line, column: 1 }, "", "this is not UTF-8 text");
                return None;
            }
        };
        let tree = if toml::is_toml(text) {
            toml::tree(text)
        } else {
            tree::yaml(text)
        };
        match tree {
            Ok(root) => {
                let mut fields = Fields::new(&root, "", problems);
                let bundle = Self::read(&mut fields);
                fields.finish();
                Some(bundle)
            }
            Err(error) => {
                problems.add(error.place, "", error.message);
                None
            }
        }
    }

    /// Reads a bundle's fields.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Self {
        let name = fields.need_text("bundle", "its name, for people");
        let description = fields.text("description", "what it is for");
        drop(description);
        let ladder = fields.map("authority", false, "what may still be done as the policy ages", |f| {
            read_ladder(f)
        });
        let permits = fields.maps(
            "permits",
            false,
            "which actions may run at all; by default every kind but those of class high and irreversible",
            |f| Selector::read(f),
        );
        fields.doubt_if_empty("permits", "leave it out for the usual kinds, or name what may run");
        let reflexes = fields.number(
            "reflexes_per_hour",
            1,
            1_000,
            "safety reflexes that one node may take in an hour before none is taken back any more; 30",
        );
        let relapse_wait_ms = fields.duration(
            "relapse_wait",
            "how long it must be clear before an action is taken back that was needed again within an hour after; twice as long each \
             time, at most 1 h; 5 min",
        );
        let indicators = read_indicators(fields);
        let meters = read_meters(fields);
        let sites = read_sites(fields);
        let rules: Vec<_> = fields.maps("rules", false, "the rules", |f| {
            (f.place(), f.path().to_owned(), Rule::read(f))
        });
        if rules.len() > MAX_RULES {
            fields.problem(
                "rules",
                format!("{} rules; a bundle has at most {MAX_RULES}", rules.len()),
            );
        }
        if permits.len() > MAX_PERMITS {
            fields.problem("permits", format!("{} permits; at most {MAX_PERMITS}", permits.len()));
        }
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let mut kept = Vec::new();
        for (place, path, rule) in rules {
            let Some(mut rule) = rule else { continue };
            if let Some(first) = seen.insert(rule.id.clone(), place) {
                let message = format!("the rule in line {} is called `{}` too", first.line, rule.id);
                fields.problem_at(place, &format!("{path}.id"), message);
            }
            if let Kind::Sla(sla) = &rule.kind
                && let Some(message) = sla.beyond(&indicators)
            {
                fields.problem_at(place, &format!("{path}.period"), message);
            }
            if let Kind::CostCeiling(cost) = &mut rule.kind
                && let Err(message) = cost.bind(&meters)
            {
                fields.problem_at(place, &format!("{path}.window"), message);
            }
            kept.push(rule);
        }
        let by_label = kept
            .iter()
            .any(|rule| rule.selector.uses_labels() || rule.kind.uses_labels());
        Self {
            name,
            watchers: (0u16..)
                .zip(&kept)
                .filter(|(_, rule)| rule.kind.watches_time() && rule.mode != crate::rule::Mode::Off)
                .map(|(place, _)| place)
                .collect(),
            uses_power: kept.iter().any(|rule| rule.kind.uses_power()),
            uses_labels: by_label || permits.iter().any(Selector::uses_labels),
            rules: kept,
            permits,
            indicators,
            meters,
            sites,
            ladder: ladder.unwrap_or_default(),
            reflexes_per_hour: reflexes
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(REFLEXES_PER_HOUR),
            relapse_wait_ms: relapse_wait_ms.unwrap_or(RELAPSE_WAIT_MS),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sites that it names, with their members.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Its rules, for lists.
    pub fn rules(&self) -> Vec<RuleView> {
        self.rules
            .iter()
            .map(|rule| RuleView {
                id: rule.id.clone(),
                kind: rule.kind.name().to_owned(),
                mode: rule.mode.name().to_owned(),
                text: rule.kind.text(&rule.selector),
            })
            .collect()
    }

    /// Whether a text is a bundle: its rules, or what is wrong with it.
    pub fn check(text: &[u8]) -> CheckView {
        match Self::parse(text) {
            Ok(bundle) => CheckView {
                ok: true,
                errors: Vec::new(),
                rules: bundle.rules(),
                indicators: bundle.indicators.iter().map(Indicator::text).collect(),
                meters: bundle.meters.iter().map(Meter::text).collect(),
            },
            Err(errors) => CheckView {
                ok: false,
                errors,
                rules: Vec::new(),
                indicators: Vec::new(),
                meters: Vec::new(),
            },
        }
    }

    /// Why each rule is there and who answers for it, in the order of [`Bundle::rules`].
    pub fn reasons(&self) -> Vec<(&str, &str)> {
        self.rules
            .iter()
            .map(|rule| (rule.why.as_str(), rule.owner.as_str()))
            .collect()
    }

    /// Every change freeze and maintenance window, with its windows in `[from, to)`; at most 1,000 windows a rule.
    pub fn calendar(&self, from: Wall, to: Wall, now: Wall) -> Vec<CalendarRuleView> {
        let rules = self.rules.iter().filter_map(|rule| {
            let windows = rule.kind.windows()?;
            let (spans, cut) = windows.between(from.0, to.0);
            let (until, next) = windows.now_and_next(now.0);
            Some(CalendarRuleView {
                rule: rule.id.clone(),
                kind: rule.kind.name().to_owned(),
                mode: rule.mode.name().to_owned(),
                text: rule.kind.text(&rule.selector),
                zone: windows.zone_name().to_owned(),
                windows: spans.into_iter().map(|(start, end)| (Wall(start), Wall(end))).collect(),
                cut,
                active_until: until.map(Wall),
                next_start: next.map(Wall),
            })
        });
        rules.collect()
    }

    /// When no change freeze that counts covers the present any more; `None` if none does at `now`.
    pub fn next_open(&self, now: Wall) -> Option<Wall> {
        let freezes = || self.rules.iter().filter(|rule| rule.mode == Mode::Enforce);
        let covers = |at: i64| {
            let ends = freezes().filter_map(|rule| match &rule.kind {
                Kind::ChangeFreeze(windows) => windows.now_and_next(at).0,
                _ => None,
            });
            ends.max()
        };
        let mut open = covers(now.0)?;
        // Freezes that take turns: each step goes at least one window on, and a bundle has at most 256 rules.
        for _ in 0..MAX_RULES {
            match covers(open) {
                Some(later) => open = later,
                None => break,
            }
        }
        Some(Wall(open))
    }

    /// Every change freeze that counts, with when it ends if it is active and when it begins next.
    pub fn freezes(&self, at: Wall) -> Vec<Freeze> {
        let rules = self.rules.iter().filter(|rule| rule.mode == Mode::Enforce);
        rules
            .filter_map(|rule| {
                let Kind::ChangeFreeze(windows) = &rule.kind else {
                    return None;
                };
                let (until, next) = windows.now_and_next(at.0);
                Some(Freeze {
                    rule: rule.id.clone(),
                    text: rule.kind.text(&rule.selector),
                    active_until: until.map(Wall),
                    next_start: next.map(Wall),
                    in_flight: windows.in_flight(),
                })
            })
            .collect()
    }

    /// The lowest value of a quantity above which a rule that counts wants an action, in the quantity's unit.
    pub fn lowest_limit(&self, quantity: Quantity) -> Option<i64> {
        let rules = self.rules.iter().filter(|rule| rule.mode == Mode::Enforce);
        let limits = rules.filter_map(|rule| match &rule.kind {
            Kind::Threshold(threshold) if threshold.quantity == quantity => match threshold.condition {
                Condition::Above(limit) => Some(limit),
                Condition::Below(_) | Condition::Missing => None,
            },
            _ => None,
        });
        limits.min()
    }

    /// Whether any rule asks what a claim is worth.
    pub fn judges_claims(&self) -> bool {
        self.rules.iter().any(|rule| rule.kind.is_about_claims())
    }

    /// How many people must approve what this rule wants approved; 1 for what is built in.
    pub fn approvals(&self, rule: &str) -> u32 {
        self.rule(rule).map_or(1, |rule| rule.approvals)
    }

    /// The step of the ladder at this age of the policy, and how long until the next lower one.
    pub fn authority(&self, policy_age_ms: u64) -> (Authority, Option<u64>) {
        let left = |until: u64| Some(until - policy_age_ms);
        match &self.ladder {
            ladder if policy_age_ms < ladder.full_for_ms => (Authority::Full, left(ladder.full_for_ms)),
            ladder if policy_age_ms < ladder.reversible_for_ms => {
                (Authority::Reversible, left(ladder.reversible_for_ms))
            }
            ladder if policy_age_ms < ladder.protective_for_ms => {
                (Authority::Protective, left(ladder.protective_for_ms))
            }
            _ => (Authority::Observe, None),
        }
    }

    /// The rule with this id and its place.
    pub(crate) fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Whether the bundle lets this kind of action run at all.
    pub(crate) fn permits(&self, asked: &Asked<'_>) -> bool {
        if self.permits.is_empty() {
            return KINDS[asked.kind].class < wire::action::RiskClass::High;
        }
        self.permits.iter().any(|permit| permit.matches(asked))
    }
}

/// A change freeze, as of some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// The rule.
    pub rule: String,
    /// One line for people.
    pub text: String,
    /// Until when it is active: the next open slot. `None` if it is not.
    pub active_until: Option<Wall>,
    /// When its next window begins, if one does within 400 days.
    pub next_start: Option<Wall>,
    /// What becomes of a change that is under way when it begins: `finish`, `pause` or `rollback`.
    pub in_flight: &'static str,
}

fn read_indicators(fields: &mut Fields<'_>) -> Vec<Indicator> {
    let doc = "what an agent observes of its own readings, for the rules slo_burn and sla; at most 8";
    let read = fields.maps("indicators", false, doc, |f| {
        (f.place(), f.path().to_owned(), Indicator::read(f))
    });
    named(fields, ("indicators", "indicator", MAX_INDICATORS), read, |indicator| {
        &indicator.id
    })
}

fn read_meters(fields: &mut Fields<'_>) -> Vec<Meter> {
    let doc = "what energy costs, metered by an agent from its own readings, for the rule cost_ceiling; at most 4";
    let read = fields.maps("meters", false, doc, |f| {
        (f.place(), f.path().to_owned(), Meter::read(f))
    });
    named(fields, ("meters", "meter", MAX_METERS), read, |meter| &meter.id)
}

fn read_sites(fields: &mut Fields<'_>) -> Vec<Site> {
    let doc = "which nodes of a site carry each other's packets to the hub and pass policy on; at most 256";
    let read = fields.maps("sites", false, doc, |f| (f.place(), f.path().to_owned(), Site::read(f)));
    let sites = named(fields, ("sites", "site", MAX_SITES), read, |site| &site.id);
    let mut members: BTreeMap<&AgentId, &str> = BTreeMap::new();
    for site in &sites {
        for other in &site.neighbours {
            if !sites.iter().any(|known| known.id == *other) {
                fields.doubt(
                    "sites",
                    format!("`{other}` is no site of this bundle; `{}` names it", site.id),
                );
            }
        }
        for name in site.members.keys() {
            if let Some(first) = members.insert(name, &site.id) {
                fields.doubt(
                    "sites",
                    format!("`{name}` is a member of `{first}` already; `{}` names it too", site.id),
                );
            }
        }
    }
    sites
}

/// Of what was read of a list, what could be: not too many, and no two of one name.
fn named<T>(
    fields: &Fields<'_>,
    (list, one, most): (&'static str, &str, usize),
    read: Vec<(Place, String, Option<T>)>,
    name: impl Fn(&T) -> &String,
) -> Vec<T> {
    if read.len() > most {
        fields.problem(list, format!("{} {list}; a bundle has at most {most}", read.len()));
    }
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut kept = Vec::new();
    for (place, path, item) in read {
        let Some(item) = item else { continue };
        if let Some(first) = seen.insert(name(&item).clone(), place) {
            let message = format!("the {one} in line {} is called `{}` too", first.line, name(&item));
            fields.problem_at(place, &format!("{path}.id"), message);
        }
        kept.push(item);
    }
    kept
}

fn read_ladder(fields: &mut Fields<'_>) -> Ladder {
    let usual = Ladder::default();
    let full = fields.duration("full_for", "everything that the bundle grants; 6 h");
    let reversible = fields.duration("reversible_for", "then nothing irreversible or disruptive; 72 h");
    let protective = fields.duration(
        "protective_for",
        "then protective actions only; 30 d. After it only rules that never expire",
    );
    let ladder = Ladder {
        full_for_ms: full.unwrap_or(usual.full_for_ms),
        reversible_for_ms: reversible.unwrap_or(usual.reversible_for_ms),
        protective_for_ms: protective.unwrap_or(usual.protective_for_ms),
    };
    if ladder.full_for_ms > ladder.reversible_for_ms {
        fields.problem(
            "reversible_for",
            "is shorter than `full_for`; ages count from the same moment",
        );
    }
    if ladder.reversible_for_ms > ladder.protective_for_ms {
        fields.problem(
            "protective_for",
            "is shorter than `reversible_for`; ages count from the same moment",
        );
    }
    ladder
}
