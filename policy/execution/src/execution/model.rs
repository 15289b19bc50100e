//! A walk through every reachable state of one execution, its store and the world, with every event and a crash between any two.
//!
//! The world is what really happened: whether the thing is done, how often it was, and which messages are still on their way. Time is
//! reduced to "before the deadline" and "at the deadline"; revisions to their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::time::Mono;

use super::*;

const LATER: Mono = Mono(1_000);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct World {
    /// The thing is done.
    done: bool,
    /// How often it was carried out.
    fired: u8,
    /// It was asked for, and may still begin.
    asked: bool,
    /// The answer that is on its way: whether it was done.
    answer: Option<bool>,
    undo_asked: bool,
    undo_answer: bool,
    probe: bool,
    undo_probe: bool,
    look: bool,
}

#[derive(Debug, Clone)]
struct State {
    memory: Execution,
    durable: Execution,
    /// On their way to the store, the oldest first.
    pending: VecDeque<Execution>,
    world: World,
}

/// Takes what happens next.
type Successor<'a> = dyn FnMut(&dyn Fn(&mut State)) + 'a;

type Key = (Vec<(StepState, u64, bool, u8, bool)>, World);

impl State {
    fn new(ability: Ability) -> Self {
        let limits = Limits {
            act_ms: 1_000,
            probe_ms: 1_000,
            verify_ms: 1_000,
        };
        let memory = Execution::new(ability, limits);
        Self {
            durable: memory.clone(),
            memory,
            pending: VecDeque::new(),
            world: World::default(),
        }
    }

    /// Time and revisions without what does not matter.
    fn normal(mut self) -> (Self, Key) {
        let all = || {
            let pending = self.pending.iter();
            pending.chain([&self.durable, &self.memory])
        };
        let revisions: BTreeSet<u64> = all().map(|record| record.revision).collect();
        let ranks: BTreeMap<u64, u64> = revisions.into_iter().zip(0..).collect();
        let records = self.pending.iter_mut().chain([&mut self.durable, &mut self.memory]);
        let mut key = Vec::new();
        for record in records {
            record.revision = ranks[&record.revision];
            record.until = record.until.map(|_| LATER);
            key.push((
                record.state,
                record.revision,
                record.until.is_some(),
                record.undos,
                record.unwanted,
            ));
        }
        let world = self.world.clone();
        (self, (key, world))
    }

    fn tell(&mut self, event: Event, now: Mono) {
        match self.memory.handle(event, now) {
            Reaction::Nothing => {}
            Reaction::Store => self.pending.push_back(self.memory.clone()),
            Reaction::Do(Task::Act { .. }) => {
                assert_eq!(
                    self.durable.state,
                    StepState::Intending,
                    "asked for before its intent is durable"
                );
                assert!(!self.world.asked, "asked for twice");
                self.world.asked = true;
            }
            Reaction::Do(Task::Undo { attempt, .. }) => {
                assert_eq!(self.durable.state, StepState::UndoIntending);
                assert!(attempt <= MOST_UNDOS);
                self.world.undo_asked = true;
            }
            Reaction::Do(Task::Probe) => self.world.probe = true,
            Reaction::Do(Task::ProbeUndo) => self.world.undo_probe = true,
            Reaction::Do(Task::Look) => self.world.look = true,
        }
    }

    fn store(&mut self, now: Mono) {
        let Some(record) = self.pending.pop_front() else {
            return;
        };
        let revision = record.revision;
        self.durable = record;
        self.tell(Event::Stored { revision }, now);
    }

    /// The batch was not written, or the process ended: memory is what the store has.
    fn back_to_store(&mut self) {
        self.pending.clear();
        self.memory = self.durable.clone();
        self.tell(Event::Recovered, Mono(0));
    }

    fn due(&mut self) {
        let Some(until) = self.memory.deadline() else {
            return;
        };
        // Whoever was asked refuses after the deadline that it was given.
        if matches!(self.memory.state, StepState::Acting | StepState::Probing) {
            self.world.asked = false;
        }
        self.tell(Event::Due, until);
    }

    fn successors(&self) -> Vec<State> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut State)| {
            let mut state = self.clone();
            change(&mut state);
            all.push(state);
        };
        let now = Mono(0);
        with(&|state| state.tell(Event::Begin, now));
        with(&|state| state.tell(Event::Undo, now));
        with(&|state| state.due());
        if !self.pending.is_empty() {
            with(&|state| state.store(now));
            with(&|state| state.store(LATER));
            with(&|state| state.back_to_store());
            // Written, and the process ended before it heard of it.
            with(&|state| {
                state.durable = state.pending.pop_front().expect("looked at above");
                state.world.forget_answers();
                state.back_to_store();
            });
        }
        with(&|state| {
            state.world.forget_answers();
            state.back_to_store();
        });
        self.world.moves(&mut with);
        all
    }

    fn check(&self) {
        let world = &self.world;
        assert!(world.fired <= 1, "carried out twice: {self:?}");
        let durable = &self.durable;
        if self.pending.is_empty() {
            match durable.state {
                StepState::Waiting => assert!(world.fired == 0 && !world.asked, "{self:?}"),
                StepState::Failed => assert!(!world.done && !world.asked, "failed, and done: {self:?}"),
                StepState::Done => assert!(world.done, "done, and not: {self:?}"),
                StepState::Undone => assert!(!world.done && !world.asked, "taken back, and done: {self:?}"),
                _ => {}
            }
        }
    }

    /// Nobody answers any more: time and the store alone.
    fn ends(mut self) -> bool {
        for _ in 0..16 {
            while !self.pending.is_empty() {
                self.store(Mono(0));
            }
            if self.memory.state.is_settled() {
                return true;
            }
            self.due();
            self = self.normal().0;
        }
        false
    }
}

impl World {
    fn forget_answers(&mut self) {
        self.answer = None;
        self.undo_answer = false;
        self.probe = false;
        self.undo_probe = false;
        self.look = false;
    }

    fn moves(&self, with: &mut Successor<'_>) {
        let now = Mono(0);
        if self.asked {
            for does in [true, false] {
                with(&move |state| {
                    state.world.asked = false;
                    state.world.done |= does;
                    state.world.fired += u8::from(does);
                    state.world.answer = Some(does);
                });
            }
        }
        if let Some(done) = self.answer {
            let answer = if done { Answer::Done } else { Answer::NotDone };
            // It may come again: the agent's journal says so as often as it is read.
            with(&move |state| state.tell(Event::Answered(answer), now));
            with(&move |state| state.tell(Event::Answered(Answer::Unknown), now));
            with(&|state| state.world.answer = None);
        }
        if self.undo_asked {
            with(&|state| {
                state.world.undo_asked = false;
                state.world.done = false;
                state.world.undo_answer = true;
            });
            with(&|state| {
                state.world.undo_asked = false;
                state.tell(Event::UndoAnswered(Answer::NotDone), now);
            });
        }
        if self.undo_answer {
            with(&|state| {
                state.world.undo_answer = false;
                state.tell(Event::UndoAnswered(Answer::Done), now);
            });
        }
        let found = match (self.done, self.asked) {
            (true, _) => Probe::IsDone,
            (false, false) => Probe::IsNotDone,
            (false, true) => Probe::Unknown,
        };
        if self.probe {
            for found in [found, Probe::Unknown] {
                with(&move |state| {
                    state.world.probe = false;
                    state.tell(Event::Probed(found), now);
                });
            }
        }
        if self.undo_probe {
            for found in [found, Probe::Unknown] {
                with(&move |state| {
                    state.world.undo_probe = false;
                    state.tell(Event::UndoProbed(found), now);
                });
            }
        }
        if self.look {
            with(&|state| {
                state.world.look = false;
                let seen = state.world.done;
                state.tell(Event::Seen(seen), now);
            });
            with(&|state| {
                state.world.look = false;
                state.tell(Event::Seen(false), now);
            });
        }
    }
}

fn walk(ability: Ability) -> BTreeMap<StepState, usize> {
    let (start, key) = State::new(ability).normal();
    let mut seen = BTreeSet::from([key]);
    let mut open = vec![start];
    let mut reached = BTreeMap::new();
    while let Some(state) = open.pop() {
        state.check();
        *reached.entry(state.memory.state).or_insert(0) += 1;
        assert!(
            state.memory.state == StepState::Waiting || state.clone().ends(),
            "does not end: {state:?}"
        );
        for next in state.successors() {
            // Longer queues only repeat what shorter ones show: the store works through them in order.
            if next.pending.len() > 2 {
                continue;
            }
            let (next, key) = next.normal();
            if seen.insert(key) {
                open.push(next);
            }
        }
    }
    reached
}

#[test]
fn nothing_fires_twice_and_every_path_ends() {
    use StepState as S;
    let mut reached: BTreeMap<StepState, usize> = BTreeMap::new();
    for (verifies, reversible) in [(false, false), (false, true), (true, false), (true, true)] {
        for (state, count) in walk(Ability { verifies, reversible }) {
            *reached.entry(state).or_insert(0) += count;
        }
    }
    // A model that does not reach a state proves nothing about it.
    for state in S::ALL {
        assert!(reached.contains_key(&state), "{state:?} is never reached: {reached:?}");
    }
}
