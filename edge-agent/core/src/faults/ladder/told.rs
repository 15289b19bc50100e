//! How the ladder stands: sentences for people, numbers for metrics. Changes nothing.

use std::time::Duration;

use wire::DeviceId;
use wire::time::Mono;

use super::{AGAIN, Case, Ladder, Phase, REBOOTS_A_DAY, RESETS_A_DAY, Rung, STEPS_A_WEEK, WEEK};

/// Steps that a device may still get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Resets within a day.
    pub resets: usize,
    /// Restarts of the machine within a day.
    pub reboots: usize,
    /// Steps that stop work within a week.
    pub steps: usize,
}

impl Left {
    /// Of a device that nothing was ever done to.
    pub const ALL: Self = Self {
        resets: RESETS_A_DAY,
        reboots: REBOOTS_A_DAY,
        steps: STEPS_A_WEEK,
    };
}

/// A device that something is or was done about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub device: DeviceId,
    /// Because of which fault, how far, and where that stands; `None`: nothing is to be done any more.
    pub case: Option<(String, Rung, Phase)>,
    /// What it may still get.
    pub left: Left,
    /// How often each rung that stops work was taken in the last 7 days.
    pub taken: Vec<(Rung, usize)>,
}

impl Phase {
    /// The word in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Asked => "under_way",
            Self::Refused(_) => "refused",
            Self::Verifying(_) => "verifying",
            Self::Watched(_) => "watched",
            Self::Probation(_) => "probation",
            Self::Quarantined => "quarantined",
        }
    }

    /// When it ends by itself.
    pub const fn until(self) -> Option<Mono> {
        match self {
            Self::Refused(at) | Self::Verifying(at) | Self::Watched(at) | Self::Probation(at) => Some(at),
            Self::Wanted | Self::Asked | Self::Quarantined => None,
        }
    }
}

impl Ladder {
    /// How every device stands, one sentence each, for people.
    pub fn told(&self) -> Vec<(DeviceId, String)> {
        let sentence = |(device, case): (&DeviceId, &Case)| {
            let (rung, code) = (case.rung.name(), &case.code);
            let text = match case.phase {
                Phase::Wanted if case.when_idle => format!("{device}: {rung} because of {code}, once nobody uses it"),
                Phase::Wanted => format!("{device}: {rung} because of {code} is wanted"),
                Phase::Refused(_) => {
                    format!("{device}: {rung} because of {code} is wanted, and policy does not allow it")
                }
                Phase::Asked => format!("{device}: {rung} because of {code} is under way"),
                Phase::Verifying(_) => format!("{device}: {rung} because of {code} was done; it is not well yet"),
                Phase::Watched(_) => format!("{device}: new work is kept away because of {code}"),
                Phase::Probation(_) => format!("{device}: on probation after {rung} because of {code}"),
                Phase::Quarantined => format!("{device}: quarantined because of {code}, until a person clears it"),
            };
            (device.clone(), text)
        };
        self.cases.iter().map(sentence).collect()
    }

    /// How every device stands that something is or was done about, in numbers.
    pub fn standing(&self, now: Mono) -> Vec<Standing> {
        let mut devices: Vec<&DeviceId> = self.cases.keys().chain(self.past.iter().map(|(of, ..)| of)).collect();
        devices.sort();
        devices.dedup();
        let standing = |device: &DeviceId| Standing {
            device: device.clone(),
            case: self
                .cases
                .get(device)
                .map(|case| (case.code.clone(), case.rung, case.phase)),
            left: self.left(device, now),
            taken: [Rung::Restart, Rung::Reset, Rung::Reboot]
                .map(|rung| (rung, self.taken(device, Some(rung), WEEK, now)))
                .into(),
        };
        devices.into_iter().map(standing).collect()
    }

    /// What a device may still get.
    pub fn left(&self, device: &DeviceId, now: Mono) -> Left {
        let left = |most: usize, rung, span| most.saturating_sub(self.taken(device, rung, span, now));
        Left {
            resets: left(RESETS_A_DAY, Some(Rung::Reset), AGAIN),
            reboots: left(REBOOTS_A_DAY, Some(Rung::Reboot), AGAIN),
            steps: left(STEPS_A_WEEK, None, WEEK),
        }
    }

    /// Steps of this rung, or of any, within a time.
    fn taken(&self, device: &DeviceId, rung: Option<Rung>, span: Duration, now: Mono) -> usize {
        let is_it = |(of, _, step, at): &&(DeviceId, String, Rung, Mono)| {
            of == device && rung.is_none_or(|rung| *step == rung) && now.since(*at) < span
        };
        self.past.iter().filter(is_it).count()
    }
}
