//! What is known of each brain with each verb: what its plans predicted, what came of them, and so what it may do without a person.
//!
//! A prediction belongs to one plan, so the plan that is under way is the open prediction, and the plan's end is its outcome: both stand
//! in one change, and a crash never counts one twice. The embedded brain is graded like every other.
//!
//! Decides when a step of a brain needs a person for want of trust; never what policy says, and never how good a brain is: that is
//! `policy-trust`'s.
//!
//! Invariants: a brain that nobody has graded has the lowest tier; each change of tier is an entry of the hub's journal that says why.
//! Read next: `policy/trust/src/record.rs` (scores and tiers), `judge.rs` (who asks).

use policy::ClaimWorth;
use policy_trust::{Censored, Change, Record, Seen, Tier};
use serde::{Deserialize, Serialize};
use wire::action::RiskClass;
use wire::change::{Caller, ChangeRecord};
use wire::plan::{Plan, PlanState, Source, Verb};
use wire::time::{Now, Wall};

use super::machine::PlanRecord;
use crate::cx::Cx;
use crate::documents::{Document, Documents, StoredDocument, Unreadable};

/// What is known of one brain with one verb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrainRecord {
    /// The brain's name.
    pub brain: String,
    /// The verb's name.
    pub verb: String,
    /// What came of its predictions.
    pub record: Record,
}

impl Document for BrainRecord {
    const KIND: &'static str = "brain";
    const VERSION: u8 = 1;
    /// Twenty brains with every verb. Who finds no room stays at the lowest tier.
    const MOST_LIVE: usize = 256;

    fn id(&self) -> String {
        record_id(&self.brain, &self.verb)
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Why a step needs a person although policy may allow it.
pub(super) struct Untrusted {
    pub(super) rule: String,
    pub(super) because: String,
}

/// Every brain that was graded, with every verb.
#[derive(Debug, Default)]
pub(crate) struct Brains(Documents<BrainRecord>);

impl Brains {
    pub(super) fn recovered(
        documents: impl IntoIterator<Item = StoredDocument>,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Unreadable> {
        Documents::recovered(documents, keys).map(Self)
    }

    pub(super) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.0.settle(id, revision, is_stored);
    }

    /// Everything that is stored, by brain and verb.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &BrainRecord> {
        self.0.iter_stored()
    }

    /// A plan was taken in: another model than before answers under the brain's name, perhaps.
    pub(super) fn predicted(&mut self, plan: &Plan, cx: &mut Cx<'_>) {
        let (Source::Brain { name, model }, Some(verb)) = (&plan.source, graded(plan)) else {
            return;
        };
        let mut found = self.known(name, verb, cx.now);
        if found.record.model() == model && self.0.get(&found.id()).is_some() {
            return;
        }
        let change = found.record.predicted(model, now_ms(cx.now));
        self.write(found, change, Caller::hub(), cx);
    }

    /// A plan is over: its prediction is joined to what came of it. Returns what counts, for the plan's own entry.
    pub(super) fn outcome(&mut self, record: &PlanRecord, cx: &mut Cx<'_>) {
        let (Source::Brain { name, .. }, Some(verb)) = (&record.plan.source, graded(&record.plan)) else {
            return;
        };
        let (Some(claim), Some(seen)) = (&record.plan.claim, seen(record)) else {
            return;
        };
        let mut found = self.known(name, verb, cx.now);
        let harmful = is_harmful(record);
        let change = found.record.outcome(claim.confidence_bp, seen, harmful, now_ms(cx.now));
        self.write(found, change, Caller::hub(), cx);
    }

    /// A person sets a tier.
    pub(super) fn grant(
        &mut self,
        (brain, verb): (&str, &str),
        tier: Tier,
        (caller, reason): (Caller, &str),
        cx: &mut Cx<'_>,
    ) -> Result<BrainRecord, String> {
        if brain.is_empty() || brain.len() > wire::plan::MAX_NAME || brain.chars().any(char::is_control) {
            return Err(format!("brain: `{}` is no name of a brain", brain.escape_default()));
        }
        if !Verb::NAMES.contains(&verb) {
            return Err(format!(
                "verb: there is no `{verb}`; these are: {}",
                Verb::NAMES.join(", ")
            ));
        }
        let mut found = self.known(brain, verb, cx.now);
        let Some(change) = found.record.grant(tier, &caller.name, now_ms(cx.now)) else {
            return Err(format!("tier: {brain} has {tier} for {verb} already"));
        };
        let entry = moved(&found, &change, caller).because(reason);
        let put = self.0.put(found.clone(), 0).map_err(|error| error.to_string())?;
        cx.record(entry);
        cx.put(put);
        Ok(found)
    }

    /// What the claim behind a brain's plan is worth for this verb; `None` if it claims nothing or a person sent it.
    pub(super) fn worth(&self, plan: &Plan, verb: &Verb, now: Now) -> Option<ClaimWorth> {
        let (Source::Brain { name, .. }, Some(claim)) = (&plan.source, &plan.claim) else {
            return None;
        };
        let record = self.0.get(&record_id(name, verb.name())).map(|found| &found.record);
        let calibrated = record.map(|record| record.calibrated(claim.confidence_bp, now_ms(now)));
        let outcomes = record.map_or(0.0, |record| record.effective(now_ms(now)));
        Some(ClaimWorth {
            at_least_bp: calibrated.map_or(0, |calibrated| (calibrated.at_least * 10_000.0) as i64),
            outcomes: outcomes as i64,
            age_ms: now.wall.0.saturating_sub(plan.created.0),
            horizon_ms: i64::try_from(claim.horizon_ms).unwrap_or(i64::MAX),
        })
    }

    /// What this brain may do with this verb.
    pub(super) fn tier(&self, brain: &str, verb: &str) -> Tier {
        self.0
            .get(&record_id(brain, verb))
            .map_or(Tier::T0, |found| found.record.tier())
    }

    /// Why a step of a brain needs a person, if it does: its tier is below what the risk asks for, or ends at a site's border.
    pub(super) fn objects(&self, record: &PlanRecord, verb: &Verb, sites: usize, now: Now) -> Option<Untrusted> {
        let (true, brain) = record.runs_as() else {
            return None;
        };
        // Telling people something is what a brain without trust is for.
        if matches!(verb, Verb::Notify { .. }) {
            return None;
        }
        let tier = self.tier(&brain, verb.name());
        let Some(needed) = Tier::needed_for(class(verb)) else {
            let because = "what cannot be taken back needs a person, whatever a brain's tier".to_owned();
            return Some(Untrusted::at(tier, because));
        };
        if tier < needed {
            return Some(Untrusted::at(tier, self.lacks((&brain, verb.name()), needed, now)));
        }
        let because = format!(
            "it acts within one site at this tier, and the plan is about {sites}: a person approves it, or grants {}",
            Tier::T3
        );
        (tier.is_bounded() && sites > 1).then(|| Untrusted::at(tier, because))
    }

    /// What keeps a brain below `needed`, and what would change that.
    fn lacks(&self, (brain, verb): (&str, &str), needed: Tier, now: Now) -> String {
        let known = self.0.get(&record_id(brain, verb));
        let lacks = known.and_then(|found| found.record.standing(now_ms(now)).next_tier_lacks);
        let lacks = lacks.unwrap_or_else(|| "it has predicted nothing yet".to_owned());
        format!(
            "{verb} without a person needs {needed}, and the next tier is not earned: {lacks}; a person approves this plan, or \
             grants the tier: sentinel brain grant {brain} {verb} {}",
            needed.name()
        )
    }

    fn known(&self, brain: &str, verb: &str, now: Now) -> BrainRecord {
        let found = self.0.get(&record_id(brain, verb)).cloned();
        found.unwrap_or_else(|| BrainRecord {
            brain: brain.to_owned(),
            verb: verb.to_owned(),
            record: Record::new("", now_ms(now)),
        })
    }

    /// Writes a record with this turn's change; where there is no room for a newcomer, it stays at the lowest tier.
    fn write(&mut self, found: BrainRecord, change: Option<Change>, caller: Caller, cx: &mut Cx<'_>) {
        let entry = change.map(|change| moved(&found, &change, caller).because(change.why.to_string()));
        if let Ok(put) = self.0.put(found, 0) {
            entry.into_iter().for_each(|entry| cx.record(entry));
            cx.put(put);
        }
    }
}

impl Untrusted {
    fn at(tier: Tier, because: String) -> Self {
        Self {
            rule: format!("tier {tier}"),
            because,
        }
    }
}

/// What came of a plan's prediction; `None` while the plan is not over.
pub(super) fn seen(record: &PlanRecord) -> Option<Seen> {
    let outcome = record.outcome()?;
    Some(match outcome.label() {
        _ if !record.ran() => Seen::Censored(Censored::NotRun),
        _ if outcome.censored => Seen::Censored(Censored::ByAction),
        Some(true) => Seen::CameTrue,
        Some(false) => Seen::Failed,
        None => Seen::Censored(Censored::ByGap),
    })
}

/// Whether it was taken back because it did not do what was expected of it.
fn is_harmful(record: &PlanRecord) -> bool {
    let undone = matches!(record.state, PlanState::RolledBack | PlanState::RollbackFailed);
    undone && record.outcome().is_some_and(|outcome| outcome.label() == Some(false))
}

/// The verb that a plan with a claim is graded for: that of its first step.
fn graded(plan: &Plan) -> Option<&'static str> {
    plan.claim.as_ref()?;
    plan.steps.first().map(|step| step.verb.name())
}

/// How dangerous a verb is, by the catalogue of `policy`; what is not in it cannot be taken back.
fn class(verb: &Verb) -> RiskClass {
    let mut kinds = policy::KINDS.iter();
    kinds
        .find(|kind| kind.name == verb.name())
        .map_or(RiskClass::Irreversible, |kind| kind.class)
}

fn record_id(brain: &str, verb: &str) -> String {
    format!("{brain}/{verb}")
}

/// The entry of a change of tier.
fn moved(found: &BrainRecord, change: &Change, caller: Caller) -> ChangeRecord {
    ChangeRecord::new(caller, "brain.tier", format!("{}/{}", BrainRecord::KIND, found.id()))
        .with("from", change.from)
        .with("to", change.to)
}

/// The hub's own milliseconds, by which outcomes grow old: they must go on over restarts.
fn now_ms(now: Now) -> u64 {
    u64::try_from(now.wall.0).unwrap_or(0)
}

/// A time of a record, for people.
pub(super) fn wall(at_ms: u64) -> Wall {
    Wall(i64::try_from(at_ms).unwrap_or(i64::MAX))
}
