//! The kinds of action that rules can name, and how dangerous each is.
//!
//! The class is computed here and never taken from whoever asks. Those that an agent carries out itself are [`wire::ActionKind`]'s; the
//! others appear in plans.

use std::collections::BTreeMap;

use wire::action::RiskClass;
use wire::reading::Unit;
use wire::{Action, ActionKind, DeviceId};

use crate::text::{did_you_mean, units};

/// What is known of a kind of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindInfo {
    /// Its name in bundles, on the command line and in decision input.
    pub name: &'static str,
    /// How dangerous it is.
    pub class: RiskClass,
    /// It lowers power, stops or throttles work, or only tells.
    pub protective: bool,
    /// Another action brings the former state back.
    pub reversible: bool,
    /// Somebody's work stops.
    pub disruptive: bool,
}

impl KindInfo {
    /// Exempt from what only keeps order: what makes things calmer, and the way back from a step already taken.
    pub fn is_remedy(&self) -> bool {
        self.class == RiskClass::Safety || self.name == "rollback"
    }
}

const fn kind(name: &'static str, class: RiskClass, protective: bool, reversible: bool, disruptive: bool) -> KindInfo {
    KindInfo {
        name,
        class,
        protective,
        reversible,
        disruptive,
    }
}

/// Every kind. The index is what selectors keep as a bit, so there are at most 64, and what ledgers keep: add at the end only.
pub const KINDS: &[KindInfo] = &[
    kind("power_cap", RiskClass::Safety, true, true, false),
    kind("release_power_cap", RiskClass::Low, false, true, false),
    kind("restart", RiskClass::Low, false, false, true),
    kind("throttle", RiskClass::Safety, true, true, false),
    kind("unthrottle", RiskClass::Low, false, true, false),
    kind("notify", RiskClass::Safety, true, false, false),
    kind("lock_clocks", RiskClass::Safety, true, true, false),
    kind("unlock_clocks", RiskClass::Low, false, true, false),
    kind("cordon", RiskClass::Safety, true, true, false),
    kind("uncordon", RiskClass::Low, false, true, false),
    kind("quarantine", RiskClass::Safety, true, true, false),
    kind("scale", RiskClass::Medium, false, true, false),
    kind("reschedule", RiskClass::Medium, false, true, true),
    kind("migrate", RiskClass::Medium, false, true, true),
    kind("update", RiskClass::Medium, false, true, true),
    kind("rollback", RiskClass::Medium, false, true, true),
    kind("drain", RiskClass::Medium, false, true, true),
    kind("reset_gpu", RiskClass::Medium, false, false, true),
    kind("reboot", RiskClass::High, false, false, true),
    kind("driver_change", RiskClass::High, false, true, true),
    kind("rollout_step", RiskClass::High, false, true, true),
    kind("wipe", RiskClass::Irreversible, false, false, true),
    kind("delete", RiskClass::Irreversible, false, false, true),
    kind("rma", RiskClass::Irreversible, false, false, true),
    // Of the remediation of failed checks: a repair begins, is proposed as a pull request, is merged without a person.
    kind("start_fix", RiskClass::Low, false, true, false),
    kind("propose_fix", RiskClass::Low, false, true, false),
    kind("merge_fix", RiskClass::Medium, false, true, false),
    // Of clusters: a deployment is made.
    kind("deploy", RiskClass::Medium, false, true, false),
];

/// The index of `notify`, which only tells.
pub(crate) const NOTIFY: usize = 5;
/// Where `drain` stands, with `reset_gpu` and `reboot` after it.
const DRAIN: usize = 16;

/// The index of the kind with this name.
pub(crate) fn kind_index(name: &str) -> Option<usize> {
    KINDS.iter().position(|kind| kind.name == name)
}

/// The index of a wire action's kind.
pub(crate) const fn wire_index(kind: &ActionKind) -> usize {
    match kind {
        ActionKind::PowerCap { .. } => 0,
        ActionKind::ReleasePowerCap => 1,
        ActionKind::Restart => 2,
        ActionKind::Throttle { .. } => 3,
        ActionKind::Unthrottle => 4,
        ActionKind::Notify { .. } => NOTIFY,
        ActionKind::LockClocks { .. } => 6,
        ActionKind::UnlockClocks => 7,
        ActionKind::Cordon => 8,
        ActionKind::Uncordon => 9,
        ActionKind::Drain => DRAIN,
        ActionKind::ResetGpu => DRAIN + 1,
        ActionKind::Reboot => DRAIN + 2,
    }
}

/// The kind that this one takes back.
pub(crate) const fn undone_by(kind: usize) -> Option<usize> {
    match kind {
        1 => Some(0),
        4 => Some(3),
        7 => Some(6),
        9 => Some(8),
        _ => None,
    }
}

/// Whether it is a kind that an agent carries out itself and that leaves what devices may draw as it is.
pub(crate) fn keeps_power(kind: usize) -> bool {
    const POWER_CAP: usize = 0;
    const RELEASE: usize = 1;
    kind != POWER_CAP && kind != RELEASE && ActionKind::NAMES.contains(&KINDS[kind].name)
}

/// The number that a kind's envelope, step and clamp work on, with its unit.
pub(crate) fn amount(kind: &ActionKind) -> Option<(i64, Unit)> {
    match kind {
        ActionKind::PowerCap { milliwatts } => Some((i64::from(*milliwatts), Unit::Milliwatt)),
        ActionKind::Throttle { share_bp } => Some((i64::from(*share_bp), Unit::BasisPoints)),
        ActionKind::LockClocks { max_mhz } => Some((i64::from(*max_mhz), Unit::Megahertz)),
        ActionKind::ReleasePowerCap | ActionKind::Restart | ActionKind::Unthrottle | ActionKind::Notify { .. } => None,
        ActionKind::UnlockClocks | ActionKind::Cordon | ActionKind::Uncordon => None,
        ActionKind::Drain | ActionKind::ResetGpu | ActionKind::Reboot => None,
    }
}

/// The same action with another number; `None` if it has none or the number does not fit.
pub(crate) fn with_amount(kind: &ActionKind, value: i64) -> Option<ActionKind> {
    match kind {
        ActionKind::PowerCap { .. } => Some(ActionKind::PowerCap {
            milliwatts: u32::try_from(value).ok()?,
        }),
        ActionKind::Throttle { .. } => Some(ActionKind::Throttle {
            share_bp: u16::try_from(value).ok()?,
        }),
        ActionKind::LockClocks { .. } => Some(ActionKind::LockClocks {
            max_mhz: u32::try_from(value).ok()?,
        }),
        ActionKind::ReleasePowerCap | ActionKind::Restart | ActionKind::Unthrottle | ActionKind::Notify { .. } => None,
        ActionKind::UnlockClocks | ActionKind::Cordon | ActionKind::Uncordon => None,
        ActionKind::Drain | ActionKind::ResetGpu | ActionKind::Reboot => None,
    }
}

/// The unit of the number of a kind by name, for envelopes and steps in bundles.
pub(crate) fn amount_unit(kind: usize) -> Option<Unit> {
    match KINDS[kind].name {
        "power_cap" => Some(Unit::Milliwatt),
        "throttle" => Some(Unit::BasisPoints),
        "lock_clocks" => Some(Unit::Megahertz),
        "scale" => Some(Unit::Count),
        _ => None,
    }
}

/// Reads an action as the command line and the HTTP API give it: `power_cap` with `to=220 W`, `throttle` with `to=50 %`,
/// `lock_clocks` with `to=1200 MHz`, `notify` with `message=…`, and those that have no parameter: `restart`, `release_power_cap`,
/// `unthrottle`, `unlock_clocks`, `cordon`, `uncordon`, `drain`, `reset_gpu`, `reboot`.
///
/// The error says what is wrong and how it is written.
pub fn parse_action(target: &DeviceId, action: &str, params: &BTreeMap<String, String>) -> Result<Action, String> {
    let key: &[&str] = match action {
        "power_cap" | "throttle" | "lock_clocks" => &["to"],
        "notify" => &["message"],
        _ => &[],
    };
    let kind = match (without_parameter(action), action) {
        (Some(kind), _) => kind,
        (None, "power_cap") => read(action, params, "to", "to=220 W", power_cap)?,
        (None, "throttle") => read(action, params, "to", "to=50 %", throttle)?,
        (None, "notify") => read(action, params, "message", "message=\"fan is loud\"", notify)?,
        (None, "lock_clocks") => read(action, params, "to", "to=1200 MHz", lock_clocks)?,
        (None, _) => {
            let hint = match did_you_mean(action, ActionKind::NAMES.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("one of {}", ActionKind::NAMES.join(", ")),
            };
            return Err(format!("unknown action `{action}`; {hint}"));
        }
    };
    if let Some(other) = params.keys().find(|name| !key.contains(&name.as_str())) {
        let takes = match key {
            [] => "takes no parameter".to_owned(),
            [name, ..] => format!("takes only `{name}`"),
        };
        return Err(format!("unknown parameter `{other}`; `{action}` {takes}"));
    }
    match kind.target_class() {
        Some(class) if class != target.class() => Err(format!(
            "`{action}` is done to a {class}, and `{target}` is a {}",
            target.class()
        )),
        _ => Ok(Action {
            target: target.clone(),
            kind,
        }),
    }
}

/// Reads one parameter; what is wrong with it names the parameter and its value.
fn read(
    action: &str,
    params: &BTreeMap<String, String>,
    name: &str,
    example: &str,
    kind: impl Fn(&str) -> Result<ActionKind, String>,
) -> Result<ActionKind, String> {
    let text = params
        .get(name)
        .ok_or_else(|| format!("`{action}` needs `{name}`, for example `{example}`"))?;
    let kind = kind(text).map_err(|problem| format!("{name}={text}: {problem}"))?;
    match amount(&kind).and_then(|(value, unit)| units::implausible(value, unit)) {
        Some(why) => Err(format!("{name}={text}: {why}")),
        None => Ok(kind),
    }
}

/// A power cap of this much.
pub(crate) fn power_cap(text: &str) -> Result<ActionKind, String> {
    let milliwatts = units::amount(text, Unit::Milliwatt)?;
    match u32::try_from(milliwatts) {
        Ok(milliwatts) if milliwatts > 0 => Ok(ActionKind::PowerCap { milliwatts }),
        _ => Err(format!("`{text}` is no power limit")),
    }
}

/// A throttle to this share of a core.
pub(crate) fn throttle(text: &str) -> Result<ActionKind, String> {
    let share = units::amount(text, Unit::BasisPoints)?;
    match u16::try_from(share) {
        Ok(share_bp) if (100..=10_000).contains(&share_bp) => Ok(ActionKind::Throttle { share_bp }),
        _ => Err(format!("`{text}` is outside 1 %..=100 % of a core")),
    }
}

/// A greatest clock of this much.
pub(crate) fn lock_clocks(text: &str) -> Result<ActionKind, String> {
    let mhz = units::amount(text, Unit::Megahertz)?;
    match u32::try_from(mhz) {
        Ok(max_mhz) if max_mhz > 0 => Ok(ActionKind::LockClocks { max_mhz }),
        _ => Err(format!("`{text}` is no clock")),
    }
}

/// The kinds of nodes and GPUs that have no parameter.
pub(crate) fn without_parameter(name: &str) -> Option<ActionKind> {
    Some(match name {
        "release_power_cap" => ActionKind::ReleasePowerCap,
        "restart" => ActionKind::Restart,
        "unthrottle" => ActionKind::Unthrottle,
        "unlock_clocks" => ActionKind::UnlockClocks,
        "cordon" => ActionKind::Cordon,
        "uncordon" => ActionKind::Uncordon,
        "drain" => ActionKind::Drain,
        "reset_gpu" => ActionKind::ResetGpu,
        "reboot" => ActionKind::Reboot,
        _ => return None,
    })
}

/// A message to people.
pub(crate) fn notify(text: &str) -> Result<ActionKind, String> {
    // What fits a line of a pager.
    const MAX_MESSAGE_BYTES: usize = 500;
    if text.is_empty() || text.len() > MAX_MESSAGE_BYTES {
        return Err(format!(
            "a message has 1 to {MAX_MESSAGE_BYTES} bytes, this one {}",
            text.len()
        ));
    }
    Ok(ActionKind::Notify {
        message: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(target: &str, action: &str, params: &[(&str, &str)], expected: &str) {
        let target = DeviceId::new(target).unwrap();
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found = match parse_action(&target, action, &params) {
            Ok(action) => action.to_string(),
            Err(text) => text,
        };
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn actions_are_read_from_text() {
        check("gpu0", "power_cap", &[("to", "220 W")], "gpu0 power_cap to 220 W");
        check("workload:train", "restart", &[], "workload:train restart");
        check("workload:train", "throttle", &[("to", "50 %")], "throttle to 50 %");
        check("gpu0", "power_cap", &[], "needs `to`, for example `to=220 W`");
        check("gpu0", "power_cap", &[("to", "220")], "has no unit");
        check(
            "gpu0",
            "power_cap",
            &[("to", "220 mW")],
            "write watts with their unit: `220 W`",
        );
        check("gpu0", "restart", &[], "is done to a workload");
        check("gpu0", "powercap", &[], "did you mean `power_cap`?");
        check("gpu0", "release_power_cap", &[("to", "1 W")], "takes no parameter");
        check("workload:x", "throttle", &[("to", "0.5 %")], "outside 1 %");
        check("node", "notify", &[("message", "")], "1 to 500 bytes");
    }

    #[test]
    fn the_kinds_of_agents_are_what_the_wire_says_of_them() {
        let all = [
            ActionKind::PowerCap { milliwatts: 1 },
            ActionKind::ReleasePowerCap,
            ActionKind::Restart,
            ActionKind::Throttle { share_bp: 100 },
            ActionKind::Unthrottle,
            ActionKind::Notify { message: String::new() },
            ActionKind::LockClocks { max_mhz: 1 },
            ActionKind::UnlockClocks,
            ActionKind::Cordon,
            ActionKind::Uncordon,
            ActionKind::Drain,
            ActionKind::ResetGpu,
            ActionKind::Reboot,
        ];
        assert_eq!(all.len(), ActionKind::NAMES.len());
        assert!(KINDS.len() <= 64);
        for kind in &all {
            let info = KINDS[wire_index(kind)];
            assert_eq!(
                (info.name, info.class, info.protective, info.reversible, info.disruptive),
                (
                    kind.name(),
                    kind.risk(),
                    kind.protective(),
                    kind.reversible(),
                    kind.disruptive()
                )
            );
        }
    }
}
