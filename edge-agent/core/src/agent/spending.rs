//! What an agent spends and what its GPUs may draw: metered and added up by itself, and what rules then let it give back.

use wire::entry::EntryBody;
use wire::frame::{DeviceInfo, Order};
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::{Action, ActionKind, Decision};

use crate::testing::Rig;
use crate::{Input, LocalRequest};

/// A joule costs a millionth; a release is asked for by people, and the way back is not.
const CEILING: &str = "
bundle: spending
meters:
  - { id: gpu-energy, quantity: gpu.power, price_micros_per_kwh: 3600000 }
rules:
  - { id: hour, kind: cost_ceiling, scope: gpu-energy, currency: EUR, ceiling_micros: 1000000, soft_bp: 10000, window: 1 h, selector: { kinds: [release_power_cap] } }
";
const BUDGET: &str = "
bundle: budget
rules:
  - { id: node-power, kind: quota, scope: node, nominal: { power_mw: 600000 }, selector: { kinds: [release_power_cap] } }
";

fn devices() -> Input {
    let device = |index| DeviceInfo {
        id: DeviceId::gpu(index),
        model: "test".to_owned(),
        simulated: true,
        power_cap_range_mw: Some((100_000, 350_000)),
    };
    Input::Devices(vec![device(0), device(1)])
}

/// One round: for each GPU its power and its limit, in watts.
fn round(rig: &mut Rig, gpus: &[(i64, i64)]) {
    rig.pass(1_000);
    let mut readings = Vec::new();
    for (index, (power, cap)) in (0u32..).zip(gpus) {
        for (quantity, watts) in [(Quantity::GpuPower, power), (Quantity::GpuPowerCap, cap)] {
            readings.push(Reading {
                series: Series::new(DeviceId::gpu(index), quantity),
                value: Some(watts * 1_000),
            });
        }
    }
    rig.handle(Input::Readings(readings));
}

fn release(rig: &mut Rig, gpu: u32) {
    rig.handle(Input::Local {
        request: 9,
        what: LocalRequest::Order {
            who: "ana".to_owned(),
            reason: "test".to_owned(),
            what: Order::Act(Action {
                target: DeviceId::gpu(gpu),
                kind: ActionKind::ReleasePowerCap,
            }),
        },
    });
}

/// The latest decision that is durable.
fn latest(rig: &Rig) -> (wire::DecisionId, wire::Now, Decision) {
    let decided = rig.journal.entries.iter().rev().find_map(|((epoch, seq), raw)| {
        let entry = raw.decode().expect("our own bytes");
        let id = wire::DecisionId {
            agent: crate::testing::settings().agent,
            epoch: *epoch,
            seq: *seq,
        };
        match entry.body {
            EntryBody::Decided(decision) => Some((id, entry.at, *decision)),
            _ => None,
        }
    });
    decided.expect("something was decided")
}

/// Asks for a release; the verdict, and what people are told of it. Judged again, it is the same.
fn told(rig: &mut Rig, gpu: u32) -> String {
    release(rig, gpu);
    let (id, at, decision) = latest(rig);
    let (signed, _) = rig.agent.bundle().expect("it judges by one");
    let text = signed.peek().expect("our own bytes").text;
    let bundle = policy::Bundle::parse_signed(&text).expect("it was accepted");
    assert_eq!(policy::judge(&bundle, &decision.inputs), decision.judgement);
    policy::explain(&id, at, &decision, &[])
}

fn expect(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
}

#[test]
fn an_agent_alone_gives_no_power_back_that_its_energy_budget_does_not_bear() {
    let mut rig = Rig::under(CEILING);
    rig.handle(devices());
    round(&mut rig, &[(100, 200), (20, 350)]);
    expect(
        &told(&mut rig, 7),
        &[
            "hold by \"hour\"",
            "would pass with change by this of the projected cost",
        ],
    );
    // 120 W and 150 W more for an hour.
    let text = told(&mut rig, 0);
    expect(
        &text,
        &["projected cost of gpu-energy at 3.60 EUR per kWh", "972000 <= 1000000"],
    );
    assert!(!text.contains("would pass"), "{text}");
    for _ in 0..1_799 {
        round(&mut rig, &[(556, 200), (0, 350)]);
    }
    round(&mut rig, &[(1, 349), (1, 350)]);
    let spent = "1000364 <= 1000000";
    let denied = ["deny by \"hour\"", spent, "would pass if projected cost of gpu-energy"];
    expect(&told(&mut rig, 0), &denied);
    rig.step("crash");
    rig.handle(devices());
    // The first reading after a restart is awaited: nobody knows what the limit is.
    expect(&told(&mut rig, 0), &["hold by \"hour\""]);
    round(&mut rig, &[(1, 349), (1, 350)]);
    let text = told(&mut rig, 0);
    expect(
        &text,
        &["deny by \"hour\"", "would pass if projected cost of gpu-energy"],
    );
    rig.log.clear();
    // What stands in the way is what was spent in the hour, not what is used now.
    for _ in 0..2 * 3_600 {
        round(&mut rig, &[(1, 349), (1, 350)]);
    }
    release(&mut rig, 0);
    let story: Vec<_> = rig.log.iter().filter(|line| line.contains("release")).collect();
    assert_eq!(story, ["decided allow release_power_cap", "act release_power_cap"]);
}

#[test]
fn an_agent_alone_keeps_its_gpus_within_the_power_of_its_node() {
    let mut rig = Rig::under(BUDGET);
    rig.handle(devices());
    expect(&told(&mut rig, 0), &["hold by \"node-power\""]);
    round(&mut rig, &[(1, 250)]);
    // The other one was heard of, and may draw anything.
    expect(
        &told(&mut rig, 0),
        &[
            "hold by \"node-power\"",
            "would pass if power_mw of node with this <= 600 W",
        ],
    );
    round(&mut rig, &[(1, 250), (1, 250)]);
    expect(
        &told(&mut rig, 0),
        &["power_mw of node with this <= 600 W", "600 W <= 600 W"],
    );
    // Granted and not seen yet: both at once would be too much.
    let denied = ["deny by \"node-power\"", "700 W <= 600 W"];
    expect(&told(&mut rig, 1), &denied);
    rig.step("crash");
    rig.handle(devices());
    round(&mut rig, &[(1, 250), (1, 250)]);
    expect(&told(&mut rig, 1), &denied);
    for _ in 0..60 {
        round(&mut rig, &[(1, 350), (1, 250)]);
    }
    expect(&told(&mut rig, 1), &denied);
    round(&mut rig, &[(1, 150), (1, 250)]);
    expect(&told(&mut rig, 1), &["500 W <= 600 W"]);
}
