//! Rollouts that are under way: looked at every other second, moved by what is observed, and recorded before anything is changed.
//!
//! Invariant: a change reaches a cluster only after the entry that explains it is stored. The same changes once more, because the
//! cluster has not followed yet, are explained by that same entry.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::change::{Caller, ChangeRecord};
use wire::kube::{DeploymentRef, RolloutView};

use super::commands::Command;
use super::facts::{Change, Facts, Look, Measure};
use super::machine::Rollout;
use super::record::RolloutRecord;
use super::report;
use super::spec::RolloutSpec;
use super::verdict::Measured;
use crate::clusters::KubeEffect;
use crate::cx::{Cx, Then};
use crate::documents::{Documents, StoredDocument, Unreadable};
use crate::effect::{Answer, Effect};
use crate::timers::Timer;

/// How often a rollout is looked at: pods take seconds to become ready.
const LOOK: Duration = Duration::from_secs(2);
/// An observation that has not come by then is asked for again.
const OVERDUE: Duration = Duration::from_secs(60);

/// What somebody wants of rollouts.
#[derive(Debug, Clone)]
pub enum RolloutRequest {
    /// Begin one.
    Start {
        /// Its id, drawn by the shell: a UUIDv7.
        id: String,
        /// Of which deployment.
        target: DeploymentRef,
        /// What.
        spec: Box<RolloutSpec>,
        /// The parts as the shell has just observed them.
        facts: Box<Facts>,
        /// Why.
        reason: String,
    },
    /// Tell one something.
    Command {
        /// Which.
        id: String,
        /// What.
        command: Command,
        /// Why.
        reason: String,
    },
}

/// All rollouts that are not finished.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    rollouts: Documents<RolloutRecord>,
    /// Those whose observation is on its way, with when it is overdue.
    observed: BTreeSet<String>,
    overdue: wire::time::Mono,
    ticking: bool,
}

impl Rollouts {
    pub(crate) fn recovered(documents: Vec<StoredDocument>, keys: Vec<(String, String)>) -> Result<Self, Unreadable> {
        Ok(Self {
            rollouts: Documents::recovered(documents, keys)?,
            ..Self::default()
        })
    }

    /// Carries on after a start.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) {
        self.tick(cx);
    }

    /// Every stored rollout that is not finished.
    pub(crate) fn views(&self) -> impl Iterator<Item = RolloutView> {
        self.rollouts.iter_stored().map(RolloutRecord::view)
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.rollouts.settle(id, revision, is_stored);
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: RolloutRequest, cx: &mut Cx<'_>) {
        if cx.is_crowded() {
            let reason = "the hub has too much to store; ask again".to_owned();
            return cx.reply(request, Answer::Unavailable { reason });
        }
        let result = match what {
            RolloutRequest::Start {
                id,
                target,
                spec,
                facts,
                reason,
            } => self
                .begin(&caller, (id, target, *spec), &facts, cx)
                .map(|record| (record, "rollout.start", reason)),
            RolloutRequest::Command { id, command, reason } => self
                .command(&id, &command, cx)
                .map(|record| (record, verb(&command), reason)),
        };
        match result {
            Ok((record, verb, reason)) => {
                let entry = ChangeRecord::new(caller, verb, format!("rollout/{}", record.id)).because(reason);
                let entry = entry
                    .with("deployment", &record.target)
                    .with("image", &record.rollout.spec.image);
                cx.record(
                    entry
                        .with("phase", record.rollout.phase().word())
                        .with("why", record.rollout.why()),
                );
                let view = record.view();
                match self.rollouts.put(record, 0) {
                    Ok(put) => {
                        cx.put(put);
                        cx.reply_when_stored(request, Answer::Rollout(Box::new(view)));
                        self.tick(cx);
                    }
                    // Cannot be: `begin` and `command` have asked. A refusal is still an answer.
                    Err(error) => cx.reply(
                        request,
                        Answer::Rejected {
                            reason: error.to_string(),
                        },
                    ),
                }
            }
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    /// The parts of a rollout as they are now, and what was measured.
    pub(crate) fn observed(&mut self, id: &str, facts: &Facts, measured: Option<Measured>, cx: &mut Cx<'_>) {
        self.observed.remove(id);
        let Some(before) = self.rollouts.get(id).filter(|record| !record.rollout.phase().is_end()) else {
            return;
        };
        let mut record = before.clone();
        let now_ms = cx.now.wall.0;
        let series = report::Groups::of(measured.as_ref());
        let check = measured.and_then(|measured| record.rollout.measured(measured, now_ms));
        if let Some(found) = check.as_ref().and_then(|check| check.report.as_ref()) {
            record.analysis = Some(report::view(found, &series, &record.rollout.spec.analysis, cx.now.wall));
        }
        let advance = record.rollout.advance(facts, now_ms);
        let moved: Vec<_> = check
            .iter()
            .filter_map(|check| check.moved.clone())
            .chain(advance.moved)
            .collect();
        let is_new = !advance.changes.is_empty() && advance.changes != record.asked;
        if moved.is_empty() && check.is_none() && !is_new {
            if !advance.changes.is_empty() {
                self.carry(id, advance.changes, cx);
            }
            return;
        }
        record.ready = facts.ready();
        record.asked.clone_from(&advance.changes);
        let target = format!("rollout/{id}");
        for moved in &moved {
            let entry = ChangeRecord::new(Caller::hub(), "rollout.move", target.clone()).because(moved.why.clone());
            let entry = entry.with("from", moved.from.word()).with("to", moved.to.word());
            cx.record(
                entry
                    .with("step", record.rollout.step() + 1)
                    .with("ready", facts.ready()),
            );
        }
        if let Some(check) = check.filter(|check| check.moved.is_none()) {
            cx.record(ChangeRecord::new(Caller::hub(), "rollout.check", target.clone()).because(check.why));
        }
        if is_new {
            let entry = ChangeRecord::new(Caller::hub(), "rollout.change", target);
            let entry = entry.because(record.rollout.why()).with("ready", facts.ready());
            cx.record(
                advance
                    .changes
                    .iter()
                    .fold(entry, |entry, change| entry.with("change", text(change))),
            );
        }
        let (deployment, route) = (record.target.clone(), record.rollout.spec.route.clone());
        // Its own revision: nothing is refused that has been live before, but a record may have grown too long.
        match self.rollouts.put(record, 0) {
            Ok(put) => cx.put(put),
            Err(_) => return,
        }
        if !advance.changes.is_empty() {
            let (rollout, changes) = (id.to_owned(), advance.changes);
            cx.then(Then::Kube(Box::new(KubeEffect::Carry {
                rollout,
                target: deployment,
                route,
                changes,
            })));
        }
    }

    /// Time to look at them.
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) {
        self.ticking = false;
        if cx.now.mono >= self.overdue {
            self.observed.clear();
            self.overdue = cx.now.mono + OVERDUE;
        }
        let now_ms = cx.now.wall.0;
        for record in self
            .rollouts
            .iter_stored()
            .filter(|record| !record.rollout.phase().is_end())
        {
            if self.observed.insert(record.id.clone()) {
                let measure = record.rollout.wants_measurement(now_ms).map(|since_ms| Measure {
                    since_ms,
                    until_ms: now_ms,
                    analysis: record.rollout.spec.analysis.clone(),
                });
                let route = record.rollout.spec.route.clone();
                cx.effect(Effect::Kube(KubeEffect::Observe {
                    rollout: record.id.clone(),
                    target: record.target.clone(),
                    look: Box::new(Look { route, measure }),
                }));
            }
        }
        self.tick(cx);
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        if !self.ticking && !self.rollouts.is_empty() {
            self.ticking = true;
            cx.at(cx.now.mono + LOOK, Timer::Rollouts);
        }
    }

    /// Changes that a stored entry explains already.
    fn carry(&self, id: &str, changes: Vec<Change>, cx: &mut Cx<'_>) {
        if let Some(stored) = self.rollouts.stored(id).filter(|stored| stored.asked == changes) {
            let (rollout, target) = (id.to_owned(), stored.target.clone());
            let route = stored.rollout.spec.route.clone();
            cx.effect(Effect::Kube(KubeEffect::Carry {
                rollout,
                target,
                route,
                changes,
            }));
        }
    }

    fn begin(
        &mut self,
        caller: &Caller,
        (id, target, spec): (String, DeploymentRef, RolloutSpec),
        facts: &Facts,
        cx: &Cx<'_>,
    ) -> Result<RolloutRecord, String> {
        target.check().map_err(|problem| problem.to_string())?;
        if let Some(other) = self.rollouts.holder(&format!("target:{target}")) {
            return Err(format!(
                "rollout {other} of {target} is under way: wait for it, or abort it"
            ));
        }
        let rollout = Rollout::start(spec, facts, cx.now.wall.0).map_err(|error| error.to_string())?;
        Ok(RolloutRecord {
            id,
            target,
            rollout,
            asked: Vec::new(),
            ready: facts.ready(),
            analysis: None,
            started_by: caller.name.clone(),
            started_at: cx.now.wall,
        })
    }

    fn command(&mut self, id: &str, command: &Command, cx: &Cx<'_>) -> Result<RolloutRecord, String> {
        let record = self.rollouts.get(id);
        let mut record = record
            .cloned()
            .ok_or_else(|| format!("rollout `{id}` is not under way: `sentinel get rollouts` lists those that are"))?;
        record
            .rollout
            .command(command, cx.now.wall.0)
            .map_err(|refused| refused.to_string())?;
        Ok(record)
    }
}

fn verb(command: &Command) -> &'static str {
    match command {
        Command::Promote | Command::PromoteFully => "rollout.promote",
        Command::Open { .. } => "rollout.open",
        Command::Pause => "rollout.pause",
        Command::Resume => "rollout.resume",
        Command::Abort { .. } => "rollout.abort",
        Command::RetryRollback => "rollout.retry",
    }
}

fn text(change: &Change) -> String {
    match change {
        Change::Ensure { role, image, replicas } => format!("{} with {replicas} replicas of {image}", role.word()),
        Change::Scale { role, replicas } => format!("{} to {replicas} replicas", role.word()),
        Change::SetImage { image } => format!("image {image}"),
        Change::Weight { percent } => format!("{percent} % of the traffic to the canary"),
        Change::Remove { role } => format!("{} is removed", role.word()),
    }
}
