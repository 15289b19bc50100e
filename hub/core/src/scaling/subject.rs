//! Deployments that the hub scales: measured four times a minute, and changed by plans like anything else.
//!
//! Decides when a plan is sent and when not: never for a deployment that an autoscaler of the cluster scales as well, never while another
//! plan of it is under way, and not the same again at once when policy or the cluster said no. What was measured is kept in memory only:
//! after a start nothing shrinks before a whole window was seen again.
//!
//! Invariant: a deployment with an autoscaler of its own is never scaled from here.
//! Read next: `scaling/scaler.rs` (how many), `plans.rs` (what becomes of the plan).

use std::collections::BTreeMap;
use std::time::Duration;

use wire::change::{Caller, ChangeRecord};
use wire::ids::PlanId;
use wire::kube::{DeploymentRef, ScalingView};
use wire::plan::{Draft, Source, Step, Target, Verb};
use wire::time::{Mono, Wall};

use super::record::{ScalingRecord, ScalingRule};
use super::scaler::{Desired, Measured, Scaler, Spec, Why};
use crate::clusters::{KubeEffect, unknown};
use crate::cx::{Ask, Cx};
use crate::documents::{Documents, StoredDocument, Unreadable};
use crate::effect::{Answer, Effect};
use crate::timers::Timer;

/// How often a load is measured. Source: Kubernetes' HPA.
const EVERY: Duration = Duration::from_secs(15);
/// And first after a rule was set: when it is stored.
const FIRST: Duration = Duration::from_secs(1);
/// A measurement that has not come by then is asked for again.
const OVERDUE: Duration = Duration::from_secs(60);
/// The same number is not asked for again before.
const AGAIN: Duration = Duration::from_secs(300);
/// How long a plan of ours may wait for policy: later the load is another one.
const VALID_MS: u64 = 300_000;

/// What somebody wants of scaling.
#[derive(Debug, Clone)]
pub enum ScalingRequest {
    /// Scale this deployment like this from now on.
    Set {
        /// Which.
        target: DeploymentRef,
        /// How.
        rule: Box<ScalingRule>,
        /// Why.
        reason: String,
    },
    /// Do not scale it any more. It keeps the replicas that it has.
    Remove {
        /// Which.
        target: DeploymentRef,
        /// Why.
        reason: String,
    },
}

/// What was seen of a deployment that is scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadSeen {
    /// Replicas that are wanted; `None`: it could not be read, or is not there.
    pub present: Option<u32>,
    /// Name of an autoscaler that scales it.
    pub autoscaler: Option<String>,
    /// Its load and what is expected of it.
    pub measured: Measured,
    /// Why something of it is not known; empty: all is.
    pub detail: String,
}

/// All deployments that are scaled.
#[derive(Debug, Default)]
pub(crate) struct Scaling {
    records: Documents<ScalingRecord>,
    /// What is remembered of each, by its name.
    live: BTreeMap<String, Live>,
    /// When they are measured next.
    next: Option<Mono>,
}

#[derive(Debug, Default)]
struct Live {
    scaler: Scaler,
    seen: LoadSeen,
    seen_at: Option<Wall>,
    desired: Option<Desired>,
    /// A measurement is on its way since then.
    measuring: Option<Mono>,
    /// What was asked for last, and when.
    asked: Option<(u32, Mono)>,
}

impl Scaling {
    pub(crate) fn recovered(documents: Vec<StoredDocument>, keys: Vec<(String, String)>) -> Result<Self, Unreadable> {
        Ok(Self {
            records: Documents::recovered(documents, keys)?,
            ..Self::default()
        })
    }

    /// Carries on after a start.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) {
        self.tick(cx.now.mono + EVERY, cx);
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.records.settle(id, revision, is_stored);
    }

    /// Every deployment that is scaled, as it was last seen.
    pub(crate) fn views(&self) -> impl Iterator<Item = ScalingView> {
        self.records.iter_stored().map(|record| self.view(record))
    }

    /// Carries a request out, or says why not. `knows`: whether a cluster is registered.
    pub(crate) fn handle(
        &mut self,
        request: u64,
        caller: Caller,
        what: ScalingRequest,
        knows: impl Fn(&str) -> bool,
        cx: &mut Cx<'_>,
    ) {
        if cx.is_crowded() {
            let reason = "the hub has too much to store; ask again".to_owned();
            return cx.reply(request, Answer::Unavailable { reason });
        }
        let result = match what {
            ScalingRequest::Set { target, rule, reason } => self.set(&caller, target, *rule, reason, knows, cx),
            ScalingRequest::Remove { target, reason } => self.remove(caller, &target, reason, cx),
        };
        match result {
            Ok(view) => cx.reply_when_stored(request, Answer::Scaling(Box::new(view))),
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    /// What was seen of one. `plan`: id of the plan that may follow.
    pub(crate) fn seen(&mut self, target: &DeploymentRef, plan: PlanId, seen: LoadSeen, cx: &mut Cx<'_>) {
        let id = target.to_string();
        let Some(record) = self.records.stored(&id).cloned() else {
            return;
        };
        let live = self.live.entry(id.clone()).or_default();
        live.measuring = None;
        live.seen_at = Some(cx.now.wall);
        if live.seen.autoscaler != seen.autoscaler {
            let entry = ChangeRecord::new(Caller::hub(), "scaling.autoscaler", format!("deployment/{target}"));
            cx.record(match &seen.autoscaler {
                Some(name) => entry.because(format!("autoscaler {name} scales it, so the hub does not")),
                None => entry.because("no autoscaler scales it any more, so the hub does"),
            });
        }
        live.seen = seen;
        let (Some(present), None) = (live.seen.present, &live.seen.autoscaler) else {
            // What others did meanwhile says nothing of what is needed.
            live.scaler = Scaler::default();
            live.desired = None;
            return;
        };
        let desired = live
            .scaler
            .desired(&record.rule.spec, present, live.seen.measured, cx.now.mono);
        live.desired = Some(desired);
        let again = live
            .asked
            .is_some_and(|(replicas, at)| replicas == desired.replicas && cx.now.mono < at + AGAIN);
        if desired.replicas == present || again {
            return;
        }
        live.asked = Some((desired.replicas, cx.now.mono));
        let draft = draft(&record, desired, &live.seen);
        cx.asks.push_back(Ask::Scale(Box::new((plan, draft))));
    }

    /// Time to measure.
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) {
        if self.next.is_none_or(|next| cx.now.mono < next) {
            return;
        }
        self.next = None;
        for record in self.records.iter_stored() {
            let live = self.live.entry(record.target.to_string()).or_default();
            if live.measuring.is_some_and(|since| cx.now.mono < since + OVERDUE) {
                continue;
            }
            live.measuring = Some(cx.now.mono);
            cx.effect(Effect::Kube(KubeEffect::Load {
                target: record.target.clone(),
                rule: Box::new(record.rule.clone()),
            }));
        }
        self.tick(cx.now.mono + EVERY, cx);
    }

    fn set(
        &mut self,
        caller: &Caller,
        target: DeploymentRef,
        rule: ScalingRule,
        reason: String,
        knows: impl Fn(&str) -> bool,
        cx: &mut Cx<'_>,
    ) -> Result<ScalingView, String> {
        target.check().map_err(|problem| problem.to_string())?;
        rule.check()?;
        if !knows(&target.cluster) {
            return Err(unknown(&target.cluster));
        }
        let record = ScalingRecord {
            target,
            rule,
            set_by: caller.name.clone(),
            set_at: cx.now.wall,
        };
        let put = self.records.put(record.clone(), 0).map_err(|error| error.to_string())?;
        let Spec { min, max, .. } = &record.rule.spec;
        let entry = ChangeRecord::new(caller.clone(), "scaling.set", format!("deployment/{}", record.target));
        let entry = entry.because(reason).with("replicas", format!("{min} to {max}"));
        cx.record(entry.with("query", &record.rule.query));
        cx.put(put);
        // What was measured under another rule says nothing under this one.
        self.live.remove(&record.target.to_string());
        self.next = None;
        self.tick(cx.now.mono + FIRST, cx);
        Ok(self.view(&record))
    }

    fn remove(
        &mut self,
        caller: Caller,
        target: &DeploymentRef,
        reason: String,
        cx: &mut Cx<'_>,
    ) -> Result<ScalingView, String> {
        let id = target.to_string();
        let view = self.records.get(&id).map(|record| self.view(record));
        let (Some(view), Some(put)) = (view, self.records.remove(&id)) else {
            return Err(format!(
                "{target} is not scaled by the hub: `sentinel scaling list` shows what is"
            ));
        };
        self.live.remove(&id);
        let entry = ChangeRecord::new(caller, "scaling.remove", format!("deployment/{target}"));
        cx.record(entry.because(reason));
        cx.put(put);
        Ok(view)
    }

    fn tick(&mut self, at: Mono, cx: &mut Cx<'_>) {
        if self.next.is_none() && !self.records.is_empty() {
            self.next = Some(at);
            cx.at(at, Timer::Scaling);
        }
    }

    fn view(&self, record: &ScalingRecord) -> ScalingView {
        let live = self.live.get(&record.target.to_string());
        let seen = live.map(|live| live.seen.clone()).unwrap_or_default();
        let desired = live.and_then(|live| live.desired);
        let why = match (&seen.autoscaler, desired) {
            (Some(name), _) => format!("left to autoscaler {name}"),
            (None, Some(desired)) => desired.why.text().to_owned(),
            (None, None) => "not measured yet".to_owned(),
        };
        ScalingView {
            target: record.target.clone(),
            min: record.rule.spec.min,
            max: record.rule.spec.max,
            target_milli: record.rule.spec.target_milli,
            query: record.rule.query.clone(),
            forecast: record.rule.forecast,
            present: seen.present,
            desired: desired.map(|desired| desired.replicas),
            reactive: desired.and_then(|desired| desired.reactive),
            floor: desired.and_then(|desired| desired.floor),
            why,
            load_milli: seen.measured.load_milli,
            expected_milli: seen.measured.expected_milli,
            autoscaler: seen.autoscaler,
            detail: seen.detail,
            measured_at: live.and_then(|live| live.seen_at),
            set_by: record.set_by.clone(),
        }
    }
}

impl Why {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Steady => "the load is as it should be",
            Self::Load => "the load needs more",
            Self::Forecast => "the load that is expected needs more",
            Self::Settling => "fewer would do, but not for long enough yet",
            Self::Lull => "fewer have done for long enough",
            Self::Blind => "nothing is measured, so nothing is taken away",
            Self::Outage => "the load fell away while something is wrong: what is there is held",
            Self::Bounded => "as many, or as few, as is allowed",
        }
    }
}

/// The plan that brings the replicas.
fn draft(record: &ScalingRecord, desired: Desired, seen: &LoadSeen) -> Draft {
    let DeploymentRef {
        cluster,
        namespace,
        name,
    } = record.target.clone();
    let number = |milli: Option<u64>| milli.map_or_else(|| "not known".to_owned(), |milli| milli.to_string());
    Draft {
        source: Source::Scaler {
            name: record.set_by.clone(),
        },
        tenant: String::new(),
        reason: format!(
            "{}: load {}, expected {}, {} for each replica (all in thousandths)",
            desired.why.text(),
            number(seen.measured.load_milli),
            number(seen.measured.expected_milli),
            record.rule.spec.target_milli
        ),
        key: String::new(),
        correlation: format!("scaling/{}", record.target).chars().take(128).collect(),
        claim: None,
        steps: vec![Step {
            verb: Verb::Scale {
                replicas: desired.replicas,
            },
            target: Target::Deployment {
                cluster,
                namespace,
                name,
            },
            expected: None,
            safety: None,
            valid_for_ms: VALID_MS,
        }],
        not_after: None,
    }
}
