//! What people and brains ask of plans: to take one in, to agree to it or not, to call it off, to try it again.
//!
//! Decides whether a request is carried out, and why not; what follows for the plan is decided in `machine.rs`.
//!
//! Invariant: a plan that is refused here leaves nothing behind, not even for the plans whose place it would have taken.

use wire::change::Caller;
use wire::ids::PlanId;
use wire::plan::{Draft, Plan, PlanState, Source};

use super::machine::{Event, PlanRecord};
use super::{Plans, Tier, at_cluster, brain_view, record, told};
use crate::cx::Cx;
use crate::effect::Answer;

/// What somebody wants of plans.
#[derive(Debug, Clone)]
pub enum PlanAsk {
    /// Take this one in.
    Submit {
        /// Its id, drawn by the shell: UUIDv7 bytes.
        id: PlanId,
        /// What is sent.
        draft: Box<Draft>,
    },
    /// Agree to it.
    Approve {
        /// Which.
        id: PlanId,
    },
    /// Do not agree to it.
    Refuse {
        /// Which.
        id: PlanId,
        /// Why.
        reason: String,
    },
    /// Call it off; what is done and can be taken back is.
    Cancel {
        /// Which.
        id: PlanId,
        /// Why.
        reason: String,
    },
    /// Do the same again as a new plan. For one that is over.
    Retry {
        /// Which; as it is stored.
        of: Box<PlanRecord>,
        /// Id of the new one.
        id: PlanId,
    },
    /// Set what a brain may do with a verb without a person.
    Grant {
        /// The brain's name.
        brain: String,
        /// The verb's name.
        verb: String,
        /// The tier that it has from now on.
        tier: Tier,
        /// Why.
        reason: String,
    },
}

impl Plans {
    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: PlanAsk, cx: &mut Cx<'_>) {
        let result = match what {
            PlanAsk::Grant {
                brain,
                verb,
                tier,
                reason,
            } => {
                return match self.brains.grant((&brain, &verb), tier, (caller, &reason), cx) {
                    Ok(found) => cx.reply_when_stored(request, Answer::Brain(Box::new(brain_view(&found, cx.now)))),
                    Err(reason) => cx.reply(request, Answer::Rejected { reason }),
                };
            }
            PlanAsk::Submit { id, draft } => self.submit(id, *draft, None, &caller, cx),
            PlanAsk::Retry { of, id } => self.retry(&of, id, &caller, cx),
            PlanAsk::Approve { id } => {
                let who = caller.name.clone();
                self.asked(id, Event::Approved { who }, &caller, cx)
            }
            PlanAsk::Refuse { id, reason } => {
                let who = caller.name.clone();
                self.asked(id, Event::Refused { who, reason }, &caller, cx)
            }
            PlanAsk::Cancel { id, reason } => {
                let who = caller.name.clone();
                self.asked(id, Event::Cancel { who, reason }, &caller, cx)
            }
        };
        match result {
            Ok(record) => cx.reply_when_stored(request, Answer::Plan(Box::new(record))),
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    /// Scaling wants a deployment to have another number of replicas, or its drift is to be mended. While another plan of it is under way,
    /// nothing comes of that.
    pub(crate) fn scale(&mut self, id: PlanId, draft: Draft, cx: &mut Cx<'_>) {
        let mut targets = draft.steps.iter().map(|step| record::target_key(&step.target));
        if targets.any(|key| self.documents.holder(&key).is_some()) {
            return;
        }
        if let Err(problem) = self.submit(id, draft, None, &Caller::hub(), cx) {
            cx.record(told::refused(id, problem));
        }
    }

    fn submit(
        &mut self,
        id: PlanId,
        mut draft: Draft,
        retry_of: Option<PlanId>,
        caller: &Caller,
        cx: &mut Cx<'_>,
    ) -> Result<PlanRecord, String> {
        if cx.is_crowded() {
            return Err("too much waits for the store: send it again in some seconds".to_owned());
        }
        // What was sent before under this key was placed then.
        if !self.is_known(&draft) {
            self.place_steps(&mut draft, cx)?;
        }
        let plan = Plan::new(id, draft, cx.now.wall).map_err(|problem| problem.to_string())?;
        if let Some(known) = record::sender_key(&plan).and_then(|key| self.documents.holder(&key)) {
            let known = known.to_owned();
            return match self.documents.get(&known) {
                Some(record) => Ok(record.clone()),
                None => Err(format!(
                    "key: `{}` was plan {known}, which is over: give another key",
                    plan.key
                )),
            };
        }
        if let Some(known) = record::prediction_key(&plan).and_then(|key| self.documents.holder(&key)) {
            return Err(format!(
                "prediction: `{}` belongs to plan {known}: each prediction has an id of its own",
                plan.claim.as_ref().map_or("", |claim| claim.prediction.as_str())
            ));
        }
        for (index, step) in plan.steps.iter().enumerate() {
            reachable_target(step, cx).map_err(|problem| format!("steps[{index}].{problem}"))?;
        }
        self.make_room(&plan, cx)?;
        let record = PlanRecord::new(plan, retry_of, cx.now);
        let change = told::submitted(&record, caller);
        self.write(record.clone(), Some(change), cx)?;
        self.brains.predicted(&record.plan, cx);
        Ok(record)
    }

    /// Whether its sender has sent it before under its key.
    fn is_known(&self, draft: &Draft) -> bool {
        let key = record::key_of(&draft.source, &draft.key);
        key.is_some_and(|key| self.documents.holder(&key).is_some())
    }

    /// Earlier plans of the same targets that did nothing yet give way; one that did is finished first.
    fn make_room(&mut self, plan: &Plan, cx: &mut Cx<'_>) -> Result<(), String> {
        let mut earlier: Vec<PlanId> = Vec::new();
        for target in plan.targets() {
            let Some(holder) = self.documents.holder(&record::target_key(target)) else {
                continue;
            };
            let Some(found) = self.documents.get(holder).filter(|found| found.may_be_superseded()) else {
                return Err(format!(
                    "target: {target} has plan {holder} under way: wait for it, or cancel it with `sentinel plan cancel {holder}`"
                ));
            };
            earlier.push(found.plan.id);
        }
        earlier.sort_unstable();
        earlier.dedup();
        for id in earlier {
            self.tell(id, Event::Superseded { by: plan.id }, &Caller::hub(), cx);
        }
        Ok(())
    }

    fn retry(&mut self, of: &PlanRecord, id: PlanId, caller: &Caller, cx: &mut Cx<'_>) -> Result<PlanRecord, String> {
        if !of.state.is_final() {
            return Err(format!(
                "plan {} is {}: only one that is over is tried again",
                of.plan.id,
                of.state.name()
            ));
        }
        let plan = &of.plan;
        let draft = Draft {
            source: Source::Person {
                name: caller.name.clone(),
            },
            tenant: plan.tenant.clone(),
            reason: plan.reason.clone(),
            key: String::new(),
            correlation: plan.correlation.clone(),
            claim: None,
            steps: plan.steps.clone(),
            not_after: None,
        };
        self.submit(id, draft, Some(plan.id), caller, cx)
    }

    /// A person wants something of a live plan.
    fn asked(&mut self, id: PlanId, event: Event, caller: &Caller, cx: &mut Cx<'_>) -> Result<PlanRecord, String> {
        let Some(before) = self.documents.get(&id.to_string()) else {
            return Err(format!(
                "there is no live plan {id}: `sentinel plan list` shows them, and how others ended"
            ));
        };
        let (state, approvals) = (before.state, before.approved_by.len());
        if !self.tell(id, event.clone(), caller, cx) {
            return Err(match event {
                Event::Approved { .. } if state != PlanState::AwaitingApproval => {
                    format!("plan {id} is {}: it waits for nobody's approval", state.name())
                }
                Event::Approved { .. } => {
                    format!(
                        "{} has sent plan {id} or approved it already ({approvals} so far): another person must",
                        caller.name
                    )
                }
                _ => format!("plan {id} is {}: that changes nothing any more", state.name()),
            });
        }
        let found = self.documents.get(&id.to_string()).cloned();
        found.ok_or_else(|| format!("plan {id} is over"))
    }
}

/// A step that this hub can carry out: a cluster does it, or the node is known and its agents do that.
fn reachable_target(step: &wire::plan::Step, cx: &Cx<'_>) -> Result<(), String> {
    if at_cluster::is_of_clusters(step) {
        return at_cluster::check(step, cx);
    }
    let Some(node) = step.target.node() else {
        return Err(format!("verb: no plan does `{}` to {}", step.verb.name(), step.target));
    };
    if !cx.knows(node) {
        return Err(format!(
            "target.node: there is no node `{node}`: `sentinel get nodes` lists them"
        ));
    }
    if step.verb.action().is_none() {
        return Err(format!(
            "verb: no agent does `{}`: that is for clusters",
            step.verb.name()
        ));
    }
    Ok(())
}
