//! The agent as a whole: sync, commands, bundles, authority, clocks and lost journals, as stories.

use std::collections::BTreeSet;

use proptest::prelude::*;
use wire::entry::{ChainHead, Entry};
use wire::frame::{Ack, Command, Frame, Order, PlanCommand, Welcome};
use wire::ids::{DecisionId, HubEpoch, PlanId};
use wire::reading::{DeviceId, Quantity, Series};
use wire::{Action, ActionKind, Origin, RawEntry};

use super::*;
use crate::testing::{BUNDLE, Disk, Rig, check, signed};

fn welcome(holds: Vec<ChainHead>, hub_epoch: u64) -> Input {
    Input::Frame(Frame::Welcome(Welcome {
        version: 1,
        hub_epoch: HubEpoch(hub_epoch),
        holds,
        telemetry: Seq(0),
        bundle: BundleRef::NONE,
        session: 5,
        now: Now::default(),
    }))
}

fn connect(rig: &mut Rig, holds: Vec<ChainHead>, hub_epoch: u64) {
    rig.pass(400_000);
    rig.handle(Input::Tick);
    rig.handle(Input::LinkUp);
    rig.handle(welcome(holds, hub_epoch));
}

fn command(id: u8, hub_epoch: u64, what: Order) -> Input {
    Input::Frame(Frame::Command(Command {
        id: CommandId([id; 16]),
        hub_epoch: HubEpoch(hub_epoch),
        valid_for_ms: 30_000,
        who: "ana".to_owned(),
        reason: "test".to_owned(),
        what,
    }))
}

fn restart() -> Order {
    Order::Act(Action {
        target: DeviceId::workload("job").expect("a name"),
        kind: ActionKind::Restart,
    })
}

/// Places of the entries sent in the present session.
fn sent(rig: &Rig) -> Vec<(u64, u64)> {
    let mut places = Vec::new();
    for frame in &rig.frames {
        if let Frame::Entries(entries) = frame {
            let count = entries.raw.len() as u64;
            places.extend((0..count).map(|n| (entries.epoch.0, entries.first.0 + n)));
        }
    }
    places
}

#[test]
fn the_extremes_of_every_reading_stop_nothing() {
    let bundle = include_str!("../../../../policy/bundles/demo-strict.yaml");
    let mut rig = Rig::under(bundle);
    for round in 0..60u64 {
        rig.pass(1_000);
        let value = [i64::MIN, i64::MAX, 0, -1, 1][round as usize % 5];
        let device = |name: &str| DeviceId::new(name).expect("a name");
        let readings = [
            ("gpu0", Quantity::GpuTemperature),
            ("gpu0", Quantity::GpuPower),
            ("gpu0", Quantity::GpuPowerCap),
            ("workload:job", Quantity::WorkloadMemory),
            ("node", Quantity::MemoryUsedShare),
        ];
        let readings = readings.map(|(name, quantity)| Reading {
            series: Series::new(device(name), quantity),
            value: Some(value),
        });
        rig.handle(Input::Readings(readings.to_vec()));
    }
    assert!(rig.agent.head().seq > Seq(0));
}

#[test]
fn after_a_welcome_only_what_the_hub_lacks_is_sent() {
    let mut rig = Rig::new();
    let head = rig.agent.head();
    let held = ChainHead {
        seq: Seq(head.seq.0 - 1),
        ..head
    };
    connect(&mut rig, vec![held], 1);
    assert_eq!(
        sent(&rig),
        [(1, head.seq.0), (1, head.seq.0 + 1)],
        "the last one, then `connected`"
    );
    rig.handle(Input::Frame(Frame::Ack(Ack {
        epoch: head.epoch,
        entries: Some(head.seq.next()),
        telemetry: None,
    })));
    assert_eq!(rig.agent.backlog_entries(), 0);
    rig.handle(Input::LinkDown {
        reason: "test".to_owned(),
    });
    rig.frames.clear();
    connect(&mut rig, vec![], 2);
    assert!(rig.log.contains(&"hub restored".to_owned()));
    assert_eq!(sent(&rig)[0], (1, 1), "from the beginning again");
}

#[test]
fn an_ack_of_another_epoch_says_nothing_of_the_present_one() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 1);
    let acked = |rig: &mut Rig, epoch| {
        rig.handle(Input::Frame(Frame::Ack(Ack {
            epoch,
            entries: Some(Seq(1)),
            telemetry: Some(Seq(1)),
        })));
        rig.agent.acked()
    };
    assert_eq!(acked(&mut rig, Epoch(7)), Seq(0));
    let present = rig.agent.head().epoch;
    assert_eq!(acked(&mut rig, present), Seq(1));
}

#[test]
fn another_bundle_of_the_same_generation_is_refused() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 1);
    let before = rig.agent.bundle().map(|(_, bundle)| bundle);
    let other = format!("{}\n# another text\n", BUNDLE);
    rig.handle(Input::Frame(Frame::Bundle(signed(1, &other))));
    assert_eq!(rig.agent.bundle().map(|(_, bundle)| bundle), before);
    let refused = rig.log.iter().any(|line| line == "refused bundle 1");
    assert!(refused, "{:?}", rig.log);
}

#[test]
fn a_hold_outlives_the_process() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 1);
    rig.handle(command(1, 1, Order::Hold));
    let holder = |rig: &Rig| rig.agent.status(rig.now).held_by;
    assert!(holder(&rig).is_some());
    let before = holder(&rig);
    rig.crash();
    assert_eq!(holder(&rig), before);
}

#[test]
fn a_hub_that_holds_more_means_that_this_is_an_old_copy() {
    let mut rig = Rig::new();
    let mut held = rig.agent.head();
    held.seq.0 += 5;
    connect(&mut rig, vec![held], 1);
    assert_eq!(rig.agent.head().epoch, Epoch(2));
    assert_eq!(rig.log, ["disconnect", "gap: epoch 1"]);
    rig.crash();
    assert_eq!(rig.agent.head().epoch, Epoch(2));
    rig.frames.clear();
    connect(&mut rig, vec![held], 1);
    assert_eq!(sent(&rig)[0], (2, 1), "nothing of the first epoch fits");
}

#[test]
fn a_welcome_for_the_old_epoch_does_not_end_the_new_one() {
    let mut rig = Rig::new();
    let mut held = rig.agent.head();
    held.seq.0 += 5;
    rig.disk = Disk::Hangs;
    rig.handle(Input::Local {
        request: 1,
        what: crate::LocalRequest::Order {
            who: "ana".to_owned(),
            reason: "test".to_owned(),
            what: Order::Hold,
        },
    });
    connect(&mut rig, vec![held], 1);
    rig.pass(400_000);
    rig.handle(Input::Tick);
    rig.frames.clear();
    rig.handle(Input::LinkUp);
    assert!(rig.frames.is_empty(), "no hello before the new epoch");
}

#[test]
fn a_command_is_applied_once_also_over_a_crash() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 3);
    rig.log.clear();
    rig.handle(command(1, 3, restart()));
    rig.handle(command(1, 3, restart()));
    rig.crash();
    connect(&mut rig, vec![], 3);
    rig.handle(command(1, 3, restart()));
    rig.handle(command(2, 2, restart()));
    assert_eq!(
        rig.log,
        ["decided allow restart", "act restart", "applied", "command fenced"]
    );
}

#[test]
fn a_step_of_a_plan_is_taken_once_and_its_decision_names_the_plan() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 3);
    rig.log.clear();
    let step = || {
        let Input::Frame(Frame::Command(command)) = command(1, 3, restart()) else {
            unreachable!("made so above");
        };
        let plan = PlanId([9; 16]);
        let step = PlanCommand {
            plan,
            step: 2,
            undo: false,
            brain: true,
            command,
        };
        Input::Frame(Frame::PlanCommand(step))
    };
    rig.handle(step());
    rig.handle(step());
    assert_eq!(rig.log, ["decided allow restart", "act restart", "applied"]);
    let named = rig.frames.iter().any(|frame| match frame {
        Frame::Entries(entries) => entries.raw.iter().any(|raw| {
            let origin = match RawEntry::from_bytes(raw.clone()).and_then(|raw| raw.decode()) {
                Ok(Entry {
                    body: EntryBody::Decided(decision),
                    ..
                }) => decision.inputs.origin,
                _ => return false,
            };
            matches!(
                origin,
                Origin::Plan {
                    plan: PlanId([9, ..]),
                    step: 2,
                    brain: true,
                    ..
                }
            )
        }),
        _ => false,
    });
    assert!(named, "{:?}", rig.frames);
}

#[test]
fn an_older_bundle_never_wins() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 1);
    let newer = signed(7, BUNDLE);
    for bundle in [signed(7, BUNDLE), signed(5, BUNDLE), newer.clone()] {
        rig.handle(Input::Frame(Frame::Bundle(bundle)));
    }
    assert_eq!(rig.log, ["bundle 7", "refused bundle 5"]);
    rig.journal.marks = None;
    rig.journal.bundle = None;
    rig.crash();
    assert!(rig.agent.bundle().is_none());
    connect(&mut rig, vec![], 1);
    rig.log.clear();
    rig.handle(Input::Frame(Frame::Bundle(signed(5, BUNDLE))));
    rig.handle(Input::Frame(Frame::Bundle(newer)));
    assert_eq!(rig.log, ["refused bundle 5", "bundle 7", "authority full"]);
}

#[test]
fn a_bundle_that_overtakes_the_welcome_counts() {
    let mut rig = Rig::new();
    rig.pass(400_000);
    rig.handle(Input::Tick);
    rig.handle(Input::LinkUp);
    rig.handle(Input::Frame(Frame::Bundle(signed(2, BUNDLE))));
    assert_eq!(rig.log, ["bundle 2"]);
}

#[test]
fn an_unsigned_bundle_is_refused_once() {
    let mut rig = Rig::new();
    connect(&mut rig, vec![], 1);
    let mut forged = signed(9, BUNDLE);
    forged.signatures.clear();
    for _ in 0..3 {
        rig.handle(Input::Frame(Frame::Bundle(forged.clone())));
    }
    assert_eq!(rig.log, ["refused bundle 0"]);
}

#[test]
fn authority_falls_with_the_age_of_the_policy_and_protection_stays() {
    check(
        "wait 21600 | wait 237600 | wait 2332800 | hot 3",
        "authority reversible | authority protective | authority observe | decided allow power_cap | act power_cap | applied",
    );
}

#[test]
fn a_wall_clock_that_jumps_years_is_an_entry_and_nothing_else() {
    let mut rig = Rig::new();
    rig.now.wall.0 -= 10 * 31_536_000_000;
    rig.live(4, 90, 100);
    assert_eq!(
        rig.log,
        ["clock stepped", "decided allow power_cap", "act power_cap", "applied"]
    );
}

#[test]
fn a_person_is_answered_when_it_is_durable_or_cannot_be() {
    check("hold | release | release", "held | done | released | done | refused");
    check("disk fails | hold", "refused");
    check("disk hangs | hold | wait 2", "refused");
}

#[test]
fn a_full_disk_costs_telemetry_first_and_says_so() {
    check(
        "cool 1 | disk is full | cool 12 | disk works | wait 10",
        "gap: blocks 1-1",
    );
}

#[test]
fn a_lost_journal_is_a_new_epoch() {
    let mut rig = Rig::new();
    rig.journal.entries.clear();
    rig.journal.marks = None;
    rig.crash();
    // The copy of the bundle protects at once.
    assert_eq!(rig.log, ["gap: epoch 1", "bundle 1"]);
    assert_eq!(rig.agent.head().epoch, Epoch(2));
}

#[derive(Debug, Clone)]
enum Step {
    Live(i64, i64),
    Disk(u8),
    Commit,
    Fail,
    Done(bool),
    Crash,
    Command(u8),
    Hold,
    Release,
    Connect,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (50i64..100, 50i64..400).prop_map(|(c, m)| Step::Live(c, m)),
        1 => (0u8..4).prop_map(Step::Disk),
        2 => Just(Step::Commit),
        1 => Just(Step::Fail),
        2 => any::<bool>().prop_map(Step::Done),
        1 => Just(Step::Crash),
        1 => (0u8..8).prop_map(Step::Command),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
        1 => Just(Step::Connect),
        1 => (1u64..100).prop_map(Step::Wait),
    ]
}

/// Actions that started without their decision being durable, and those that started twice.
fn faults(rig: &Rig, excused: &BTreeSet<DecisionId>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for run in &rig.acts {
        let place = (run.decision.epoch, run.decision.seq);
        let protective = run.action.kind.protective();
        let is_excused = protective && excused.contains(&run.decision);
        if !rig.journal.entries.contains_key(&place) && !is_excused {
            faults.push(format!("{run:?} has no record"));
        }
        // A place that never became durable may be used again after a crash.
        if !is_excused && !seen.insert(run.decision.clone()) && !protective {
            faults.push(format!("{run:?} started twice"));
        }
    }
    faults
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_completes_fails_or_crashes_every_action_has_its_record(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut rig = Rig::new();
        rig.auto_act = false;
        let mut excused = BTreeSet::new();
        for step in steps {
            let started = rig.acts.len();
            let was_ok = rig.agent.record.takes_entries();
            match step {
                Step::Live(celsius, mebibytes) => rig.live(1, celsius, mebibytes),
                Step::Disk(0) => rig.disk = Disk::Works,
                Step::Disk(1) => rig.disk = Disk::Fails,
                Step::Disk(2) => rig.disk = Disk::Full,
                Step::Disk(_) => rig.disk = Disk::Hangs,
                Step::Commit => if let Some(batch) = rig.hanging.pop_front() {
                    let token = batch.token;
                    rig.commit(batch);
                    rig.handle(Input::Appended { token, used_bytes: 0 });
                },
                Step::Fail => if let Some(batch) = rig.hanging.pop_front() {
                    let reason = AppendError::Io("test".to_owned());
                    rig.handle(Input::AppendFailed { token: batch.token, reason });
                },
                Step::Done(works) => { rig.finish_action(works); rig.settle(); }
                Step::Crash => {
                    // A batch on its way may or may not have made it.
                    if rig.now.mono.0.is_multiple_of(2) && let Some(batch) = rig.hanging.pop_front() {
                        rig.commit(batch);
                    }
                    rig.crash();
                }
                Step::Command(id) => rig.handle(command(id, 1, restart())),
                Step::Hold => rig.handle(command(200, 1, Order::Hold)),
                Step::Release => rig.handle(command(201, 1, Order::Release)),
                Step::Connect => connect(&mut rig, vec![], 1),
                Step::Wait(seconds) => {
                    rig.pass(seconds * 1_000);
                    rig.handle(Input::Tick);
                }
            }
            if !was_ok || !rig.agent.record.takes_entries() {
                excused.extend(rig.acts[started..].iter().map(|run| run.decision.clone()));
            }
            prop_assert_eq!(faults(&rig, &excused), Vec::<String>::new());
            for (epoch, seq) in sent(&rig) {
                prop_assert!(rig.journal.entries.contains_key(&(Epoch(epoch), Seq(seq))));
            }
        }
        // Healed: everything closes and all of it is one chain.
        rig.disk = Disk::Works;
        while let Some(batch) = rig.hanging.pop_front() {
            let token = batch.token;
            rig.commit(batch);
            rig.handle(Input::Appended { token, used_bytes: 0 });
        }
        rig.pass(40_000);
        rig.handle(Input::Tick);
        rig.auto_act = true;
        for _ in 0..200 { rig.finish_action(true); rig.settle(); }
        rig.pass(40_000);
        rig.handle(Input::Tick);
        prop_assert!(rig.agent.open_actions().is_empty(), "{:?}", rig.agent.open_actions());
        prop_assert_eq!(rig.agent.status(rig.now).unrecorded_actions, 0);
        let mut head = ChainHead::empty(Epoch(1));
        for raw in rig.journal.entries.values() {
            head = head.link(raw).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }
}
