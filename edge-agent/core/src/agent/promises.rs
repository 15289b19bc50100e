//! Promises that an agent keeps by itself: what its own readings say of indicators, and what rules then let it do.

use std::time::Duration;

use wire::frame::Order;
use wire::reading::DeviceId;
use wire::{Action, ActionKind};

use crate::Input;
use crate::testing::Rig;

/// Plays a script under a bundle with an indicator and these rules besides one that restarts a leaking workload; expects the story.
fn promises(rules: &str, script: &str, story: &str) {
    let text = format!(
        "
bundle: promises
indicators:
  - {{ id: gpu-cool, quantity: gpu.temperature, good: {{ below: 85 °C }}, target: 99.9 % }}
rules:
  - {{ id: leak, kind: threshold, quantity: workload.memory, above: 200 MiB, then: {{ action: restart }} }}
{rules}"
    );
    let mut rig = Rig::under(&text);
    for step in script.split(" | ") {
        rig.step(step);
    }
    assert_eq!(rig.log.join(" | "), story, "after `{script}` under {rules}");
}

#[test]
fn an_agent_alone_sees_its_promise_being_used_up_and_stops_interrupting() {
    const RULE: &str = "  - { id: promise, kind: sla, service: gpu-cool, target: 99.9 %, period: 1 d, lasts: 30 s }";
    const RAN: &str = "decided allow restart | act restart | applied";
    promises(RULE, "cool 5 | leak 1", RAN);
    // A day may lose 86 s: after 30 s of heat a restart is half of what is left, after 60 s it is more.
    promises(RULE, "hot 30 | leak 1", "decided require_approval restart");
    promises(RULE, "hot 60 | leak 1", "decided deny restart");
    promises(RULE, "hot 60 | cool 12 | crash | leak 1", "decided deny restart");
    // Nobody says how long it lasts.
    promises(
        &RULE.replace(", lasts: 30 s", ""),
        "cool 5 | leak 1",
        "decided hold restart",
    );
}

#[test]
fn an_agent_alone_holds_what_is_risky_while_its_budget_burns() {
    const RULE: &str = "  - { id: calm, kind: slo_burn, sli: gpu-cool, from: low }";
    const RAN: &str = "decided allow restart | act restart | applied";
    promises(RULE, "cool 60 | leak 1", RAN);
    promises(RULE, "cool 60 | hot 5 | cool 60 | leak 1", "decided hold restart");
    promises(
        RULE,
        "cool 60 | hot 5 | cool 60 | crash | leak 1",
        "decided hold restart",
    );
    // Restarts are of a low class, which the rule leaves alone by itself.
    promises(
        &RULE.replace(", from: low", ""),
        "cool 60 | hot 5 | cool 60 | leak 1",
        RAN,
    );
}

#[test]
fn an_agent_whose_sensors_fall_silent_knows_nothing_any_more() {
    let restart = |rig: &mut Rig| {
        rig.handle(Input::Local {
            request: 9,
            what: crate::LocalRequest::Order {
                who: "ana".to_owned(),
                reason: "test".to_owned(),
                what: Order::Act(Action {
                    target: DeviceId::workload("job").expect("a name"),
                    kind: ActionKind::Restart,
                }),
            },
        });
    };
    let text = "
bundle: promises
indicators: { id: gpu-cool, quantity: gpu.temperature, good: { below: 85 °C }, target: 99.9 % }
rules: { id: promise, kind: sla, service: gpu-cool, target: 99.9 %, lasts: 30 s }
";
    let mut rig = Rig::under(text);
    rig.live(5, 60, 100);
    let silent_in = rig.agent.poll_timeout(rig.now);
    assert!(
        silent_in.is_some_and(|wait| wait <= Duration::from_secs(30)),
        "{silent_in:?}"
    );
    rig.log.clear();
    rig.pass(29_000);
    restart(&mut rig);
    rig.pass(1_000);
    restart(&mut rig);
    let decided: Vec<_> = rig.log.iter().filter(|line| line.starts_with("decided")).collect();
    assert_eq!(decided, ["decided allow restart", "decided hold restart"]);
}
