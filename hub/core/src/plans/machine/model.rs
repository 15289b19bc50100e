//! A walk through every reachable state of one plan of two steps, with every verdict, answer, deadline, failed write and crash.
//!
//! Revisions are reduced to their order and time to "before the deadline" and "at the deadline", as in the model of one step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use policy_execution::Probe;
use wire::plan::{Draft, DraftStep, Plan, Source, StepState, read_step};
use wire::time::Wall;

use super::*;

const NOW: Now = Now {
    mono: Mono(1_000_000),
    wall: Wall(1_795_521_667_250),
};

#[derive(Debug, Clone)]
struct State {
    memory: PlanRecord,
    durable: PlanRecord,
    pending: VecDeque<PlanRecord>,
    wants: Vec<Want>,
    /// How often each step was asked for.
    fired: Vec<u8>,
}

type Key = String;

fn cap() -> DraftStep {
    let text = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        owned.collect::<BTreeMap<_, _>>()
    };
    DraftStep {
        verb: "power_cap".to_owned(),
        target: text(&[("node", "edge-03"), ("device", "gpu0")]),
        params: text(&[("watts", "280")]),
        metric: "gpu.temperature".to_owned(),
        delta: -8_000,
        within_ms: 60_000,
        ..DraftStep::default()
    }
}

fn restart() -> DraftStep {
    let target = [("node", "edge-03"), ("workload", "train")];
    DraftStep {
        verb: "restart".to_owned(),
        target: target.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..DraftStep::default()
    }
}

pub(super) fn plan(steps: &[DraftStep]) -> Plan {
    let draft = Draft {
        source: Source::Brain {
            name: "embedded".to_owned(),
            model: "1".to_owned(),
        },
        tenant: String::new(),
        reason: "gpu0 will be too hot".to_owned(),
        key: String::new(),
        correlation: String::new(),
        claim: None,
        steps: steps.iter().map(|step| read_step(step).expect("a step")).collect(),
        not_after: None,
    };
    Plan::new(PlanId([7; 16]), draft, NOW.wall).expect("a plan")
}

pub(super) fn two_steps(first_is_cap: bool) -> Plan {
    if first_is_cap {
        plan(&[cap(), restart()])
    } else {
        plan(&[restart(), cap()])
    }
}

fn judged(verdict: Verdict, roll_back: bool) -> Judged {
    Judged {
        verdict,
        rule: "r".to_owned(),
        because: "said".to_owned(),
        until: None,
        approvals: 1,
        roll_back,
    }
}

impl State {
    fn new(plan: Plan) -> Self {
        let memory = PlanRecord::new(plan, None, NOW);
        Self {
            fired: vec![0; memory.steps.len()],
            durable: memory.clone(),
            pending: VecDeque::from([memory.clone()]),
            memory,
            wants: Vec::new(),
        }
    }

    fn react(&mut self, before: PlanState, reaction: Reaction) {
        let after = self.memory.state;
        // Two in one turn at most: over `Verifying` where nothing is to be seen.
        let over = before.successors().iter().any(|between| between.may_become(after));
        assert!(
            before == after || before.may_become(after) || over,
            "{before:?} -> {after:?}"
        );
        assert!(
            before == after || reaction.entered == Some(after),
            "{before:?} -> {after:?} without an entry"
        );
        if reaction.store {
            self.pending.push_back(self.memory.clone());
        }
        for want in reaction.wants {
            if let Want::Task(index, Task::Act { .. }) = want {
                let step = &self.durable.steps[index];
                assert_eq!(
                    step.execution.state(),
                    StepState::Intending,
                    "asked for before its intent is durable"
                );
                assert_eq!(self.durable.state, PlanState::Executing);
                self.fired[index] += 1;
                assert_eq!(self.fired[index], 1, "step {index} is asked for twice");
            }
            if !self.wants.contains(&want) {
                self.wants.push(want);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        let now = match event {
            Event::Due => Now {
                mono: self.memory.deadline.unwrap_or(NOW.mono),
                ..NOW
            },
            _ => NOW,
        };
        let before = self.memory.state;
        let reaction = self.memory.handle(event, now);
        self.react(before, reaction);
    }

    fn store(&mut self) {
        let Some(record) = self.pending.pop_front() else {
            return;
        };
        let revision = record.revision;
        self.durable = record;
        let before = self.memory.state;
        let reaction = self.memory.stored(revision, NOW);
        self.react(before, reaction);
    }

    fn back_to_store(&mut self) {
        self.pending.clear();
        self.wants.clear();
        self.memory = self.durable.clone();
        self.tell(Event::Recovered);
    }

    fn successors(&self) -> Vec<State> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut State)| {
            let mut state = self.clone();
            change(&mut state);
            all.push(state);
        };
        let who = || "ann".to_owned();
        let reason = || "no".to_owned();
        with(&|state| state.tell(Event::Due));
        with(&|state| state.tell(Event::Approved { who: who() }));
        with(&|state| {
            state.tell(Event::Refused {
                who: who(),
                reason: reason(),
            })
        });
        with(&|state| {
            state.tell(Event::Cancel {
                who: who(),
                reason: reason(),
            })
        });
        with(&|state| state.tell(Event::Superseded { by: PlanId([8; 16]) }));
        // What else happens on the target depends on no step: a plan of one shows everything.
        if self.fired.len() == 1 {
            with(&|state| {
                let by = "edge-03.1.7".parse().expect("an id");
                state.tell(Event::Interfered { by });
            });
        }
        with(&|state| state.back_to_store());
        if !self.pending.is_empty() {
            with(&|state| state.store());
            with(&|state| {
                state.durable = state.pending.pop_front().expect("looked at above");
                state.back_to_store();
            });
        }
        if self.memory.state == PlanState::Held {
            for (verdict, roll_back) in [(Verdict::Allow, false), (Verdict::Hold, true), (Verdict::Deny, false)] {
                with(&move |state| state.tell(Event::Judged(judged(verdict, roll_back))));
            }
        }
        for want in &self.wants {
            for event in answers(want) {
                let want = want.clone();
                with(&move |state| {
                    state.wants.retain(|other| *other != want);
                    state.tell(event.clone());
                });
            }
        }
        all
    }

    fn check(&self) {
        let memory = &self.memory;
        let states: Vec<StepState> = memory.steps.iter().map(|step| step.execution.state()).collect();
        match memory.state {
            PlanState::Completed => assert!(states.iter().all(|state| *state == StepState::Done), "{states:?}"),
            PlanState::Superseded => assert!(states.iter().all(|state| *state == StepState::Waiting), "{states:?}"),
            state if state.is_final() => {
                let half_done = memory.steps.iter().any(|step| step.execution.can_undo());
                assert!(!half_done, "{state:?} and {states:?}");
                assert!(memory.next_due().is_none());
            }
            state => assert!(memory.next_due().is_some(), "{state:?} has no deadline"),
        }
    }

    fn ends(mut self) -> bool {
        for _ in 0..40 {
            while !self.pending.is_empty() {
                self.store();
            }
            if self.memory.state.is_final() {
                return true;
            }
            self.tell(Event::Due);
        }
        false
    }

    fn key(&self) -> Key {
        let of = |record: &PlanRecord| {
            let step = |step: &StepRecord| {
                let execution = &step.execution;
                (execution.state(), execution.undos(), execution.is_unwanted())
            };
            let steps: Vec<_> = record.steps.iter().map(step).collect();
            let verdict = record.judged.as_ref().map(|judged| judged.verdict);
            let approved = record.approved_by.len();
            (record.state, record.current, record.leases, approved, verdict, steps)
        };
        let mut revisions: BTreeSet<u64> = self.pending.iter().map(PlanRecord::revision).collect();
        revisions.extend([self.memory.revision, self.durable.revision]);
        let newest = revisions.last() == Some(&self.memory.revision)
            && self.pending.back().map(PlanRecord::revision) == Some(self.memory.revision);
        let pending: Vec<_> = self.pending.iter().map(of).collect();
        format!(
            "{:?} {:?} {pending:?} {newest} {:?} {:?}",
            of(&self.memory),
            of(&self.durable),
            self.wants,
            self.fired
        )
    }
}

/// Everything that may come of what is wanted.
fn answers(want: &Want) -> Vec<Event> {
    let step = |event| Event::Step(event);
    match want {
        Want::Judge => [Verdict::Allow, Verdict::Hold, Verdict::RequireApproval, Verdict::Deny]
            .map(|verdict| Event::Judged(judged(verdict, false)))
            .to_vec(),
        Want::JudgeStep(_) => vec![
            Event::StepJudged(judged(Verdict::Allow, false)),
            Event::StepJudged(judged(Verdict::Hold, false)),
            Event::StepJudged(judged(Verdict::Hold, true)),
            Event::StepJudged(judged(Verdict::RequireApproval, false)),
            Event::StepJudged(judged(Verdict::Deny, false)),
        ],
        Want::Reach => vec![Event::Reachable],
        Want::Task(_, Task::Act { .. }) => [Answer::Done, Answer::NotDone, Answer::Unknown]
            .map(|answer| step(StepEvent::Answered(answer)))
            .to_vec(),
        Want::Task(_, Task::Undo { .. }) => [Answer::Done, Answer::NotDone, Answer::Unknown]
            .map(|answer| step(StepEvent::UndoAnswered(answer)))
            .to_vec(),
        Want::Task(_, Task::Look) => vec![step(StepEvent::Seen(true)), step(StepEvent::Seen(false))],
        Want::Task(_, Task::Probe) => [Probe::IsDone, Probe::IsNotDone]
            .map(|found| step(StepEvent::Probed(found)))
            .to_vec(),
        Want::Task(_, Task::ProbeUndo) => [Probe::IsDone, Probe::IsNotDone]
            .map(|found| step(StepEvent::UndoProbed(found)))
            .to_vec(),
    }
}

/// `most_pending` bounds what waits for the store: one is what the hub does, two shows that an older record coming back moves nothing.
fn walk(plan: Plan, most_pending: usize) -> BTreeSet<PlanState> {
    let start = State::new(plan);
    let mut seen = BTreeSet::from([start.key()]);
    let mut open = vec![start];
    let mut reached = BTreeSet::new();
    while let Some(state) = open.pop() {
        state.check();
        assert!(state.clone().ends(), "does not end: {:?}", state.key());
        reached.insert(state.memory.state);
        for next in state.successors() {
            if next.pending.len() <= most_pending && seen.insert(next.key()) {
                open.push(next);
            }
        }
    }
    reached
}

#[test]
fn every_plan_ends_and_no_step_fires_twice() {
    let mut reached = walk(two_steps(true), 1);
    reached.extend(walk(two_steps(false), 1));
    reached.extend(walk(plan(&[cap()]), 2));
    let missing: Vec<PlanState> = PlanState::ALL
        .into_iter()
        .filter(|state| !reached.contains(state))
        .collect();
    // `Received` is the moment between the wire and the first store: a plan that is stored was checked.
    assert_eq!(missing, [PlanState::Received]);
}
