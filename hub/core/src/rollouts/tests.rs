//! Rollouts as stories on a small cluster that behaves as the real one: pods come and go one by one, and changes may be lost.

use policy::canary::{Counter, Direction, Effect, Metric, NoDataIs};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000;

/// A workload of the small cluster: pods by image.
#[derive(Debug, Clone)]
struct Pods {
    image: String,
    wanted: u32,
    old: u32,
    new: u32,
    /// Pods of the image never become ready.
    broken: bool,
}

#[derive(Debug)]
struct World {
    stable: Option<Pods>,
    canary: Option<Pods>,
    baseline: Option<Pods>,
    weight: u8,
    now_ms: i64,
    unread: bool,
    least_ready: u32,
    broken_image: &'static str,
}

impl Pods {
    fn ready(&self) -> u32 {
        self.old + if self.broken { 0 } else { self.new }
    }

    /// One pod comes or goes. Old ones are replaced only after a new one is ready.
    fn settle(&mut self) {
        let all = self.old + self.new;
        if self.new < self.wanted && all <= self.wanted {
            self.new += 1;
        } else if self.old > 0 && (all > self.wanted) && (!self.broken || all > self.wanted + 1) {
            self.old -= 1;
        } else if self.new > self.wanted {
            self.new -= 1;
        }
    }

    fn facts(&self) -> RoleFacts {
        RoleFacts {
            image: self.image.clone(),
            wanted: self.wanted,
            ready: self.ready(),
            updated: self.new,
            existing: self.old + self.new,
            seen_by_controller: true,
        }
    }
}

impl World {
    fn new(replicas: u32) -> Self {
        let stable = Pods {
            image: "web:1".to_owned(),
            wanted: replicas,
            old: 0,
            new: replicas,
            broken: false,
        };
        Self {
            stable: Some(stable),
            canary: None,
            baseline: None,
            weight: 0,
            now_ms: 0,
            unread: false,
            least_ready: replicas,
            broken_image: "",
        }
    }

    fn facts(&self) -> Facts {
        let seen = |pods: &Option<Pods>| match pods {
            _ if self.unread => Seen::Unread("the server is down".to_owned()),
            Some(pods) => Seen::There(pods.facts()),
            None => Seen::Missing,
        };
        Facts {
            stable: seen(&self.stable),
            canary: seen(&self.canary),
            baseline: seen(&self.baseline),
            weight: (!self.unread).then_some(self.weight),
            autoscaler: None,
        }
    }

    fn apply(&mut self, change: &Change) {
        let broken = self.broken_image;
        match change {
            Change::Ensure { role, image, replicas } => {
                let pods = self.part(*role).get_or_insert(Pods {
                    image: image.clone(),
                    wanted: 0,
                    old: 0,
                    new: 0,
                    broken: false,
                });
                pods.wanted = *replicas;
                pods.broken = pods.image == broken;
            }
            Change::Scale { role, replicas } => {
                if let Some(pods) = self.part(*role) {
                    pods.wanted = *replicas;
                }
            }
            Change::SetImage { image } => {
                if let Some(pods) = &mut self.stable {
                    pods.old = pods.ready();
                    pods.new = 0;
                    pods.image.clone_from(image);
                    pods.broken = image == broken;
                }
            }
            Change::Weight { percent } => self.weight = *percent,
            Change::Remove { role } => *self.part(*role) = None,
        }
    }

    fn part(&mut self, role: Role) -> &mut Option<Pods> {
        match role {
            Role::Stable => &mut self.stable,
            Role::Canary => &mut self.canary,
            Role::Baseline => &mut self.baseline,
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now_ms += seconds * SECOND;
        for pods in [&mut self.stable, &mut self.canary, &mut self.baseline]
            .into_iter()
            .flatten()
        {
            pods.settle();
        }
        let ready = |pods: &Option<Pods>| pods.as_ref().map_or(0, Pods::ready);
        self.least_ready = self
            .least_ready
            .min(ready(&self.stable) + ready(&self.canary) + ready(&self.baseline));
    }

    /// Runs a rollout to its end; the health that is measured at each check is given by its number.
    fn run(&mut self, rollout: &mut Rollout, health: impl Fn(usize) -> Measured) -> Vec<String> {
        let mut phases = vec![rollout.phase().word().to_owned()];
        let mut checks = 0;
        for _ in 0..100_000 {
            let advance = rollout.advance(&self.facts(), self.now_ms);
            phases.extend(advance.moved.iter().map(|moved| moved.to.word().to_owned()));
            for change in &advance.changes {
                self.apply(change);
            }
            if rollout.wants_measurement(self.now_ms).is_some() {
                let check = rollout.measured(health(checks), self.now_ms).expect("it was wanted");
                phases.extend(check.moved.map(|moved| moved.to.word().to_owned()));
                checks += 1;
            }
            if rollout.phase().is_end() {
                phases.dedup();
                return phases;
            }
            self.pass(5);
        }
        panic!("no end: {rollout:?}");
    }

    fn is_as_before(&self, replicas: u32) -> bool {
        let alone = self.canary.is_none() && self.baseline.is_none() && self.weight == 0;
        alone
            && self
                .stable
                .as_ref()
                .is_some_and(|pods| pods.facts().is("web:1", replicas))
    }
}

fn canary() -> RolloutSpec {
    RolloutSpec::canary("web:2", 10, 10, 180_000)
}

fn started(world: &World, spec: RolloutSpec) -> Rollout {
    Rollout::start(spec, &world.facts(), world.now_ms).expect("it starts")
}

fn healthy(_: usize) -> Measured {
    Measured::Health(10_000)
}

#[test]
fn a_good_canary_walks_to_the_end_and_leaves_the_new_image_at_full_size() {
    let mut world = World::new(10);
    let mut rollout = started(&world, canary());
    let phases = world.run(&mut rollout, healthy);
    assert_eq!(phases.last().map(String::as_str), Some("completed"));
    assert_eq!(phases.iter().filter(|phase| *phase == "analysing").count(), 10);
    assert_eq!(world.least_ready, 10);
    assert!(world.stable.is_some_and(|pods| pods.facts().is("web:2", 10)) && world.canary.is_none());
}

#[test]
fn a_bad_canary_is_taken_back_and_capacity_stays() {
    let mut world = World::new(7);
    let mut rollout = started(&world, canary());
    let phases = world.run(&mut rollout, |check| {
        Measured::Health(if check < 9 { 9_000 } else { 5_000 })
    });
    assert_eq!(phases[phases.len() - 2..], ["rolling_back", "rolled_back"]);
    assert!(rollout.why().contains("health 50.00 of 100"), "{}", rollout.why());
    assert_eq!(world.least_ready, 7);
    assert!(world.is_as_before(7));
}

#[test]
fn a_few_bad_checks_are_allowed_and_an_equal_score_passes() {
    let mut world = World::new(10);
    let mut rollout = started(&world, canary());
    world.run(&mut rollout, |check| {
        Measured::Health(if check % 7 == 3 { 5_000 } else { 8_000 })
    });
    assert_eq!(rollout.phase(), &Phase::Completed);
}

#[test]
fn a_bad_check_at_the_end_of_a_step_does_not_pass_it() {
    let mut world = World::new(4);
    let mut rollout = started(&world, RolloutSpec::canary("web:2", 20, 80, 20_000));
    // Good until just before the end, bad from there on.
    let phases = world.run(&mut rollout, |check| {
        Measured::Health(if check < 4 { 10_000 } else { 0 })
    });
    assert_eq!(phases, ["setting", "analysing", "rolling_back", "rolled_back"]);
    assert!(world.is_as_before(4));
}

#[test]
fn a_canary_that_never_becomes_ready_is_taken_back_in_time() {
    let mut world = World {
        broken_image: "web:2",
        ..World::new(4)
    };
    let mut rollout = started(&world, canary());
    assert_eq!(
        world.run(&mut rollout, healthy),
        ["setting", "rolling_back", "rolled_back"]
    );
    assert!(world.is_as_before(4) && world.least_ready == 4);
}

#[test]
fn missing_data_is_held_for_a_person_and_then_taken_back() {
    let mut world = World::new(4);
    let mut rollout = started(&world, canary());
    let nothing = |_| Measured::Nothing {
        why: "the exporter is gone".to_owned(),
    };
    let phases = world.run(&mut rollout, nothing);
    assert_eq!(
        phases,
        ["setting", "analysing", "holding", "rolling_back", "rolled_back"]
    );
    assert!(world.is_as_before(4));
}

#[test]
fn nothing_is_taken_away_while_nothing_can_be_read() {
    let mut world = World::new(6);
    let mut rollout = started(&world, canary());
    for _ in 0..20 {
        let advance = rollout.advance(&world.facts(), world.now_ms);
        advance.changes.iter().for_each(|change| world.apply(change));
        world.pass(5);
    }
    world.unread = true;
    for _ in 0..2_000 {
        assert_eq!(rollout.advance(&world.facts(), world.now_ms).changes, []);
        world.pass(60);
    }
    assert_eq!(rollout.phase(), &Phase::RollbackFailed, "people are called");
    world.unread = false;
    rollout
        .command(&Command::RetryRollback, world.now_ms)
        .expect("a person tries again");
    world.run(&mut rollout, healthy);
    assert!(rollout.phase() == &Phase::RolledBack && world.is_as_before(6) && world.least_ready == 6);
}

#[test]
fn weights_leave_the_stable_side_whole_and_traffic_leaves_a_bad_canary_at_once() {
    let mut world = World::new(5);
    let mut rollout = started(
        &world,
        RolloutSpec {
            traffic: Traffic::Weights,
            route: route(Traffic::Weights),
            ..canary()
        },
    );
    while world.weight < 20 {
        let advance = rollout.advance(&world.facts(), world.now_ms);
        advance.changes.iter().for_each(|change| world.apply(change));
        if rollout.wants_measurement(world.now_ms).is_some() {
            rollout.measured(healthy(0), world.now_ms);
        }
        world.pass(5);
    }
    assert_eq!(world.stable.as_ref().map(Pods::ready), Some(5));
    rollout
        .command(
            &Command::Abort {
                why: "errors".to_owned(),
            },
            world.now_ms,
        )
        .expect("it goes forward");
    let first = rollout.advance(&world.facts(), world.now_ms).changes;
    assert_eq!(first.first(), Some(&Change::Weight { percent: 0 }));
    world.run(&mut rollout, healthy);
    assert!(world.is_as_before(5));
}

#[test]
fn blue_and_green_wait_for_a_person_and_switch_at_once() {
    let mut world = World::new(3);
    let mut rollout = started(&world, RolloutSpec::blue_green("web:2", "web", 60_000));
    while rollout.phase() != &Phase::Paused {
        let advance = rollout.advance(&world.facts(), world.now_ms);
        advance.changes.iter().for_each(|change| world.apply(change));
        world.pass(5);
    }
    assert_eq!((world.weight, world.canary.as_ref().map(Pods::ready)), (0, Some(3)));
    rollout
        .command(&Command::Promote, world.now_ms)
        .expect("a person goes on");
    let phases = world.run(&mut rollout, healthy);
    assert!(phases.contains(&"waiting".to_owned()) && rollout.phase() == &Phase::Completed);
    assert_eq!(world.least_ready, 3);
}

#[test]
fn a_rolling_rollout_needs_no_canary_and_a_broken_image_is_taken_back() {
    let mut world = World::new(4);
    let mut rollout = started(&world, RolloutSpec::rolling("web:2"));
    assert_eq!(
        world.run(&mut rollout, healthy),
        ["promoting", "finishing", "completed"]
    );
    let mut world = World {
        broken_image: "web:2",
        ..World::new(4)
    };
    let mut rollout = started(&world, RolloutSpec::rolling("web:2"));
    assert_eq!(
        world.run(&mut rollout, healthy),
        ["promoting", "rolling_back", "rolled_back"]
    );
    assert!(world.is_as_before(4) && world.least_ready == 4);
}

#[test]
fn zero_replicas_is_a_number() {
    let mut world = World::new(0);
    let mut rollout = started(&world, canary());
    assert_eq!(
        world.run(&mut rollout, healthy).last().map(String::as_str),
        Some("completed")
    );
    assert!(world.stable.is_some_and(|pods| pods.facts().is("web:2", 0)) && world.canary.is_none());
}

#[test]
fn people_pause_open_gates_go_on_and_are_told_what_does_not_apply() {
    let mut world = World::new(4);
    let set = |percent| Step::Set {
        replicas: percent,
        weight: percent,
    };
    let steps = vec![
        set(50),
        Step::Gate {
            name: "tests".to_owned(),
        },
        Step::Pause,
        set(100),
    ];
    let mut rollout = started(&world, RolloutSpec { steps, ..canary() });
    let refused = rollout
        .command(&Command::Promote, 0)
        .expect_err("too early")
        .to_string();
    assert_eq!(
        refused,
        "a rollout that is setting cannot be told to promote; wait until its step is there"
    );
    let until = |world: &mut World, rollout: &mut Rollout, phase: Phase| {
        while rollout.phase() != &phase {
            let advance = rollout.advance(&world.facts(), world.now_ms);
            advance.changes.iter().for_each(|change| world.apply(change));
            world.pass(5);
        }
    };
    until(&mut world, &mut rollout, Phase::Gated);
    let wrong = Command::Open {
        gate: "other".to_owned(),
    };
    assert!(
        rollout
            .command(&wrong, world.now_ms)
            .expect_err("another gate")
            .to_string()
            .contains("gate tests")
    );
    rollout
        .command(
            &Command::Open {
                gate: "tests".to_owned(),
            },
            world.now_ms,
        )
        .expect("opened");
    assert_eq!(rollout.phase(), &Phase::Paused);
    rollout.command(&Command::Resume, world.now_ms).expect("resumed");
    assert!(rollout.undo().is_err());
    world.run(&mut rollout, healthy);
    assert_eq!(rollout.undo().expect("it is completed").image, "web:1");
    assert!(
        rollout
            .command(&Command::Abort { why: String::new() }, world.now_ms)
            .is_err()
    );
}

#[test]
fn what_is_missing_is_found_before_anything_is_changed() {
    let world = World::new(4);
    let start = |spec: RolloutSpec, facts: &Facts| {
        Rollout::start(spec, facts, 0)
            .expect_err("it must not start")
            .to_string()
    };
    let facts = world.facts();
    assert!(
        start(
            RolloutSpec {
                image: String::new(),
                ..canary()
            },
            &facts
        )
        .contains("name the image")
    );
    assert!(start(RolloutSpec::rolling("web:1"), &facts).contains("runs web:1 already"));
    assert!(
        start(
            canary(),
            &Facts {
                stable: Seen::Missing,
                ..facts.clone()
            }
        )
        .contains("create it first")
    );
    assert!(
        start(
            canary(),
            &Facts {
                autoscaler: Some("grow".to_owned()),
                ..facts.clone()
            }
        )
        .contains("autoscaler grow")
    );
    assert!(
        start(
            canary(),
            &Facts {
                canary: facts.stable.clone(),
                ..facts.clone()
            }
        )
        .contains("remove it first")
    );
    assert!(
        start(
            canary(),
            &Facts {
                baseline: Seen::Unread("503".to_owned()),
                ..facts.clone()
            }
        )
        .contains("nothing was changed")
    );
    let steps = vec![Step::Analyse { ms: 1 }];
    assert!(start(RolloutSpec { steps, ..canary() }, &facts).contains("steps[0]: there is no canary yet"));
    let set = |replicas| Step::Set { replicas, weight: 0 };
    let shrinks = RolloutSpec {
        steps: vec![set(50), set(20)],
        ..canary()
    };
    assert!(start(shrinks, &facts).contains("steps[1].set.replicas: 20 is less than the 50 before"));
    let mut unsettled = facts;
    if let Seen::There(stable) = &mut unsettled.stable {
        stable.ready = 3;
    }
    assert!(start(canary(), &unsettled).contains("3 of 4 replicas are ready"));
}

fn latency(canary_ms: impl Fn(usize) -> f64) -> Measured {
    let wave = |index: usize| ((index * 7_919) % 101) as f64 / 10.0;
    let metric = Metric {
        name: "latency_ms".to_owned(),
        direction: Direction::Up,
        effect: Effect { rel_bp: 500, abs: 0.0 },
        critical: true,
        weight: 1.0,
        min_n: 30,
        nodata: NoDataIs::Hold,
        paired: false,
        counter: Counter::Gauge,
        independent: true,
        hard_limit: None,
        interval_ms: 1_000,
        warm_up_ms: 0,
        expected: None,
        baseline: (0..120).map(|index| Some(100.0 + wave(index))).collect(),
        canary: (0..120)
            .map(|index| Some(canary_ms(index) + wave(index + 31)))
            .collect(),
        history: Vec::new(),
    };
    Measured::Series {
        metrics: vec![metric],
        errors: None,
        page_fast: false,
    }
}

#[test]
fn statistics_stop_a_slow_canary_and_let_a_like_one_pass() {
    let mut world = World::new(10);
    let mut slow = started(&world, canary());
    world.run(&mut slow, |_| latency(|_| 160.0));
    assert_eq!(slow.phase(), &Phase::RolledBack);
    assert!(world.is_as_before(10));
    let mut world = World::new(10);
    let mut like = started(&world, canary());
    world.run(&mut like, |_| latency(|_| 100.0));
    assert_eq!(like.phase(), &Phase::Completed);
}

#[derive(Debug, Clone)]
enum Event {
    Pass(i64),
    Unread(bool),
    Lose,
    Do(Command),
    Measure(Option<u32>),
    Crash,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let command = prop_oneof![
        Just(Command::Promote),
        Just(Command::PromoteFully),
        Just(Command::Pause),
        Just(Command::Resume),
        Just(Command::Abort { why: "so".to_owned() }),
        Just(Command::RetryRollback),
    ];
    prop_oneof![
        6 => (1..400_i64).prop_map(Event::Pass),
        1 => any::<bool>().prop_map(Event::Unread),
        1 => Just(Event::Lose),
        1 => command.prop_map(Event::Do),
        4 => proptest::option::of(0..=10_000_u32).prop_map(Event::Measure),
        1 => Just(Event::Crash),
        1 => Just(Event::Restart),
    ]
}

/// What divides traffic in this way.
fn route(traffic: Traffic) -> Option<Route> {
    match traffic {
        Traffic::Replicas => None,
        Traffic::Weights => Some(Route::HttpRoute {
            name: "web".to_owned(),
            stable: "web".to_owned(),
            canary: "web-canary".to_owned(),
            baseline: Some("web-baseline".to_owned()),
        }),
        Traffic::Selector => Some(Route::Service { name: "web".to_owned() }),
    }
}

fn spec() -> impl Strategy<Value = RolloutSpec> {
    let traffic = prop_oneof![Just(Traffic::Replicas), Just(Traffic::Weights), Just(Traffic::Selector)];
    (traffic, 1..60_u8, 1..60_u8, any::<bool>(), any::<bool>()).prop_map(
        |(traffic, first, by, fresh_baseline, rolling)| {
            let analysis = Analysis {
                fresh_baseline,
                ..Analysis::default()
            };
            let shape = if rolling {
                RolloutSpec::rolling("web:2")
            } else if traffic == Traffic::Selector {
                RolloutSpec::blue_green("web:2", "web", 60_000)
            } else {
                RolloutSpec::canary("web:2", first, by, 60_000)
            };
            RolloutSpec {
                traffic,
                route: route(traffic),
                analysis,
                ..shape
            }
        },
    )
}

proptest! {
    #[test]
    fn capacity_is_never_below_the_start_and_there_is_always_an_end(
        replicas in 0..20_u32,
        spec in spec(),
        broken in any::<bool>(),
        events in vec(event(), 0..120),
    ) {
        let mut world = World { broken_image: if broken { "web:2" } else { "" }, ..World::new(replicas) };
        let mut rollout = started(&world, spec);
        let mut loses = false;
        let turn = |world: &mut World, rollout: &mut Rollout, loses: &mut bool| {
            let changes = rollout.advance(&world.facts(), world.now_ms).changes;
            // Answers are lost, and so are changes.
            for change in changes.iter().filter(|_| !*loses) {
                world.apply(change);
            }
            *loses = false;
            world.pass(1);
        };
        for event in events {
            match event {
                Event::Pass(seconds) => world.pass(seconds),
                Event::Unread(unread) => world.unread = unread,
                Event::Lose => loses = true,
                Event::Do(command) => drop(rollout.command(&command, world.now_ms)),
                Event::Measure(Some(score)) => drop(rollout.measured(Measured::Health(score), world.now_ms)),
                Event::Measure(None) => drop(rollout.measured(Measured::Nothing { why: "gone".to_owned() }, world.now_ms)),
                Event::Crash => world.canary.iter_mut().for_each(|canary| canary.broken = true),
                Event::Restart => rollout = rollout.clone(),
            }
            turn(&mut world, &mut rollout, &mut loses);
            prop_assert!(world.least_ready >= replicas, "{} of {replicas} in {:?}", world.least_ready, rollout);
        }
        // With everything readable, moving to each deadline is enough to come to an end.
        world.unread = false;
        for _ in 0..20_000 {
            let Some(deadline) = rollout.deadline_ms() else { break };
            for _ in 0..60 {
                turn(&mut world, &mut rollout, &mut loses);
            }
            world.now_ms = world.now_ms.max(deadline);
        }
        prop_assert!(rollout.phase().is_end(), "{rollout:?}");
        prop_assert!(world.least_ready >= replicas);
        let alone = world.canary.is_none() && world.baseline.is_none();
        match rollout.phase() {
            Phase::Completed => prop_assert!(alone && world.stable.is_some_and(|pods| pods.facts().is("web:2", replicas))),
            Phase::RolledBack => prop_assert!(world.is_as_before(replicas), "{world:?}"),
            _ => {}
        }
    }
}
