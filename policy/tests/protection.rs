//! What a judge says of protection that is broken, held back or lost, and that one outcome ends one action only.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Judge, Situation, Want, judge};
use wire::decision::Verdict;
use wire::time::ClockState;
use wire::{
    Action, ActionKind, AgentId, BundleRef, DecisionId, DeviceId, Epoch, HubEpoch, Mono, Now, Origin, OutcomeState,
    Quantity, Reading, Seq, Series, Wall,
};

const BUNDLE: &str = "
bundle: t
reflexes_per_hour: 1
rules:
  - id: hot
    kind: threshold
    quantity: gpu.temperature
    above: 80 °C
    clear_below: 72 °C
    then: { action: power_cap, to: 200 W }
    undo_on_clear: true
";

struct World {
    judge: Judge,
    now: u64,
}

impl World {
    fn new() -> Self {
        let bundle = Arc::new(Bundle::parse(BUNDLE.as_bytes()).unwrap());
        let judge = Judge::new(bundle, BundleRef::NONE);
        Self { judge, now: 1_000 }
    }

    fn decide(&mut self, want: &Want) -> (Verdict, String, Option<i64>) {
        let situation = Situation {
            now: Now {
                mono: Mono(self.now),
                wall: Wall(0),
            },
            policy_age_ms: 0,
            connected: false,
            clock: ClockState::Steady,
            clock_error_ms: Some(0),
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(0),
        };
        let inputs = self.judge.inputs(want, &situation);
        let judgement = judge(self.judge.bundle(), &inputs);
        let id = DecisionId {
            agent: AgentId::new("a").unwrap(),
            epoch: Epoch(1),
            seq: Seq(1),
        };
        match judgement.verdict.runs() {
            true => self.judge.granted(&inputs, &judgement, &id),
            false => self.judge.denied(&inputs, &judgement),
        }
        let in_flight = inputs.facts.iter().find(|fact| fact.name == "in_flight");
        (judgement.verdict, judgement.rule, in_flight.map(|fact| fact.value))
    }

    /// A second later: a temperature and a limit in force; what rules want runs and is applied.
    fn round(&mut self, celsius: i64, cap_watts: i64) {
        self.now += 1_000;
        let reading = |quantity, value: i64| Reading {
            series: Series::new(DeviceId::gpu(0), quantity),
            value: Some(value * 1_000),
        };
        let readings = [
            reading(Quantity::GpuTemperature, celsius),
            reading(Quantity::GpuPowerCap, cap_watts),
        ];
        let mut wants = Vec::new();
        self.judge.observe(&readings, Mono(self.now), &mut wants);
        for want in wants {
            if self.decide(&want).0.runs() {
                let (action, origin) = (want.action, want.origin);
                self.judge
                    .finished(&action, &origin, OutcomeState::Applied, Mono(self.now));
            }
        }
    }

    fn concerns(&self) -> Vec<String> {
        let concerns = self.judge.concerns(Mono(self.now)).into_iter();
        concerns.map(|(_, text)| text).collect()
    }
}

fn order(kind: ActionKind) -> Want {
    Want {
        origin: Origin::Local {
            who: "ana".to_owned(),
            reason: "test".to_owned(),
        },
        action: Action {
            target: DeviceId::gpu(0),
            kind,
        },
        readings: Vec::new(),
        rejected: Vec::new(),
        verify: None,
    }
}

#[test]
fn a_broken_limit_is_a_concern_until_it_holds_again() {
    let mut world = World::new();
    world.round(60, 350);
    assert_eq!(world.concerns(), [""; 0]);
    world.round(90, 350);
    world.round(90, 200);
    assert_eq!(
        world.concerns(),
        ["hot: gpu.temperature of gpu0 is above 80 °C; gpu0 power_cap to 200 W is in force"]
    );
    world.round(70, 200);
    assert_eq!(world.concerns(), [""; 0]);
}

#[test]
fn a_lost_limit_is_a_concern_that_names_whom_to_ask() {
    let lost = |order_first: bool| {
        let mut world = World::new();
        world.round(90, 350);
        world.round(75, 200);
        if order_first {
            let want = order(ActionKind::ReleasePowerCap);
            assert!(world.decide(&want).0.runs());
            let now = Mono(world.now);
            world
                .judge
                .finished(&want.action, &want.origin, OutcomeState::Applied, now);
        }
        world.round(76, 300);
        world.concerns()
    };
    let text = |by: &str| format!("gpu0 power_cap to 200 W is no longer in force: {by} set 300 W");
    assert_eq!(lost(false), [text("another program or person")]);
    assert_eq!(lost(true), [text("an order of ana")]);
}

#[test]
fn what_another_program_undoes_again_and_again_is_said_to_be_held_back_and_not_fought_over() {
    let mut world = World::new();
    world.round(90, 350);
    world.round(90, 200);
    world.round(90, 350);
    assert_eq!(
        world.concerns(),
        [
            "hot: gpu.temperature of gpu0 is above 80 °C; gpu0 power_cap to 200 W is no longer in force: another program or \
          person set 350 W; setting it again is held back by reflexes"
        ]
    );
}

#[test]
fn the_end_of_one_action_ends_no_other_on_the_same_device() {
    let mut world = World::new();
    let cap = order(ActionKind::PowerCap { milliwatts: 200_000 });
    assert_eq!(world.decide(&cap), (Verdict::Allow, "local".to_owned(), None));
    let notify = order(ActionKind::Notify {
        message: "x".to_owned(),
    });
    assert!(world.decide(&notify).0.runs());
    let now = Mono(world.now);
    world
        .judge
        .finished(&notify.action, &notify.origin, OutcomeState::Applied, now);
    assert_eq!(
        world.decide(&cap),
        (Verdict::Hold, "device".to_owned(), Some(1)),
        "the first cap is under way"
    );
    world
        .judge
        .finished(&cap.action, &cap.origin, OutcomeState::Applied, now);
    assert_eq!(world.decide(&cap), (Verdict::Allow, "local".to_owned(), None));
}
