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
use wire::entry::Event;
use wire::fault::{NextStep, Severity};
use wire::ids::DecisionId;
use wire::reading::{Quantity, Reading};
use wire::time::{Mono, Now};
use wire::{Action, ActionKind, DeviceId, Origin, Outcome, OutcomeState};

use super::gpu;
use super::ladder::{Rung, Step, demand};
use super::users::{Picture, Users};
use super::{Fault, Place};
use crate::agent::Agent;

/// A step that policy refused is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(15 * 60);
/// Kinds of faults of which it is remembered that driver and catalogue disagree: a node has few GPUs, and each few faults.
const MOST_DISAGREED: usize = 64;
/// A device that answers for this long after a step, and of which nothing bad is heard, is well.
const SETTLED: Duration = Duration::from_secs(60);

/// A step under way.
#[derive(Debug)]
struct Remedy {
    /// The device that it is for, and others that the same work meets the same fault on.
    devices: Vec<DeviceId>,
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
    pub(crate) users: Users,
    /// Where driver and catalogue were heard to say different things: device and code.
    disagreed: BTreeSet<(DeviceId, String)>,
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
        if let Some(said) = said.filter(|_| demand.disagree) {
            self.tell_disagreement(fault, said, now);
        }
        self.marks.ladder.saw(&fault.device, &sighting.code, demand, now.mono);
    }

    /// Driver and catalogue say different things: people hear of it once for each kind of fault.
    fn tell_disagreement(&mut self, fault: &Fault, said: NextStep, now: Now) {
        let key = (fault.device.clone(), fault.sighting.code.clone());
        if self.remedies.disagreed.len() >= MOST_DISAGREED || !self.remedies.disagreed.insert(key) {
            return;
        }
        let message = format!(
            "{}: of {} the catalogue says: {}; its driver says: {}, and that counts",
            fault.device,
            fault.sighting.code,
            fault.sighting.next.advice(),
            said.advice()
        );
        self.push_event(Event::Notified { message }, now);
    }

    /// How many kinds of faults driver and catalogue were heard to judge differently.
    pub fn disagreements(&self) -> usize {
        self.remedies.disagreed.len()
    }

    /// Who works on which device, as of now.
    pub(crate) fn on_users(&mut self, picture: Picture, now: Now) {
        self.remedies.users.set(picture, now.mono);
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
        let users = self.remedies.users.of(&step.device, now.mono);
        let mut rest = actions(&step, &users);
        let Some(first) = rest.pop_front() else { return };
        let Step { device, code, rung } = step;
        match self.want(first, &code, now) {
            Some(decision) => {
                let mut devices = vec![device];
                if rung == Rung::Restart {
                    devices.extend(self.join(&users, now));
                }
                let remedy = Remedy {
                    devices,
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

    /// Other devices whose work is started again by the same step: one job that meets a fault on eight GPUs is started again once.
    fn join(&mut self, users: &BTreeSet<DeviceId>, now: Now) -> Vec<DeviceId> {
        let mut waiting = self.marks.ladder.wanted(Rung::Restart);
        waiting.retain(|device| {
            let own = self.remedies.users.of(device, now.mono);
            !own.is_empty() && own.is_subset(users)
        });
        for device in &waiting {
            self.marks.ladder.join(device, now.mono);
        }
        waiting
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
                None => {
                    for device in &remedy.devices {
                        self.marks.ladder.refused(device, now.mono + ASK_AGAIN);
                    }
                }
            },
            Some(_) | None => {
                for device in &remedy.devices {
                    self.marks.ladder.done(device, worked, now.mono);
                }
            }
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

/// What a step is made of. `users` are the workloads that use its device.
fn actions(step: &Step, users: &BTreeSet<DeviceId>) -> VecDeque<Action> {
    let node = |kind| Action {
        target: DeviceId::node(),
        kind,
    };
    let restart = |workload: &DeviceId| Action {
        target: workload.clone(),
        kind: ActionKind::Restart,
    };
    let all = match step.rung {
        Rung::KeepAway | Rung::Quarantine => vec![node(ActionKind::Cordon)],
        Rung::Restart if !users.is_empty() => users.iter().map(restart).collect(),
        // None of the node's own workloads was seen there: people, and what runs it, are told.
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

    const PERMITS: &str = "bundle: ladder\npermits:\n  - kinds: [cordon, uncordon, drain, reset_gpu, reboot, restart, notify]\nrules: []\n";

    fn rig(bundle: &str) -> Rig {
        let mut rig = Rig::under(bundle);
        rig.agent.settings.climbs = true;
        rig
    }

    fn xid(code: u32) -> Input {
        xid_on(0, code)
    }

    fn xid_on(gpu: u32, code: u32) -> Input {
        let known = xid::xid(code);
        Input::Fault(Fault {
            sighting: Sighting {
                place: Place::Device(DeviceId::gpu(gpu)),
                code: format!("xid {code}"),
                severity: known.severity,
                meaning: known.meaning,
                next: known.next,
                evidence: String::new(),
            },
            device: DeviceId::gpu(gpu),
            count: 1,
        })
    }

    /// `0 train`: the workload `train` uses gpu0.
    fn used(by: &[(u32, &str)]) -> Input {
        let mut picture = Picture::new();
        for (gpu, name) in by {
            let workload = DeviceId::workload(name).expect("a name");
            picture.entry(DeviceId::gpu(*gpu)).or_default().insert(workload);
        }
        Input::Users(picture)
    }

    fn targets(rig: &Rig) -> String {
        let acts = rig
            .acts
            .iter()
            .map(|run| format!("{} {}", run.action.kind.name(), run.action.target));
        acts.collect::<Vec<_>>().join(", ")
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
    fn the_work_that_uses_the_device_is_started_again_and_no_other() {
        let mut rig = rig(PERMITS);
        rig.handle(used(&[(0, "train"), (1, "serve")]));
        rig.handle(xid(13));
        assert_eq!(targets(&rig), "restart workload:train");
        // The fault has ended its process, and the next fault comes a day later on the other GPU.
        rig.live(800, 50, 100);
        assert!(rig.agent.marks.ladder.is_empty());
        rig.handle(used(&[(1, "serve")]));
        rig.handle(xid_on(1, 13));
        assert_eq!(
            targets(&rig),
            "restart workload:train, uncordon node, restart workload:serve"
        );
    }

    #[test]
    fn work_that_the_fault_has_ended_is_still_known() {
        let mut rig = rig(PERMITS);
        rig.handle(used(&[(0, "train")]));
        rig.handle(used(&[]));
        rig.handle(xid(13));
        assert_eq!(targets(&rig), "restart workload:train");
    }

    #[test]
    fn nobodys_work_is_told_to_people() {
        let mut rig = rig(PERMITS);
        rig.handle(xid(13));
        assert_eq!(targets(&rig), "notify node");
    }

    #[test]
    fn one_job_on_several_devices_is_started_again_once() {
        let mut rig = rig(PERMITS);
        rig.handle(used(&[(0, "train"), (1, "train"), (2, "train"), (2, "serve")]));
        // While somebody holds the node, all of them are seen before anything is done.
        rig.agent.marks.held = Some(crate::marks::Held {
            who: "ann".to_owned(),
            reason: "looks at it".to_owned(),
        });
        for gpu in 0..3 {
            rig.handle(xid_on(gpu, 13));
        }
        assert_eq!(targets(&rig), "");
        rig.agent.marks.held = None;
        rig.handle(Input::Tick);
        assert_eq!(targets(&rig), "restart workload:train");
        rig.live(70, 50, 100);
        rig.handle(xid_on(1, 13));
        let second = rig.agent.marks.ladder.phase(&DeviceId::gpu(1)).map(|(rung, _)| rung);
        assert_eq!(
            second,
            Some(Rung::Reset),
            "a fault in probation is one that was not cured"
        );
    }

    #[test]
    fn what_driver_and_catalogue_see_differently_is_told_once_and_the_drivers_word_counts() {
        let mut rig = rig(PERMITS);
        let driver = |next| {
            Input::Fault(Fault {
                sighting: Sighting {
                    place: Place::Device(DeviceId::gpu(0)),
                    code: gpu::DRIVER_CODES[0].to_owned(),
                    severity: Severity::High,
                    meaning: "the driver wants it",
                    next,
                    evidence: String::new(),
                },
                device: DeviceId::gpu(0),
                count: 1,
            })
        };
        rig.handle(driver(NextStep::DrainAndReboot));
        rig.handle(xid(95));
        rig.handle(xid(95));
        assert_eq!(rig.agent.disagreements(), 1);
        let (agent, entries) = (&rig.agent.settings.agent, &rig.journal.entries);
        let texts = entries
            .iter()
            .filter_map(|((epoch, _), raw)| wire::view::entry_view(agent, *epoch, raw).ok());
        let told: Vec<String> = texts
            .map(|view| view.text)
            .filter(|text| text.contains("catalogue"))
            .collect();
        assert_eq!(
            told,
            [
                "notice: gpu0: of xid 95 the catalogue says: move its work away, then reset the GPU; its driver says: \
                 move the node's work away, then restart the machine, and that counts"
            ]
        );
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
