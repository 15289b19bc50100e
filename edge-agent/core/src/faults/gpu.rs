//! What a GPU itself says of its health: whether it answers, what its driver wants done, what its memory has become.
//!
//! These are states, not events: each lasts until the GPU says otherwise. A monitor that cannot look says nothing here.

use wire::Quantity;
use wire::fault::{NextStep as N, Severity as S};
use wire::probe::{GpuReport, GpuState};

use super::xid::recovery_action;

/// One state that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ill {
    /// Short name.
    pub code: &'static str,
    /// How bad.
    pub severity: S,
    /// What it means, for people.
    pub meaning: &'static str,
    /// What should be done.
    pub next: N,
}

/// Every [`Ill::code`].
pub const CODES: &[&str] = &[
    "gpu lost",
    "reset required",
    "gpu hung",
    "recovery action",
    "row remap failed",
    "row remap pending",
];
/// Those by which the driver itself says what is to be done.
pub const DRIVER_CODES: &[&str] = &["reset required", "recovery action"];

/// Calls in a row that a GPU may miss before it counts as hung: one may meet a driver that is busy.
pub const MISSES: u32 = 2;

/// Everything that is wrong by this report. `missed`: calls in a row that it has not answered, this one included.
pub fn ills(report: &GpuReport, missed: u32) -> Vec<Ill> {
    let ill = |code, severity, meaning, next| Ill {
        code,
        severity,
        meaning,
        next,
    };
    match &report.state {
        GpuState::Lost => {
            return vec![ill(
                "gpu lost",
                S::Critical,
                "the GPU has fallen off the bus",
                N::DrainAndReboot,
            )];
        }
        GpuState::ResetRequired => {
            return vec![ill(
                "reset required",
                S::High,
                "the driver wants the GPU reset",
                N::DrainAndReset,
            )];
        }
        GpuState::Hung { .. } if missed >= MISSES => {
            let meaning = "calls about the GPU do not return from the driver";
            return vec![ill("gpu hung", S::High, meaning, N::AskPerson)];
        }
        GpuState::Hung { .. } | GpuState::Unreadable { .. } => return Vec::new(),
        GpuState::Answers => {}
    }
    let value = |quantity: Quantity| {
        let found = report.values.iter().find(|(number, _)| *number == quantity as u16);
        found.and_then(|(_, value)| *value).unwrap_or(0)
    };
    let mut found = Vec::new();
    if let Some(known) = recovery_action(value(Quantity::GpuRecoveryAction)) {
        found.push(ill("recovery action", known.severity, known.meaning, known.next));
    }
    if value(Quantity::GpuRowRemapFailed) > 0 {
        let meaning = "a row of its memory could not be replaced";
        found.push(ill("row remap failed", S::Critical, meaning, N::Inspect));
    } else if value(Quantity::GpuRowRemapPending) > 0 || value(Quantity::GpuPagesPending) > 0 {
        let meaning = "a part of its memory waits for a reset to be replaced";
        found.push(ill("row remap pending", S::Low, meaning, N::ResetWhenIdle));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: GpuState, values: &[(Quantity, i64)], missed: u32, expected: &str) {
        let report = GpuReport {
            uuid: "GPU-0".to_owned(),
            state,
            values: values
                .iter()
                .map(|(quantity, value)| (*quantity as u16, Some(*value)))
                .collect(),
        };
        let found: Vec<&str> = ills(&report, missed).iter().map(|ill| ill.code).collect();
        assert!(found.iter().all(|code| CODES.contains(code)));
        assert_eq!(found.join(", "), expected);
    }

    #[test]
    fn states_have_names_and_a_gpu_that_is_well_has_none() {
        let hung = || GpuState::Hung { for_ms: 900 };
        check(GpuState::Answers, &[(Quantity::GpuRecoveryAction, 0)], 0, "");
        check(GpuState::Lost, &[], 0, "gpu lost");
        check(GpuState::ResetRequired, &[], 0, "reset required");
        check(hung(), &[], 1, "");
        check(hung(), &[], 2, "gpu hung");
        check(
            GpuState::Answers,
            &[(Quantity::GpuRecoveryAction, 4), (Quantity::GpuRowRemapPending, 1)],
            0,
            "recovery action, row remap pending",
        );
        check(
            GpuState::Answers,
            &[(Quantity::GpuRowRemapFailed, 1), (Quantity::GpuRowRemapPending, 1)],
            0,
            "row remap failed",
        );
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_not_ill() {
        let reason = "an internal driver error occurred".to_owned();
        check(GpuState::Unreadable { reason }, &[], 9, "");
    }
}
