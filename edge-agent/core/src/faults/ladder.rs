//! How far one goes against a fault, how often, and when it is enough: for each device one rung at a time, from keeping work away to
//! quarantine.
//!
//! Told of faults and of what became of steps, then asked for the next step. What a fault demands is the driver's own word first, the
//! catalogue's after it; the same fault within a day is answered one rung higher, and so is a step that did not help. Never acts, and never
//! says whether a step is allowed: that is the policy's judgement.
//!
//! Invariants: a step is counted before it is asked for, and what was counted outlives a crash; for one device at most
//! [`RESETS_A_DAY`] resets and [`REBOOTS_A_DAY`] restarts of the machine in 24 hours and [`STEPS_A_WEEK`] steps in 7 days, then quarantine,
//! which a person alone ends; at most one step that stops work is under way on the node; while a person holds the node there is none.
//!
//! Source: the numbers are those of NVSentinel and gpud, which found them by running fleets. Read next: `faults/xid.rs` (the catalogue),
//! `ladder/told.rs` (how it stands, for people and for metrics).

mod told;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::DeviceId;
use wire::fault::NextStep;
use wire::time::Mono;

pub use told::{Left, Standing};

/// Resets of one device in 24 hours.
pub const RESETS_A_DAY: usize = 2;
/// Restarts of the machine for one device in 24 hours.
pub const REBOOTS_A_DAY: usize = 2;
/// Steps for one device in 7 days, of those that stop work.
pub const STEPS_A_WEEK: usize = 5;
/// A fault that comes again within this time is answered one rung higher.
const AGAIN: Duration = Duration::from_secs(24 * 3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// For how long new work is kept away from a device that only needs watching.
const WATCHED: Duration = Duration::from_secs(15 * 60);
/// Within this time a device must be well after a step: a restart of a machine with eight GPUs takes six minutes.
const VERIFIED: Duration = Duration::from_secs(15 * 60);
/// For how long it must stay well before it counts as before.
const PROBATION: Duration = Duration::from_secs(10 * 60);
/// Devices that are remembered. A node has sixteen GPUs; a line of the kernel's log can name anything.
const MOST_DEVICES: usize = 64;

/// What is done, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// Keep new work away: taken back by itself.
    KeepAway,
    /// Start the work again.
    Restart,
    /// Take work away and reset the device.
    Reset,
    /// Take work away and restart the machine.
    Reboot,
    /// Keep work away until a person has looked.
    Quarantine,
}

impl Rung {
    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeepAway => "keep work away",
            Self::Restart => "restart its work",
            Self::Reset => "drain and reset",
            Self::Reboot => "drain and restart the machine",
            Self::Quarantine => "quarantine",
        }
    }

    /// The word in labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::KeepAway => "keep_away",
            Self::Restart => "restart",
            Self::Reset => "reset",
            Self::Reboot => "reboot",
            Self::Quarantine => "quarantine",
        }
    }

    /// How high it is, from 0.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether somebody's work stops.
    pub const fn stops_work(self) -> bool {
        matches!(self, Self::Restart | Self::Reset | Self::Reboot)
    }

    const fn next(self) -> Self {
        match self {
            Self::KeepAway => Self::Restart,
            Self::Restart => Self::Reset,
            Self::Reset => Self::Reboot,
            Self::Reboot | Self::Quarantine => Self::Quarantine,
        }
    }
}

/// What a fault demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Where to begin; `None`: nothing is to be done.
    pub rung: Option<Rung>,
    /// Only once nobody uses the device.
    pub when_idle: bool,
    /// Whatever helps, the hardware has to be looked at afterwards.
    pub then_quarantine: bool,
    /// Driver and catalogue say different things.
    pub disagree: bool,
}

/// What a fault demands: the driver's word counts for the step, the catalogue's for whether the hardware is to be trusted afterwards.
pub const fn demand(catalogue: NextStep, driver: Option<NextStep>) -> Demand {
    let own = rung_of(catalogue);
    let (rung, disagree) = match driver {
        None => (own, false),
        Some(said) => {
            let told = rung_of(said);
            let same = match (told, own) {
                (Some(told), Some(own)) => told as u8 == own as u8,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            (told, !same && !matches!(catalogue, NextStep::FollowDriver))
        }
    };
    let is_hardware = matches!(catalogue, NextStep::Inspect);
    Demand {
        rung,
        when_idle: driver.is_none() && matches!(catalogue, NextStep::ResetWhenIdle),
        then_quarantine: is_hardware && driver.is_some(),
        disagree,
    }
}

const fn rung_of(step: NextStep) -> Option<Rung> {
    match step {
        NextStep::Record | NextStep::UpdateSoftware => None,
        // Nothing is ever reset because of a code that nobody knows.
        NextStep::AskPerson | NextStep::CheckLink | NextStep::FollowDriver => Some(Rung::KeepAway),
        NextStep::RestartWork => Some(Rung::Restart),
        NextStep::DrainAndReset | NextStep::ResetWhenIdle => Some(Rung::Reset),
        NextStep::DrainAndReboot => Some(Rung::Reboot),
        NextStep::Inspect => Some(Rung::Quarantine),
    }
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// A step waits to be asked for.
    Wanted,
    /// It was asked for, and counted.
    Asked,
    /// Policy does not allow it now; it is asked for again then.
    Refused(Mono),
    /// It was done; the device must be well by then.
    Verifying(Mono),
    /// New work is kept away until then.
    Watched(Mono),
    /// It is well; if it stays so until then, it counts as before.
    Probation(Mono),
    /// A person has to look.
    Quarantined,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Case {
    /// What was seen last that changed something.
    code: String,
    rung: Rung,
    when_idle: bool,
    then_quarantine: bool,
    phase: Phase,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// To which device.
    pub device: DeviceId,
    /// What.
    pub rung: Rung,
    /// Because of which fault.
    pub code: String,
}

/// Every device that something was done about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    cases: BTreeMap<DeviceId, Case>,
    /// Steps of the last 7 days, oldest first: of which device, because of what, which, when.
    past: VecDeque<(DeviceId, String, Rung, Mono)>,
}

impl Ladder {
    /// A fault was seen. Returns whether the device now stands elsewhere.
    pub fn saw(&mut self, device: &DeviceId, code: &str, demand: Demand, now: Mono) -> bool {
        let Some(first) = demand.rung else { return false };
        let known = self.cases.get(device);
        if known.is_none() && self.cases.len() >= MOST_DEVICES {
            return false;
        }
        let before = known.map(|case| (case.phase, case.rung));
        let rung = match before {
            Some((Phase::Quarantined, _)) => return false,
            // It is being dealt with: only more counts, or the same without waiting.
            Some((Phase::Wanted, rung)) if first <= rung && !self.hurries(device, first, demand) => return false,
            Some((Phase::Wanted, rung)) if first <= rung => rung,
            Some((Phase::Asked, rung)) if first <= rung => return false,
            Some((Phase::Refused(_), rung)) if first <= rung => return false,
            Some((Phase::Wanted | Phase::Asked | Phase::Refused(_), _)) => first,
            // What was done did not help.
            Some((Phase::Verifying(_) | Phase::Probation(_), rung)) => first.max(rung.next()),
            Some((Phase::Watched(_), rung)) if first <= rung => return false,
            Some((Phase::Watched(_), _)) | None => first.max(self.after_last(device, code, now)),
        };
        if let Some((Phase::Asked, _)) = before {
            // The step that runs is not called back; its end shows that it was not enough.
            if let Some(case) = self.cases.get_mut(device) {
                case.then_quarantine |= demand.then_quarantine;
            }
            return false;
        }
        let case = Case {
            code: code.to_owned(),
            rung,
            when_idle: demand.when_idle && rung == Rung::Reset,
            then_quarantine: demand.then_quarantine || known.is_some_and(|case| case.then_quarantine),
            phase: Phase::Wanted,
        };
        self.cases.insert(device.clone(), case);
        self.afford(device, now);
        true
    }

    /// The next step, if there is one now. It is counted with this call. `held`: a person has the node in their hands; `idle`: whether nobody
    /// uses a device.
    pub fn next(&mut self, held: bool, idle: impl Fn(&DeviceId) -> bool, now: Mono) -> Option<Step> {
        let busy = self.cases.values().any(|case| match case.phase {
            Phase::Asked | Phase::Verifying(_) => case.rung.stops_work(),
            Phase::Wanted | Phase::Refused(_) | Phase::Watched(_) | Phase::Probation(_) | Phase::Quarantined => false,
        });
        let may = |(device, case): &(&DeviceId, &Case)| {
            let stops = case.rung.stops_work();
            case.phase == Phase::Wanted && !(stops && (held || busy)) && (!case.when_idle || idle(device))
        };
        let device = self.cases.iter().find(may).map(|(device, _)| device.clone())?;
        // Time has passed since it was wanted: what was afforded then may not be now.
        self.afford(&device, now);
        let case = self.cases.get_mut(&device)?;
        if case.rung.stops_work() && (held || busy) {
            return None;
        }
        let step = Step {
            device: device.clone(),
            rung: case.rung,
            code: case.code.clone(),
        };
        case.phase = match case.rung {
            Rung::Quarantine => Phase::Quarantined,
            Rung::KeepAway | Rung::Restart | Rung::Reset | Rung::Reboot => Phase::Asked,
        };
        if case.rung.stops_work() {
            self.past.push_back((device, step.code.clone(), step.rung, now));
        }
        Some(step)
    }

    /// Devices for which a step of this rung waits to be asked for.
    pub fn wanted(&self, rung: Rung) -> Vec<DeviceId> {
        let waits = |(_, case): &(&DeviceId, &Case)| case.phase == Phase::Wanted && case.rung == rung;
        let devices = self.cases.iter().filter(waits).map(|(device, _)| device.clone());
        devices.collect()
    }

    /// The step that was asked for just now is the one that this device waits for, too: it is counted here as well.
    pub fn join(&mut self, device: &DeviceId, now: Mono) {
        let Some(case) = self.cases.get_mut(device).filter(|case| case.phase == Phase::Wanted) else {
            return;
        };
        case.phase = Phase::Asked;
        self.past.push_back((device.clone(), case.code.clone(), case.rung, now));
    }

    /// The step that was asked for just now is not allowed: it counts as never asked for, and is asked for again at `until`.
    pub fn refused(&mut self, device: &DeviceId, until: Mono) {
        let Some(case) = self.cases.get_mut(device).filter(|case| case.phase == Phase::Asked) else {
            return;
        };
        case.phase = Phase::Refused(until);
        if case.rung.stops_work() {
            let counted = self.past.iter().rposition(|(of, ..)| of == device);
            drop(counted.and_then(|at| self.past.remove(at)));
        }
    }

    /// What became of the step that was asked for.
    pub fn done(&mut self, device: &DeviceId, worked: bool, now: Mono) {
        let Some(case) = self.cases.get_mut(device).filter(|case| case.phase == Phase::Asked) else {
            return;
        };
        if worked {
            case.phase = match case.rung {
                Rung::KeepAway => Phase::Watched(now + WATCHED),
                Rung::Restart | Rung::Reset | Rung::Reboot | Rung::Quarantine => Phase::Verifying(now + VERIFIED),
            };
        } else {
            self.higher(device, now);
        }
    }

    /// The device answers, and its driver wants nothing done.
    pub fn well(&mut self, device: &DeviceId, now: Mono) {
        let Some(case) = self.cases.get_mut(device) else { return };
        match case.phase {
            Phase::Verifying(_) if case.then_quarantine => {
                (case.rung, case.phase) = (Rung::Quarantine, Phase::Wanted);
            }
            Phase::Verifying(_) => case.phase = Phase::Probation(now + PROBATION),
            // Nothing has been done yet, and nothing needs to be.
            Phase::Wanted | Phase::Refused(_) if !case.when_idle && case.rung != Rung::Quarantine => {
                drop(self.cases.remove(device));
            }
            Phase::Wanted
            | Phase::Refused(_)
            | Phase::Asked
            | Phase::Watched(_)
            | Phase::Probation(_)
            | Phase::Quarantined => {}
        }
    }

    /// Time passed. Returns the devices that count as before again.
    pub fn look(&mut self, now: Mono) -> Vec<DeviceId> {
        while self.past.front().is_some_and(|(.., at)| now.since(*at) > WEEK) {
            self.past.pop_front();
        }
        let (mut over, mut late) = (Vec::new(), Vec::new());
        for (device, case) in &self.cases {
            match case.phase {
                Phase::Watched(until) | Phase::Probation(until) if now >= until => over.push(device.clone()),
                Phase::Verifying(by) if now >= by => late.push(device.clone()),
                _ => {}
            }
        }
        for case in self.cases.values_mut() {
            if matches!(case.phase, Phase::Refused(until) if now >= until) {
                case.phase = Phase::Wanted;
            }
        }
        late.iter().for_each(|device| self.higher(device, now));
        over.iter().for_each(|device| drop(self.cases.remove(device)));
        over
    }

    /// The process has started: what was asked for has been done or not, which the device itself will show.
    pub fn resumed(&mut self, now: Mono) {
        for case in self.cases.values_mut().filter(|case| case.phase == Phase::Asked) {
            case.phase = Phase::Verifying(now + VERIFIED);
        }
    }

    /// A person says that the node is good: everything that was counted is forgotten, and no device is quarantined any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether anything is to be done about any device.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Devices whose last step was done, and since when: what looks well now, is.
    pub fn verifying(&self) -> Vec<(DeviceId, Mono)> {
        let since = |(device, case): (&DeviceId, &Case)| match case.phase {
            // The deadline was set when the step was done.
            Phase::Verifying(by) => Some((device.clone(), Mono(by.0.saturating_sub(VERIFIED.as_millis() as u64)))),
            _ => None,
        };
        self.cases.iter().filter_map(since).collect()
    }

    /// Where a device stands; `None`: nothing is to be done about it.
    pub fn phase(&self, device: &DeviceId) -> Option<(Rung, Phase)> {
        self.cases.get(device).map(|case| (case.rung, case.phase))
    }

    /// When [`Ladder::look`] is due.
    pub fn due(&self) -> Option<Mono> {
        let due = self.cases.values().filter_map(|case| match case.phase {
            Phase::Verifying(at) | Phase::Watched(at) | Phase::Probation(at) | Phase::Refused(at) => Some(at),
            Phase::Wanted | Phase::Asked | Phase::Quarantined => None,
        });
        due.min()
    }

    /// The rung after the one by which the same fault was answered within a day; the lowest if there was none.
    fn after_last(&self, device: &DeviceId, code: &str, now: Mono) -> Rung {
        let same = |(of, because, ..): &&(DeviceId, String, Rung, Mono)| of == device && because == code;
        let recent = self.past.iter().filter(same).filter(|(.., at)| now.since(*at) < AGAIN);
        recent.map(|(.., rung, _)| rung.next()).max().unwrap_or(Rung::KeepAway)
    }

    /// Whether a step that waits until nobody uses the device is now wanted at once.
    fn hurries(&self, device: &DeviceId, first: Rung, demand: Demand) -> bool {
        let waits = self.cases.get(device).is_some_and(|case| case.when_idle);
        waits && first == Rung::Reset && !demand.when_idle
    }

    fn higher(&mut self, device: &DeviceId, now: Mono) {
        if let Some(case) = self.cases.get_mut(device) {
            (case.rung, case.phase, case.when_idle) = (case.rung.next(), Phase::Wanted, false);
        }
        self.afford(device, now);
    }

    /// Raises what is wanted to what is still within the bounds.
    fn afford(&mut self, device: &DeviceId, now: Mono) {
        let left = self.left(device, now);
        let Some(case) = self.cases.get_mut(device) else { return };
        if case.rung.stops_work() && left.steps == 0 {
            case.rung = Rung::Quarantine;
        }
        if case.rung == Rung::Reset && left.resets == 0 {
            case.rung = Rung::Reboot;
        }
        if case.rung == Rung::Reboot && left.reboots == 0 {
            case.rung = Rung::Quarantine;
        }
        case.when_idle &= case.rung == Rung::Reset;
    }
}

#[cfg(test)]
mod tests;
