//! Climbs the ladder: what it wants becomes actions, judged and recorded like any other, and what became of them goes back to it.
//!
//! Only where the node's settings say so; else faults are told with their next step, and nothing is done by itself. A step may be two
//! actions, drain before reset, and the second begins when the first was applied. Decides nothing about faults.
//!
//! Invariant: no action of the ladder begins that policy did not grant, and the next of a step never before the one before it was applied.
//! Read next: `ladder.rs` (what is wanted), `actions.rs` (how an action runs).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use policy::Want;
use wire::fault::{NextStep, Severity};
use wire::ids::DecisionId;
use wire::reading::{Quantity, Reading};
use wire::time::{Mono, Now};
use wire::{Action, ActionKind, DeviceId, Origin, Outcome, OutcomeState};

use super::gpu;
use super::ladder::{Rung, Step, demand};
use super::{Fault, Place};
use crate::agent::Agent;

/// A step that policy refused is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(15 * 60);
/// A device that answers for this long after a step, and of which nothing bad is heard, is well.
const SETTLED: Duration = Duration::from_secs(60);

/// A step under way.
#[derive(Debug)]
struct Remedy {
    device: DeviceId,
    code: String,
    /// The action that runs.
    decision: DecisionId,
    rest: VecDeque<Action>,
}

/// What the ladder needs to know besides faults, and what of it is under way. Nothing here outlives a crash: the ladder does.
#[derive(Debug, Default)]
pub(crate) struct Remedies {
    under_way: Vec<Remedy>,
    /// Outcomes of their actions, until the turn looks at them.
    ended: Vec<(DecisionId, OutcomeState)>,
    /// Devices of which the driver itself says that something is wrong.
    ill: BTreeSet<DeviceId>,
    /// What the driver wants done with a device.
    driver: BTreeMap<DeviceId, NextStep>,
    /// Devices that answered in the last round, and whether somebody uses them.
    answer: BTreeMap<DeviceId, bool>,
}

impl Agent {
    /// The ladder hears of a fault.
    pub(crate) fn climb(&mut self, fault: &Fault, now: Now) {
        if !self.settings.climbs {
            return;
        }
        let sighting = &fault.sighting;
        if gpu::CODES.contains(&sighting.code.as_str()) {
            self.remedies.ill.insert(fault.device.clone());
            if gpu::DRIVER_CODES.contains(&sighting.code.as_str()) {
                self.remedies.driver.insert(fault.device.clone(), sighting.next);
            }
        }
        // A place on the bus that no GPU has is nothing that could be reset.
        if matches!(sighting.place, Place::Pci(_)) && sighting.severity < Severity::Critical {
            return;
        }
        let said = self.remedies.driver.get(&fault.device).copied();
        let demand = demand(sighting.next, said);
        self.marks.ladder.saw(&fault.device, &sighting.code, demand, now.mono);
    }

    /// A device is well by its driver's own word.
    pub(crate) fn climb_down(&mut self, device: &DeviceId, now: Now) {
        self.remedies.ill.remove(device);
        self.remedies.driver.remove(device);
        self.marks.ladder.well(device, now.mono);
    }

    /// A round of readings tells which devices answer, and which are used.
    pub(crate) fn look_at_devices(&mut self, readings: &[Reading], now: Now) {
        if !self.settings.climbs || self.marks.ladder.is_empty() {
            return;
        }
        self.remedies.answer = BTreeMap::from([(DeviceId::node(), true)]);
        for reading in readings {
            let Some(value) = reading.value else { continue };
            let used = self.remedies.answer.entry(reading.series.device.clone()).or_default();
            *used |= matches!(reading.series.quantity, Quantity::GpuUsed | Quantity::GpuProcesses) && value > 0;
        }
        for (device, since) in self.marks.ladder.verifying() {
            let is_well = self.remedies.answer.contains_key(&device) && !self.remedies.ill.contains(&device);
            if is_well && now.mono.since(since) >= SETTLED {
                self.marks.ladder.well(&device, now.mono);
            }
        }
    }

    /// An action of the ladder has ended. The turn goes on with it.
    pub(crate) fn remedy_ended(&mut self, outcome: &Outcome) {
        self.remedies.ended.push((outcome.decision.clone(), outcome.state));
    }

    /// A person who lets work onto the node again has looked: a quarantine is over, and its faults are forgotten.
    pub(crate) fn person_did(&mut self, kind: &ActionKind, state: OutcomeState) {
        if *kind == ActionKind::Uncordon && state == OutcomeState::Applied {
            self.marks.ladder.clear();
        }
    }

    /// When the ladder wants a look.
    pub(crate) fn ladder_due(&self) -> Option<Mono> {
        self.marks.ladder.due().filter(|_| self.settings.climbs)
    }

    /// What every turn does: ends what has ended, and begins what is wanted.
    pub(crate) fn turn_ladder(&mut self, now: Now) {
        if !self.settings.climbs {
            return;
        }
        for (decision, state) in std::mem::take(&mut self.remedies.ended) {
            self.go_on(&decision, state, now);
        }
        if self.marks.ladder.is_empty() {
            return;
        }
        let over = self.marks.ladder.look(now.mono);
        if !over.is_empty() && self.marks.ladder.is_empty() {
            self.let_work_in(now);
        }
        let held = self.marks.held.is_some();
        loop {
            let answer = &self.remedies.answer;
            let idle = |device: &DeviceId| answer.get(device).is_some_and(|used| !used);
            let Some(step) = self.marks.ladder.next(held, idle, now.mono) else {
                return;
            };
            self.begin(step, now);
        }
    }

    fn begin(&mut self, step: Step, now: Now) {
        let mut rest = actions(&step);
        let Some(first) = rest.pop_front() else { return };
        let Step { device, code, rung } = step;
        match self.want(first, &code, now) {
            Some(decision) => {
                let remedy = Remedy {
                    device,
                    code,
                    decision,
                    rest,
                };
                self.remedies.under_way.push(remedy);
            }
            // A quarantine stands whether or not the node could be cordoned.
            None if rung == Rung::Quarantine => {}
            None => self.marks.ladder.refused(&device, now.mono + ASK_AGAIN),
        }
    }

    /// The decision, if it was granted.
    fn want(&mut self, action: Action, code: &str, now: Now) -> Option<DecisionId> {
        let want = Want {
            origin: Origin::Fault { code: code.to_owned() },
            action,
            readings: Vec::new(),
            rejected: Vec::new(),
            verify: None,
        };
        let decision = self.decide(want, None, now)?;
        let is_granted = self.marks.open.iter().any(|open| open.decision == decision);
        is_granted.then_some(decision)
    }

    fn go_on(&mut self, decision: &DecisionId, state: OutcomeState, now: Now) {
        let Some(at) = self.remedies.under_way.iter().position(|one| one.decision == *decision) else {
            return;
        };
        let mut remedy = self.remedies.under_way.remove(at);
        let worked = matches!(state, OutcomeState::Applied | OutcomeState::Verified);
        match remedy.rest.pop_front() {
            Some(next) if worked => match self.want(next, &remedy.code, now) {
                Some(decision) => {
                    remedy.decision = decision;
                    self.remedies.under_way.push(remedy);
                }
                None => self.marks.ladder.refused(&remedy.device, now.mono + ASK_AGAIN),
            },
            Some(_) | None => self.marks.ladder.done(&remedy.device, worked, now.mono),
        }
    }

    /// Nothing is to be done about any device any more.
    fn let_work_in(&mut self, now: Now) {
        let action = Action {
            target: DeviceId::node(),
            kind: ActionKind::Uncordon,
        };
        drop(self.want(action, "probation is over", now));
    }
}

/// What a step is made of.
fn actions(step: &Step) -> VecDeque<Action> {
    let node = |kind| Action {
        target: DeviceId::node(),
        kind,
    };
    let all = match step.rung {
        Rung::KeepAway | Rung::Quarantine => vec![node(ActionKind::Cordon)],
        // Whose work it was is not known here: people, and what runs it, are told.
        Rung::Restart => vec![node(ActionKind::Notify {
            message: format!("{}: start its work again, because of {}", step.device, step.code),
        })],
        Rung::Reset if step.device.class() == "gpu" => vec![
            node(ActionKind::Drain),
            Action {
                target: step.device.clone(),
                kind: ActionKind::ResetGpu,
            },
        ],
        // What is no GPU of this node cannot be reset from here, and the machine is not restarted for less than that.
        Rung::Reset => vec![
            node(ActionKind::Drain),
            node(ActionKind::Notify {
                message: format!("{}: reset it by hand, because of {}", step.device, step.code),
            }),
        ],
        Rung::Reboot => vec![node(ActionKind::Drain), node(ActionKind::Reboot)],
    };
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;
    use crate::faults::{Sighting, xid};
    use crate::testing::Rig;

    const PERMITS: &str =
        "bundle: ladder\npermits:\n  - kinds: [cordon, uncordon, drain, reset_gpu, reboot, notify]\nrules: []\n";

    fn rig(bundle: &str) -> Rig {
        let mut rig = Rig::under(bundle);
        rig.agent.settings.climbs = true;
        rig
    }

    fn xid(code: u32) -> Input {
        let known = xid::xid(code);
        Input::Fault(Fault {
            sighting: Sighting {
                place: Place::Device(DeviceId::gpu(0)),
                code: format!("xid {code}"),
                severity: known.severity,
                meaning: known.meaning,
                next: known.next,
                evidence: String::new(),
            },
            device: DeviceId::gpu(0),
            count: 1,
        })
    }

    fn acts(rig: &Rig) -> String {
        let acts = rig.log.iter().filter_map(|line| line.strip_prefix("act "));
        acts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_grave_fault_drains_and_resets_and_lets_work_in_after_probation() {
        let mut rig = rig(PERMITS);
        rig.handle(xid(95));
        assert_eq!(acts(&rig), "drain, reset_gpu");
        rig.live(70, 50, 100);
        rig.live(601, 50, 100);
        assert_eq!(acts(&rig), "drain, reset_gpu, uncordon");
        assert!(rig.agent.marks.ladder.is_empty());
    }

    #[test]
    fn without_the_setting_nothing_is_done_by_itself() {
        let mut rig = Rig::under(PERMITS);
        rig.handle(xid(95));
        assert_eq!(acts(&rig), "");
    }

    #[test]
    fn what_policy_does_not_permit_is_not_done() {
        let mut rig = rig(&PERMITS.replace(", reset_gpu, reboot", ""));
        rig.handle(xid(95));
        assert_eq!(acts(&rig), "drain");
        assert!(
            rig.log.iter().any(|line| line == "decided deny reset_gpu"),
            "{:?}",
            rig.log
        );
    }

    #[test]
    fn a_quarantine_is_told_until_a_person_lets_work_in() {
        let mut rig = rig(PERMITS);
        rig.handle(xid(54));
        assert_eq!(acts(&rig), "cordon");
        let told = rig.agent.findings();
        assert!(
            told.iter()
                .any(|text| text.contains("gpu0: quarantined because of xid 54")),
            "{told:?}"
        );
        rig.live(1_000, 50, 100);
        assert_eq!(acts(&rig), "cordon", "it does not end by itself");
        let uncordon = crate::LocalRequest::Order {
            who: "ann".to_owned(),
            reason: "the cable was loose".to_owned(),
            what: wire::frame::Order::Act(Action {
                target: DeviceId::node(),
                kind: ActionKind::Uncordon,
            }),
        };
        rig.handle(Input::Local {
            request: 1,
            what: uncordon,
        });
        assert_eq!(acts(&rig), "cordon, uncordon");
        assert!(rig.agent.marks.ladder.is_empty());
    }

    #[test]
    fn a_person_who_holds_the_node_is_not_overruled() {
        let mut rig = rig(PERMITS);
        rig.agent.marks.held = Some(crate::marks::Held {
            who: "ann".to_owned(),
            reason: "looks at it".to_owned(),
        });
        rig.handle(xid(95));
        assert_eq!(acts(&rig), "");
    }
}
