//! What rules demand of the decisions that an agent made durable, looked at with no cleverness at all.
//!
//! The engine is asked only one thing: to judge every durable decision again, which must give the same bytes. Everything else is
//! counted here anew, from the numbers that `bundles.rs` wrote into the text and the entries on the disk.
//!
//! Invariants (A3, A7): a cap lies within every range and step of its bundle; no interval of a window holds more than its limit, whatever
//! crashed in between and however often the bundle changed; the same action rests before it is repeated; what must not meet does not;
//! nothing that freezes hold runs in one, wherever the clock may stand by the decision's own record; nothing runs under a limit of the
//! blast radius, a promise or a confidence of which nobody observed the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::Bundle;
use wire::action::{Action, ActionKind, Origin, OutcomeState, RiskClass};
use wire::decision::Authority;
use wire::entry::{Entry, EntryBody};
use wire::ids::{DecisionId, Epoch, Seq};
use wire::time::{Mono, Wall};
use wire::{BundleRef, Decision, DeviceId};

use crate::bundles::{By, Demand, Draft, KINDS, Written};

const HOUR_MS: i64 = 3_600_000;
/// An action of which nothing was heard for so long is under way no more.
const LOST_AFTER_MS: u64 = 120_000;

/// A bundle that a hub stored, as it was written and as the engine reads it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    draft: Draft,
    bundle: Bundle,
}

/// How often each kind of rule was in force when a decision was made, and how often it said something of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindCounts(BTreeMap<String, (u64, u64)>);

impl KindCounts {
    fn add(&mut self, kind: &str, spoke: bool) {
        let count = self.0.entry(kind.to_owned()).or_default();
        count.0 += 1;
        count.1 += u64::from(spoke);
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Self) {
        for (kind, (in_force, spoke)) in &other.0 {
            let count = self.0.entry(kind.clone()).or_default();
            count.0 += in_force;
            count.1 += spoke;
        }
    }

    /// Every kind with how often it was in force, and how often it spoke.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64, u64)> + '_ {
        let mut names: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
        names.dedup();
        names.into_iter().map(|kind| {
            let (in_force, spoke) = self.0.get(kind).copied().unwrap_or_default();
            (kind, in_force, spoke)
        })
    }

    /// The kinds that never were in force, or never said anything.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = self.all().filter(|(_, in_force, spoke)| *in_force == 0 || *spoke == 0);
        never.map(|(kind, ..)| kind).collect()
    }
}

/// An action that ran, by a durable decision.
#[derive(Debug, Clone)]
struct Ran {
    id: (Epoch, Seq),
    at: Mono,
    action: Action,
    undo: bool,
    bundle: BundleRef,
    ended: Option<Mono>,
    /// Nothing more comes of it, or it was never carried out.
    over: bool,
}

/// What one agent's durable decisions did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deeds(Vec<Ran>);

impl Deeds {
    /// What was counted is gone with the journal.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Looks at one more durable entry. An error says which demand it breaks.
    pub(crate) fn commit(&mut self, epoch: Epoch, entry: &Entry, register: &mut Register) -> Result<(), String> {
        match &entry.body {
            EntryBody::Decided(decision) => self.decide((epoch, entry.seq), decision, register),
            EntryBody::Acted(outcome) => {
                let dropped = outcome.state == OutcomeState::Dropped;
                self.end(&outcome.decision, (!dropped).then_some(entry.at.mono));
                Ok(())
            }
            EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => Ok(()),
        }
    }

    fn end(&mut self, decision: &DecisionId, at: Option<Mono>) {
        let place = (decision.epoch, decision.seq);
        if let Some(ran) = self.0.iter_mut().find(|ran| ran.id == place) {
            ran.ended = at.or(ran.ended);
            ran.over = true;
        }
    }

    fn decide(&mut self, id: (Epoch, Seq), decision: &Decision, register: &mut Register) -> Result<(), String> {
        let inputs = &decision.inputs;
        let Some(known) = register.find(inputs.bundle).cloned() else {
            return match inputs.bundle == BundleRef::NONE {
                true => Ok(()),
                false => Err(format!("T1: decided by {:?}, which no hub published", inputs.bundle)),
            };
        };
        if policy::judge(&known.bundle, inputs) != decision.judgement {
            return Err("A1: judged again, something else comes out".to_owned());
        }
        for rule in &known.draft.rules {
            let spoke = decision.judgement.clauses.iter().any(|clause| clause.rule == rule.id);
            register.kinds.add(rule.kind, spoke);
        }
        let Some(action) = &decision.judgement.granted else {
            return Ok(());
        };
        let ran = Ran {
            id,
            at: inputs.at.mono,
            action: action.clone(),
            undo: matches!(inputs.origin, Origin::Cleared { .. } | Origin::Plan { undo: true, .. }),
            bundle: inputs.bundle,
            ended: None,
            // Nothing is under way while people are told something.
            over: matches!(action.kind, ActionKind::Notify { .. }),
        };
        let counting = known.draft.rules.iter().filter(|rule| rule.counts());
        let broken = counting
            .filter(|rule| rule.actions.contains(&action.kind.name()))
            .find_map(|rule| self.breaks(rule, &ran, decision, &known, register));
        self.0.push(ran);
        broken.map_or(Ok(()), Err)
    }

    /// How an action that runs breaks a rule, if it does.
    fn breaks(
        &self,
        rule: &Written,
        ran: &Ran,
        decision: &Decision,
        known: &Known,
        register: &Register,
    ) -> Option<String> {
        let kind = &ran.action.kind;
        let calm = kind.risk() == RiskClass::Safety || ran.undo;
        let cap = match kind {
            ActionKind::PowerCap { milliwatts } => Some(i64::from(*milliwatts)),
            _ => None,
        };
        let walls = may_be(decision);
        let holds = match &rule.demand {
            Demand::None => true,
            Demand::Range(min, max) => cap.is_none_or(|cap| (*min..=*max).contains(&cap)),
            Demand::Step(max) => {
                let present = decision.inputs.facts.iter().find(|fact| fact.rule == rule.id);
                let change = cap.zip(present).map(|(cap, present)| cap.abs_diff(present.value));
                change.is_none_or(|change| change <= max.unsigned_abs())
            }
            Demand::Asked(least) => match decision.inputs.wanted.kind {
                ActionKind::PowerCap { milliwatts } => i64::from(milliwatts) >= *least,
                _ => true,
            },
            Demand::Rate { all, .. } if calm && !all => true,
            // A budget counts a rule's own protection and never stops it.
            Demand::Rate { .. } if is_reflex(decision, kind) => true,
            Demand::Rate {
                limit,
                window_ms,
                by,
                all,
            } => {
                let counted = |other: &&Ran| {
                    let is_calm = other.action.kind.risk() == RiskClass::Safety || other.undo;
                    ran.at.0.saturating_sub(other.at.0) < *window_ms
                        && (*all || !is_calm)
                        && rule.actions.contains(&other.action.kind.name())
                        && register.holds(other.bundle, &rule.id)
                        && same(*by, &other.action, &ran.action)
                };
                (self.0.iter().filter(counted).count() as u64) < *limit
            }
            Demand::Rest(least_ms) => {
                let same =
                    |other: &&Ran| other.bundle == ran.bundle && same(By::TargetKind, &other.action, &ran.action);
                let ended = self.0.iter().rev().find(same).and_then(|other| other.ended);
                ended.is_none_or(|ended| ran.at.0.saturating_sub(ended.0) >= *least_ms)
            }
            Demand::Alone { node } => {
                let meets = |other: &&Ran| {
                    !other.over
                        && ran.at.0.saturating_sub(other.at.0) < LOST_AFTER_MS
                        && rule.actions.contains(&other.action.kind.name())
                        && (*node || other.action.target == ran.action.target)
                };
                !self.0.iter().any(|other| meets(&other))
            }
            Demand::Closed(from, to) => calm || !walls.iter().any(|wall| within(*wall, *from, *to)),
            Demand::Open(..) => calm || walls.iter().all(|wall| Self::is_open(known, kind.name(), *wall)),
            Demand::Radius(n) => kind.risk() == RiskClass::Safety || is_in_turn(rule, decision, *n),
            Demand::Paid(ceiling) => calm || is_paid(rule, ran, decision, *ceiling),
            Demand::Powered(limit) => is_powered(rule, ran, decision, *limit),
            Demand::Unobserved { disruptive: true } => calm || !kind.disruptive(),
            // What the claim behind a plan is worth was judged by the hub.
            Demand::Unobserved { disruptive: false } => {
                kind.risk() == RiskClass::Safety || matches!(decision.inputs.origin, Origin::Plan { .. })
            }
        };
        (!holds).then(|| {
            format!(
                "A3: {} of {} runs against `{}` ({:?}); {} ran before",
                ran.action,
                ran.id.1,
                rule.id,
                rule.demand,
                self.0.len()
            )
        })
    }

    /// Whether any maintenance window that counts for this action is open.
    fn is_open(known: &Known, action: &str, wall: Wall) -> bool {
        let rules = known
            .draft
            .rules
            .iter()
            .filter(|rule| rule.counts() && rule.actions.contains(&action));
        rules.into_iter().any(|rule| match rule.demand {
            Demand::Open(from, to) => within(wall, from, to),
            _ => false,
        })
    }
}

/// Whether a rule wanted it, and it can only make things calmer.
fn is_reflex(decision: &Decision, kind: &ActionKind) -> bool {
    let is_rule = matches!(decision.inputs.origin, Origin::Rule { .. });
    is_rule && kind.risk() == RiskClass::Safety && !matches!(kind, ActionKind::Notify { .. })
}

/// A fact of a decision, of a rule or of the device.
fn fact(decision: &Decision, rule: &str, name: &str) -> Option<i64> {
    let mut facts = decision.inputs.facts.iter();
    let found = facts.find(|fact| fact.rule == rule && fact.name == name);
    found.map(|fact| fact.value)
}

/// By how much an action changes the limit of its device's power, in milliwatts; 0 for one that does not, `None` if nobody knows.
fn raise(ran: &Ran, decision: &Decision) -> Option<i64> {
    let next = match &ran.action.kind {
        ActionKind::PowerCap { milliwatts } => Some(i64::from(*milliwatts)),
        ActionKind::ReleasePowerCap => fact(decision, "device", "max"),
        _ => return Some(0),
    };
    Some(next? - fact(decision, "device", "cap_mw")?)
}

/// Whether what was spent, and what is spent in an hour from now on with the action, are known and within a ceiling of an hour.
fn is_paid(rule: &Written, ran: &Ran, decision: &Decision, ceiling: i64) -> bool {
    let spent = fact(decision, &rule.id, "spent_micros");
    let rate = fact(decision, &rule.id, "rate_micros_per_h");
    let Some(((spent, rate), more)) = spent.zip(rate).zip(raise(ran, decision)) else {
        return false;
    };
    // A milliwatt for an hour is 3.6 joules, and a joule costs a millionth at least. What lowers cost is exempt.
    more < 0 || spent <= ceiling && rate + more * 36 / 10 <= ceiling
}

/// Whether a raise is known to fit into the power of the node. A cap is a reflex: of one nothing need be known.
fn is_powered(rule: &Written, ran: &Ran, decision: &Decision, limit: i64) -> bool {
    match (raise(ran, decision), fact(decision, &rule.id, "used_0")) {
        (Some(more), _) if more <= 0 => true,
        (Some(more), Some(used)) => used + more <= limit,
        (None, _) | (_, None) => ran.action.kind.risk() == RiskClass::Safety,
    }
}

fn is_in_turn(rule: &Written, decision: &Decision, n: i64) -> bool {
    let fact = |name: &str| fact(decision, &rule.id, name);
    let (Some(members), Some(unhealthy)) = (fact("members"), fact("unhealthy")) else {
        return false;
    };
    if !decision.inputs.wanted.kind.disruptive() || members == 1 && unhealthy == 1 {
        return true;
    }
    members > 1 && fact("turn") == Some(1) && unhealthy + fact("in_flight").unwrap_or(0) < n
}

fn same(by: By, a: &Action, b: &Action) -> bool {
    let target = |a: &DeviceId, b: &DeviceId| a == b;
    let kind = a.kind.name() == b.kind.name();
    match by {
        By::Target => target(&a.target, &b.target),
        By::Kind => kind,
        By::TargetKind => kind && target(&a.target, &b.target),
        By::Node => true,
    }
}

/// The wall clock of a decision, and where it may stand by what the node knew of its error.
fn may_be(decision: &Decision) -> [Wall; 3] {
    let (wall, mut facts) = (decision.inputs.at.wall, decision.inputs.facts.iter());
    let kept = facts.find(|fact| fact.rule == "clock" && fact.name == "error_ms");
    let error = kept.map_or(0, |fact| fact.value);
    [
        wall,
        Wall(wall.0.saturating_sub(error)),
        Wall(wall.0.saturating_add(error)),
    ]
}

/// Whether a time lies within these hours of its UTC day; an end that is not later than the beginning is on the next day.
fn within(wall: Wall, from: u64, to: u64) -> bool {
    let hour = u64::try_from(wall.0.div_euclid(HOUR_MS).rem_euclid(24)).unwrap_or(0);
    if from < to {
        (from..to).contains(&hour)
    } else {
        hour >= from || hour < to
    }
}

/// Every bundle that a hub ever stored, and what was counted of its kinds.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// By generation and digest.
    bundles: BTreeMap<(u64, [u8; 32]), Arc<Known>>,
    pub(crate) kinds: KindCounts,
}

impl Register {
    /// A hub stored a bundle. An error is a text that the engine cannot read.
    pub(crate) fn publish(&mut self, reference: BundleRef, draft: &Draft, text: &[u8]) -> Result<(), String> {
        let bundle = Bundle::parse(text).map_err(|problems| format!("published, and no bundle: {problems:?}"))?;
        let draft = draft.clone();
        let place = (reference.generation.0, reference.digest.0);
        self.bundles.insert(place, Arc::new(Known { draft, bundle }));
        Ok(())
    }

    /// What a policy of this age still gives, by the bundle's own ladder; `None` for one that no hub stored.
    pub(crate) fn authority(&self, bundle: BundleRef, age_ms: u64) -> Option<Authority> {
        if bundle == BundleRef::NONE {
            return Some(Authority::Observe);
        }
        self.find(bundle).map(|known| known.bundle.authority(age_ms).0)
    }

    /// Whether a hub ever stored a bundle of this digest.
    pub(crate) fn knows(&self, digest: &[u8; 32]) -> bool {
        self.bundles.keys().any(|(_, known)| known == digest)
    }

    fn find(&self, bundle: BundleRef) -> Option<&Arc<Known>> {
        self.bundles.get(&(bundle.generation.0, bundle.digest.0))
    }

    /// Whether a bundle has this rule, and it counts.
    fn holds(&self, bundle: BundleRef, id: &str) -> bool {
        self.find(bundle)
            .is_some_and(|known| known.draft.rules.iter().any(|rule| rule.id == id && rule.counts()))
    }
}
