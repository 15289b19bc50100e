//! What the node consists of, and what each device may be asked for.
//!
//! What a device says of itself counts within the profile of its model, so that neither a broken driver nor a wrong name widens what may
//! be asked of it. Decides nothing else.
//!
//! Invariant: beyond this file nothing knows of a power cap outside of a device's profile.
//!
//! Read next: `firmware-profiles`, `policy/src/judge.rs` (who refuses and clamps by the range).

use wire::frame::DeviceInfo;
use wire::reading::{Unit, human};

use crate::agent::Agent;

impl Agent {
    /// What devices say of themselves counts within their profiles; from here on nothing knows of more.
    pub(crate) fn on_devices(&mut self, mut devices: Vec<DeviceInfo>) {
        for device in &mut devices {
            let Some(accepts) = device.power_cap_range_mw else {
                self.note_trouble(device.id.as_str(), None);
                continue;
            };
            let (min, max) = self.settings.profiles.power_caps_mw(&device.model, accepts);
            device.power_cap_range_mw = Some((min, max));
            let why = (min > max).then(|| {
                let watts = |mw: u32| human(i64::from(mw), Unit::Milliwatt);
                let range = format!("{}..={}", watts(accepts.0), watts(accepts.1));
                format!(
                    "{} says it takes power caps of {range}, which no {} does",
                    device.id, device.model
                )
            });
            self.note_trouble(device.id.as_str(), why);
        }
        for former in &self.devices {
            if !devices.iter().any(|device| device.id == former.id) {
                let why = format!("{}, {}, is no longer there", former.id, former.model);
                self.domains.trouble.insert(former.id.as_str().to_owned(), why);
            }
        }
        if let Some(judge) = &mut self.judge {
            judge.set_devices(&devices);
        }
        self.devices = devices;
        self.link.want_status();
    }
}

#[cfg(test)]
mod tests {
    use policy::Want;
    use wire::decision::Verdict;
    use wire::frame::DeviceInfo;
    use wire::{Action, ActionKind, DeviceId, Origin};

    use crate::Input;
    use crate::testing::Rig;

    fn gpu(model: &str, accepts_w: (u32, u32)) -> Rig {
        let mut rig = Rig::new();
        rig.handle(Input::Devices(vec![DeviceInfo {
            id: DeviceId::gpu(0),
            model: model.to_owned(),
            simulated: false,
            power_cap_range_mw: Some((accepts_w.0 * 1_000, accepts_w.1 * 1_000)),
        }]));
        rig
    }

    /// What comes of a wanted cap: the watts that are granted, or the verdict.
    fn granted(rig: &Rig, watts: u32) -> Result<u32, Verdict> {
        let want = Want {
            action: Action {
                target: DeviceId::gpu(0),
                kind: ActionKind::PowerCap {
                    milliwatts: watts * 1_000,
                },
            },
            origin: Origin::Local {
                who: "ana".to_owned(),
                reason: "test".to_owned(),
            },
            readings: Vec::new(),
            rejected: Vec::new(),
            verify: None,
        };
        let judgement = rig.agent.foresee(&want, rig.now).expect("a bundle");
        match judgement.granted.map(|action| action.kind) {
            Some(ActionKind::PowerCap { milliwatts }) => Ok(milliwatts / 1_000),
            _ => Err(judgement.verdict),
        }
    }

    #[test]
    fn a_cap_is_kept_within_profile_and_device() {
        let check = |model: &str, accepts: (u32, u32), asked: u32, expected: Result<u32, Verdict>| {
            assert_eq!(
                granted(&gpu(model, accepts), asked),
                expected,
                "{model} {accepts:?} {asked} W"
            );
        };
        check("NVIDIA L40S", (100, 350), 200, Ok(200));
        check("NVIDIA L40S", (100, 350), 50, Ok(100));
        check("NVIDIA L40S", (150, 300), 120, Ok(150));
        // A driver that says nonsense changes nothing.
        check("NVIDIA L40S", (0, 4_000), 20, Ok(100));
        check("NVIDIA L40S", (0, 4_000), 1_000, Ok(350));
        check("NVIDIA L40S", (400, 700), 500, Err(Verdict::Deny));
        check("a model of next year", (60, 80), 20, Ok(60));
    }

    #[test]
    fn a_device_that_is_not_what_it_says_makes_the_node_unhealthy() {
        let told = |rig: &Rig| rig.agent.unhealthy().map(str::to_owned);
        assert_eq!(told(&gpu("NVIDIA L40S", (100, 350))), None);
        let mut rig = gpu("NVIDIA L40S", (400, 700));
        let why = "gpu0 says it takes power caps of 400 W..=700 W, which no NVIDIA L40S does";
        assert_eq!(told(&rig).as_deref(), Some(why));
        rig.handle(Input::Devices(gpu("NVIDIA H200", (400, 700)).agent.devices().to_vec()));
        assert_eq!(told(&rig), None);
    }
}
