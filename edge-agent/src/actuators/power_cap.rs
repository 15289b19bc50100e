//! Limits a GPU's power, or gives it its default limit back, through the GPU probe.
//!
//! The probe reads the limit back; a limit that reads back as something else is a failure, not a success.

use edge_agent_core::{ActionResult, ProbeResult, Run};
use firmware_profiles::Catalogue;
use wire::probe::{Ask, Reply};
use wire::reading::human;
use wire::{Action, ActionKind, Unit};

use super::Actuator;
use crate::probe::{Probe, ProbeError};

/// Makes one call to a probe.
pub trait Caller: Send + Sync {
    /// The answer, or why there is none.
    fn call(&self, ask: Ask) -> Result<Reply, ProbeError>;
}

impl Caller for Probe {
    fn call(&self, ask: Ask) -> Result<Reply, ProbeError> {
        Probe::call(self, ask)
    }
}

/// The probe as an actuator; `None` on a node without one.
pub struct PowerCap<C = Probe> {
    probe: Option<C>,
    profiles: Catalogue,
}

impl<C: Caller> PowerCap<C> {
    /// Sets through this probe, within these profiles.
    pub fn new(probe: Option<C>, profiles: Catalogue) -> Self {
        Self { probe, profiles }
    }

    fn call(&self, ask: Ask) -> Result<Reply, String> {
        let probe = self.probe.as_ref().ok_or("this node has no GPU probe")?;
        probe.call(ask).map_err(|error| error.to_string())
    }

    /// What sets a GPU's own limit again, and the limit then: its default, within its profile.
    fn release(&self, gpu: u32) -> Result<(Ask, u32), String> {
        let Reply::Hello { gpus, .. } = self.call(Ask::Hello)? else {
            return Err("the probe did not answer a greeting with one".to_owned());
        };
        let info = gpus
            .get(gpu as usize)
            .ok_or_else(|| format!("the probe knows no gpu{gpu}"))?;
        let default = info.default_power_cap_mw;
        let milliwatts = self.profiles.released_cap_mw(&info.model, default);
        let ask = match milliwatts == default {
            true => Ask::ResetPowerCap { gpu },
            false => Ask::SetPowerCap { gpu, milliwatts },
        };
        Ok((ask, milliwatts))
    }

    /// Which GPU, what to ask of it, and the limit that should be in force then.
    fn wanted(&self, run: &Run) -> Result<(u32, Ask, u32), String> {
        let gpu = run
            .action
            .target
            .name()
            .parse()
            .map_err(|_| format!("{} is not a GPU", run.action.target))?;
        match &run.action.kind {
            &ActionKind::PowerCap { milliwatts } => Ok((gpu, Ask::SetPowerCap { gpu, milliwatts }, milliwatts)),
            ActionKind::ReleasePowerCap => self.release(gpu).map(|(ask, milliwatts)| (gpu, ask, milliwatts)),
            other => Err(format!("`{}` is not a power limit", other.name())),
        }
    }

    fn try_apply(&self, run: &Run) -> Result<ActionResult, String> {
        let (_, ask, wanted) = self.wanted(run)?;
        match self.call(ask)? {
            Reply::PowerCap { before, after } if after == wanted => Ok(ActionResult::Applied {
                before: Some(i64::from(before)),
                after: Some(i64::from(after)),
                detail: format!("power cap {} reads back", watts(after)),
            }),
            Reply::PowerCap { after, .. } => Err(format!(
                "the power cap reads back as {}, wanted was {}",
                watts(after),
                watts(wanted)
            )),
            other => Err(unexpected(&other)),
        }
    }

    fn try_probe(&self, run: &Run) -> Result<ProbeResult, String> {
        let (gpu, _, wanted) = self.wanted(run)?;
        let Reply::Read(gpus) = self.call(Ask::Read)? else {
            return Err("the probe did not answer a reading with one".to_owned());
        };
        let values = gpus
            .into_iter()
            .nth(gpu as usize)
            .ok_or_else(|| format!("the probe knows no gpu{gpu}"))??;
        let value = values.power_cap_mw;
        Ok(match value {
            None => return Err(format!("gpu{gpu} does not tell its power cap")),
            Some(found) if found == i64::from(wanted) => ProbeResult::Done { value },
            Some(_) => ProbeResult::NotDone { value },
        })
    }
}

impl<C: Caller> Actuator for PowerCap<C> {
    fn handles(&self, action: &Action) -> bool {
        matches!(action.kind, ActionKind::PowerCap { .. } | ActionKind::ReleasePowerCap)
    }

    fn apply(&self, run: &Run) -> ActionResult {
        self.try_apply(run)
            .unwrap_or_else(|reason| ActionResult::Failed { reason })
    }

    fn probe(&self, run: &Run) -> ProbeResult {
        self.try_probe(run)
            .unwrap_or_else(|reason| ProbeResult::Unknown { reason })
    }
}

fn watts(milliwatts: u32) -> String {
    human(i64::from(milliwatts), Unit::Milliwatt)
}

fn unexpected(reply: &Reply) -> String {
    format!("the probe answered something else: {reply:?}")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use wire::probe::{GpuInfo, GpuValues};
    use wire::{Action, AgentId, DecisionId, DeviceId, Epoch, Seq};

    use super::*;

    /// A GPU that takes at least 150 W, whatever it is told.
    struct Card {
        model: &'static str,
        default_mw: u32,
        cap_mw: Mutex<u32>,
    }

    impl Card {
        fn new(model: &'static str, default_mw: u32) -> Self {
            Self {
                model,
                default_mw,
                cap_mw: Mutex::new(default_mw),
            }
        }
    }

    impl Caller for Card {
        fn call(&self, ask: Ask) -> Result<Reply, ProbeError> {
            let mut cap = self.cap_mw.lock().expect("whole");
            let before = *cap;
            Ok(match ask {
                Ask::Hello => Reply::Hello {
                    version: 1,
                    driver: String::new(),
                    simulated: true,
                    gpus: vec![GpuInfo {
                        uuid: String::new(),
                        model: self.model.to_owned(),
                        min_power_cap_mw: 100_000,
                        max_power_cap_mw: self.default_mw,
                        default_power_cap_mw: self.default_mw,
                    }],
                },
                Ask::Read => Reply::Read(vec![Ok(GpuValues {
                    power_cap_mw: Some(i64::from(before)),
                    ..GpuValues::default()
                })]),
                Ask::SetPowerCap { milliwatts, .. } => {
                    *cap = milliwatts.max(150_000);
                    Reply::PowerCap { before, after: *cap }
                }
                Ask::ResetPowerCap { .. } => {
                    *cap = self.default_mw;
                    Reply::PowerCap { before, after: *cap }
                }
                other @ (Ask::Describe | Ask::Measure { .. } | Ask::Write { .. } | Ask::Clients { .. }) => {
                    Reply::Failed {
                        reason: format!("{other:?} is not about a power limit"),
                    }
                }
            })
        }
    }

    fn run(target: &str, kind: ActionKind) -> Run {
        Run {
            decision: DecisionId {
                agent: AgentId::new("a").expect("valid"),
                epoch: Epoch(1),
                seq: Seq(1),
            },
            action: Action {
                target: DeviceId::new(target).expect("valid"),
                kind,
            },
        }
    }

    fn cap(watts: u32) -> ActionKind {
        ActionKind::PowerCap {
            milliwatts: watts * 1_000,
        }
    }

    #[test]
    fn a_cap_is_read_back_and_twice_is_once() {
        let actuator = PowerCap::new(Some(Card::new("a card", 350_000)), Catalogue::default());
        for before in [350_000, 220_000] {
            match actuator.apply(&run("gpu0", cap(220))) {
                ActionResult::Applied {
                    before: found, after, ..
                } => {
                    assert_eq!((found, after), (Some(before), Some(220_000)));
                }
                failed => panic!("{failed:?}"),
            }
        }
        assert_eq!(
            actuator.probe(&run("gpu0", cap(220))),
            ProbeResult::Done { value: Some(220_000) }
        );
        let release = run("gpu0", ActionKind::ReleasePowerCap);
        assert_eq!(actuator.probe(&release), ProbeResult::NotDone { value: Some(220_000) });
        assert!(matches!(
            actuator.apply(&release),
            ActionResult::Applied {
                after: Some(350_000),
                ..
            }
        ));
        assert_eq!(actuator.probe(&release), ProbeResult::Done { value: Some(350_000) });
    }

    #[test]
    fn what_is_given_back_stays_within_the_profile() {
        let check = |model: &'static str, default_mw: u32, expected: i64| {
            let actuator = PowerCap::new(Some(Card::new(model, default_mw)), Catalogue::default());
            let release = run("gpu0", ActionKind::ReleasePowerCap);
            actuator.apply(&run("gpu0", cap(220)));
            let applied = actuator.apply(&release);
            let is_it = matches!(applied, ActionResult::Applied { after, .. } if after == Some(expected));
            assert!(is_it, "{model} {default_mw}: {applied:?}");
            let probed = actuator.probe(&release);
            assert_eq!(probed, ProbeResult::Done { value: Some(expected) });
        };
        check("NVIDIA L40S", 300_000, 300_000);
        check("NVIDIA L40S", 600_000, 350_000);
        check("a model of next year", 600_000, 600_000);
    }

    #[test]
    fn a_cap_that_reads_back_as_another_is_a_failure() {
        let actuator = PowerCap::new(Some(Card::new("a card", 350_000)), Catalogue::default());
        for (target, kind, part) in [
            ("gpu0", cap(120), "reads back as 150 W"),
            ("gpu7", ActionKind::ReleasePowerCap, "no gpu7"),
            ("node", cap(200), "not a GPU"),
        ] {
            match actuator.apply(&run(target, kind)) {
                ActionResult::Failed { reason } => assert!(reason.contains(part), "{reason}"),
                applied => panic!("{applied:?}"),
            }
        }
        let none = PowerCap::<Card>::new(None, Catalogue::default());
        assert!(matches!(
            none.apply(&run("gpu0", cap(200))),
            ActionResult::Failed { .. }
        ));
        assert!(matches!(
            none.probe(&run("gpu0", cap(200))),
            ProbeResult::Unknown { .. }
        ));
    }
}
