//! People and brains send plans, agree to them or not, call them off and try them again, while everything else goes wrong.
//!
//! A plan has one to four steps of the verbs that agents carry out, on one or several nodes, with or without a claim, an effect, an end
//! of its own and a limit. What a sender does not hear back it sends again under the same key. The chance of all this is its own: what
//! else a seed plays does not depend on it.
//!
//! Read next: `plan_rules.rs` (what must hold).

use std::collections::BTreeMap;

use hub_core::plans::{PlanAsk, PlanRecord, Tier, brain_caller};
use hub_core::{Answer, Input, Put, Request};
use wire::change::{Caller, Via};
use wire::ids::PlanId;
use wire::plan::{Claim, Draft, ExpectedEffect, PlanState, Safety, Source, Step, StepState, Target, Verb};
use wire::reading::{DeviceId, Quantity, Series};
use wire::time::Wall;

use crate::plan_rules::{PlanRules, is_plan, plan_id};
use crate::random::Random;
use crate::swarm::Fault;
use crate::world::{Event, World};

/// Requests of this kind have numbers from here on.
const FIRST_REQUEST: u64 = 1 << 40;
/// Who agrees to plans.
const PEOPLE: [&str; 3] = ["ana", "bo", "cy"];
const BRAIN: &str = "seer";

/// What plans came to, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanCounts(BTreeMap<String, u64>);

impl PlanCounts {
    fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Everything that happened, with how often.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }

    /// What must happen for the worlds to mean something, and never did: a state that no plan or step had, a live state in which no hub
    /// died, something that was never asked.
    pub fn missing(&self) -> Vec<String> {
        // A hub takes no plan in that it has not checked.
        let states = PlanState::ALL.into_iter().filter(|state| *state != PlanState::Received);
        let entered = states.clone().map(plan_is);
        let died = states.filter(|state| !state.is_final()).map(hub_died);
        let steps = STEP_STATES.into_iter().map(step_is);
        let asked = ASKED.into_iter().map(str::to_owned);
        let all = entered.chain(died).chain(steps).chain(asked);
        all.filter(|what| !self.0.contains_key(what)).collect()
    }
}

/// What stands in a stored record: a step is asked for, and is `Acting`, without one more row.
const STEP_STATES: [StepState; 9] = [
    StepState::Intending,
    StepState::Probing,
    StepState::Verifying,
    StepState::Done,
    StepState::Failed,
    StepState::UndoIntending,
    StepState::UndoProbing,
    StepState::Undone,
    StepState::Stuck,
];
/// States that a plan leaves as soon as they are stored.
const PASSING: [PlanState; 3] = [PlanState::Validated, PlanState::Decided, PlanState::Leased];
/// One commit in so many during which a plan passes ends with the hub's death.
const PASSING_DIES_EVERY: u64 = 29;
const SUBMIT: &str = "plan asked: submit";
const AGAIN: &str = "plan asked: the same key again";
const APPROVE: &str = "plan asked: approve";
const REFUSE: &str = "plan asked: refuse";
const CANCEL: &str = "plan asked: cancel";
const RETRY: &str = "plan asked: retry";
const GRANT: &str = "plan asked: grant";
const KNOWN: &str = "plan answered: the one with the same key";
const ASKED: [&str; 8] = [SUBMIT, AGAIN, APPROVE, REFUSE, CANCEL, RETRY, GRANT, KNOWN];

fn plan_is(state: PlanState) -> String {
    format!("plan is {}", state.name())
}

fn step_is(state: StepState) -> String {
    format!("step is {state:?}").to_lowercase()
}

fn hub_died(state: PlanState) -> String {
    format!("hub died while a plan was {}", state.name())
}

/// What a request that waits for its answer was.
#[derive(Debug)]
enum Asked {
    /// A plan was sent, under this id.
    Sent(PlanId, Box<Draft>),
    /// Something else.
    Other,
}

/// Those who send plans, and what they know.
#[derive(Debug)]
pub(crate) struct Planning {
    random: Random,
    world: u64,
    numbers: u64,
    requests: u64,
    asked: BTreeMap<u64, Asked>,
    /// What was sent under a key, the last ones.
    keyed: Vec<Draft>,
    pub(crate) rules: PlanRules,
    pub(crate) counts: PlanCounts,
}

impl Planning {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0x91A5),
            world: seed,
            numbers: 0,
            requests: FIRST_REQUEST,
            asked: BTreeMap::new(),
            keyed: Vec::new(),
            rules: PlanRules::default(),
            counts: PlanCounts::default(),
        }
    }

    fn next_id(&mut self) -> PlanId {
        self.numbers += 1;
        plan_id(self.world, self.numbers)
    }

    /// A plan in one of these states, any of them.
    fn any(&mut self, fits: impl Fn(&PlanRecord) -> bool) -> Option<PlanRecord> {
        let fitting: Vec<&PlanRecord> = self.rules.stored().filter(|record| fits(record)).collect();
        self.random.pick(&fitting).map(|record| (*record).clone())
    }

    fn person(&mut self) -> &'static str {
        self.random.pick(&PEOPLE).copied().unwrap_or("ana")
    }

    fn source(&mut self) -> Source {
        if self.random.chance(500) {
            let name = self.person().to_owned();
            return Source::Person { name };
        }
        let model = if self.random.chance(950) { "1" } else { "2" };
        Source::Brain {
            name: BRAIN.to_owned(),
            model: model.to_owned(),
        }
    }

    fn draft(&mut self, world: &Fleet, now: Wall) -> Draft {
        let source = self.source();
        let number = self.numbers + 1;
        let claim = source.is_brain().then(|| Claim {
            // Some brains use an id twice.
            prediction: format!("p{}", if self.random.chance(50) { 1 } else { number }),
            class: "limit".to_owned(),
            confidence_bp: u16::try_from(self.random.between(5_000, 9_900)).unwrap_or(5_000),
            horizon_ms: 60_000,
        });
        let steps = 1 + self.random.below(2) * self.random.below(4);
        let key = if self.random.chance(600) {
            format!("k{number}")
        } else {
            String::new()
        };
        let ends_early = self.random.chance(300);
        let ends = now.0 + i64::try_from(self.random.between(1_000, 120_000)).unwrap_or(60_000);
        Draft {
            source,
            tenant: String::new(),
            reason: "sim".to_owned(),
            key,
            correlation: String::new(),
            claim,
            steps: (0..steps).map(|_| self.step(world)).collect(),
            not_after: ends_early.then_some(Wall(ends)),
        }
    }

    fn step(&mut self, world: &Fleet) -> Step {
        let (node, workload) = self.random.pick(world).cloned().expect("a world has nodes");
        let gpu = DeviceId::gpu(u32::from(self.random.chance(300)));
        let (verb, device, quantity) = match self.random.below(10) {
            0..=3 => {
                let watts = self.random.between(90, 330);
                let milliwatts = u32::try_from(watts * 1_000).unwrap_or(u32::MAX);
                (Verb::PowerCap { milliwatts }, gpu, Some(Quantity::GpuPower))
            }
            4 => (Verb::ReleasePowerCap, gpu, None),
            5 | 6 => (Verb::Restart, workload, Some(Quantity::WorkloadMemory)),
            7 => (Verb::Throttle { share_bp: 2_000 }, workload, None),
            8 => (Verb::Unthrottle, workload, None),
            _ => (
                Verb::Notify {
                    message: "sim".to_owned(),
                },
                gpu,
                None,
            ),
        };
        let expects = quantity.filter(|_| self.random.chance(500));
        let expected = expects.map(|quantity| ExpectedEffect {
            metric: Series::new(device.clone(), quantity),
            delta: -i64::try_from(self.random.between(1, 40_000)).unwrap_or(1),
            within_ms: self.random.between(1_000, 30_000),
        });
        let safety = self.random.chance(100).then_some(Safety {
            limit: 1,
            window_ms: 30_000,
        });
        Step {
            verb,
            target: Target::Device { node, device },
            expected,
            safety,
            valid_for_ms: self.random.between(60_000, 180_000),
        }
    }
}

/// Each node, with its workload.
type Fleet = [(wire::AgentId, DeviceId)];

impl World {
    /// Somebody wants something of plans.
    pub(crate) fn plan(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let next = 1 + self.planning.random.below(2 * self.swarm.plan_every_ms);
        self.after(next, Event::Plan);
        match self.planning.random.below(20) {
            0..=8 => self.send_new_plan(),
            9 | 10 => self.send_plan_again(),
            11..=13 => self.say_to_plan(APPROVE, |record| record.state == PlanState::AwaitingApproval),
            14 => self.say_to_plan(REFUSE, |record| {
                matches!(record.state, PlanState::AwaitingApproval | PlanState::Held)
            }),
            15..=17 => self.say_to_plan(CANCEL, |record| !record.state.is_final()),
            18 => self.retry_plan(),
            _ => self.grant_tier(),
        }
    }

    fn send_new_plan(&mut self) {
        let fleet: Vec<_> = self
            .nodes
            .iter()
            .map(|node| (node.id.clone(), node.workload.id().clone()))
            .collect();
        let now = self.hub_clock.at(self.now_ms).wall;
        let draft = self.planning.draft(&fleet, now);
        if !draft.key.is_empty() {
            self.planning.keyed.push(draft.clone());
        }
        self.planning.counts.add(SUBMIT);
        self.send_plan(draft);
    }

    fn send_plan_again(&mut self) {
        let planning = &mut self.planning;
        let last = planning.keyed.len().saturating_sub(8);
        let Some(draft) = planning.random.pick(&planning.keyed[last..]).cloned() else {
            return;
        };
        planning.counts.add(AGAIN);
        self.send_plan(draft);
    }

    fn send_plan(&mut self, draft: Draft) {
        let id = self.planning.next_id();
        let caller = match &draft.source {
            Source::Person { name } | Source::Scaler { name } | Source::Mender { name } => Caller::new(name, Via::Api),
            Source::Brain { name, .. } => brain_caller(name),
        };
        let draft = Box::new(draft);
        let asked = Asked::Sent(id, draft.clone());
        self.ask_plan(asked, caller, PlanAsk::Submit { id, draft });
    }

    fn say_to_plan(&mut self, what: &'static str, fits: fn(&PlanRecord) -> bool) {
        let Some(record) = self.planning.any(fits) else {
            return;
        };
        self.planning.counts.add(what);
        let (id, reason) = (record.plan.id, "sim".to_owned());
        let ask = match what {
            APPROVE => PlanAsk::Approve { id },
            REFUSE => PlanAsk::Refuse { id, reason },
            _ => PlanAsk::Cancel { id, reason },
        };
        let caller = Caller::new(self.planning.person(), Via::Api);
        self.ask_plan(Asked::Other, caller, ask);
    }

    fn retry_plan(&mut self) {
        let Some(of) = self.planning.any(|record| record.state.is_final()) else {
            return;
        };
        self.planning.counts.add(RETRY);
        let (of, id) = (Box::new(of), self.planning.next_id());
        let caller = Caller::new(self.planning.person(), Via::Api);
        self.ask_plan(Asked::Other, caller, PlanAsk::Retry { of, id });
    }

    fn grant_tier(&mut self) {
        self.planning.counts.add(GRANT);
        let random = &mut self.planning.random;
        let verb = random
            .pick(&["power_cap", "restart", "throttle"])
            .copied()
            .unwrap_or("restart");
        let tier = random
            .pick(&[Tier::T0, Tier::T2, Tier::T3])
            .copied()
            .unwrap_or(Tier::T0);
        let ask = PlanAsk::Grant {
            brain: BRAIN.to_owned(),
            verb: verb.to_owned(),
            tier,
            reason: "sim".to_owned(),
        };
        self.ask_plan(Asked::Other, Caller::new("ana", Via::Api), ask);
    }

    fn ask_plan(&mut self, asked: Asked, caller: Caller, what: PlanAsk) {
        if self.hub.is_none() {
            return;
        }
        self.planning.requests += 1;
        let request = self.planning.requests;
        self.planning.asked.insert(request, asked);
        let what = Request::Plan { caller, what };
        self.tell_hub(Input::Request { request, what });
    }

    /// The hub answers somebody.
    pub(crate) fn replied(&mut self, request: u64, answer: &Answer) {
        self.replies += 1;
        if request <= FIRST_REQUEST {
            return;
        }
        let asked = self.planning.asked.remove(&request);
        let wrong = match (&asked, answer) {
            (None, _) => Err(format!("P7: request {request} is answered twice")),
            (Some(Asked::Sent(id, draft)), Answer::Plan(told)) => {
                if told.plan.id != *id {
                    self.planning.counts.add(KNOWN);
                }
                self.planning
                    .rules
                    .on_told(told, Some((*id, &draft.source, &draft.key)))
            }
            (Some(Asked::Other), Answer::Plan(told)) => self.planning.rules.on_told(told, None),
            (Some(Asked::Sent(id, _)), Answer::Rejected { .. } | Answer::Unavailable { .. }) => {
                match self.planning.rules.get(*id) {
                    None => Ok(()),
                    Some(_) => Err(format!("P7: plan {id} is refused and stored")),
                }
            }
            (Some(_), _) => Ok(()),
        };
        self.invariants
            .require(wrong.is_ok(), || wrong.err().unwrap_or_default());
    }

    /// A document's row is committed.
    pub(crate) fn on_document(&mut self, put: &Put) {
        if !is_plan(put) {
            return;
        }
        if self.watched.is_some() {
            eprintln!(
                "{:>9} ms  plan {} revision {} {:?}",
                self.now_ms, put.id, put.revision, put.indexes
            );
        }
        let found = self.planning.rules.on_put(put);
        match found {
            Ok((entered, steps)) => {
                let counts = &mut self.planning.counts;
                entered.into_iter().for_each(|state| counts.add(plan_is(state)));
                steps
                    .into_iter()
                    .filter(|state| *state != StepState::Waiting)
                    .for_each(|state| counts.add(step_is(state)));
                self.invariants.require(true, String::new);
            }
            Err(wrong) => self.invariants.require(false, || wrong),
        }
    }

    /// The hub's process is gone, and with it whoever waited for an answer.
    pub(crate) fn plans_die(&mut self) {
        self.planning.asked.clear();
        let states: Vec<PlanState> = self.planning.rules.live().map(|record| record.state).collect();
        states
            .into_iter()
            .for_each(|state| self.planning.counts.add(hub_died(state)));
    }

    /// Whether the hub dies now, while a plan is in a state that it leaves with the answer to this very commit: hardly any other death
    /// would meet it there.
    pub(crate) fn is_plan_passing(&self) -> bool {
        self.swarm.has(Fault::HubCrash)
            && self.healed_at.is_none()
            && self.now_ms.is_multiple_of(PASSING_DIES_EVERY)
            && self.planning.rules.live().any(|record| PASSING.contains(&record.state))
    }

    /// What plans still lack for the world to be at its end.
    pub(crate) fn plans_apart(&mut self) -> Option<String> {
        if self.hub.is_some() {
            let overdue = self.planning.rules.overdue(self.hub_clock.at(self.now_ms).mono);
            self.invariants
                .require(overdue.is_none(), || overdue.unwrap_or_default());
        }
        let live = self.planning.rules.live().next()?;
        Some(format!(
            "P6: plan {} is {}: {}",
            live.plan.id,
            live.state.name(),
            live.detail
        ))
    }

    /// P5 and P7 at the end.
    pub(crate) fn account_plans(&self) -> Result<(), String> {
        let ended = self.planning.rules.account(&self.store)?;
        let now = self.hub_clock.at(self.now_ms);
        let views = self.hub.as_ref().map(|hub| hub.brains(now)).unwrap_or_default();
        for view in views {
            let ended = ended
                .get(&(view.brain.clone(), verb_name(&view.verb)))
                .copied()
                .unwrap_or(0);
            if view.predictions != ended {
                return Err(format!(
                    "P5: {} predictions of {} with {} count, {ended} of its plans have ended",
                    view.predictions, view.brain, view.verb
                ));
            }
        }
        match self.planning.asked.first_key_value() {
            Some((request, asked)) => Err(format!("P7: request {request} has no answer: {asked:?}")),
            None => Ok(()),
        }
    }
}

fn verb_name(name: &str) -> &'static str {
    Verb::NAMES.iter().find(|known| **known == name).copied().unwrap_or("")
}
