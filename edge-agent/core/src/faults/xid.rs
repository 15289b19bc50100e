//! NVIDIA's XID codes: what each means, how bad it is, and what should be done.
//!
//! Source: names from `nverror.h` of NVIDIA's open kernel modules, actions from NVIDIA's XID catalogue, severities where they
//! differ from Azure's node health checks and the EKS node monitoring agent. A driver that names a recovery action itself is
//! believed before this table (`GPU_RECOVERY_ACTION`, XID 154).

use wire::fault::NextStep as N;
use wire::fault::Severity as S;

/// What is known of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xid {
    /// For people.
    pub meaning: &'static str,
    /// How bad.
    pub severity: S,
    /// What should be done.
    pub next: N,
}

type Row = (&'static [u32], &'static str, S, N);

const TABLE: &[Row] = &[
    (
        &[8, 11, 25, 32],
        "a stalled engine or an invalid push buffer",
        S::Medium,
        N::RestartWork,
    ),
    (
        &[13],
        "an exception of a graphics or compute engine",
        S::Low,
        N::RestartWork,
    ),
    (
        &[16, 19, 37, 38, 66, 67, 93, 106, 107, 141, 152, 153, 160, 161],
        "bookkeeping of the driver",
        S::Info,
        N::Record,
    ),
    (&[31], "a memory page fault of an application", S::Low, N::RestartWork),
    (
        &[
            39, 40, 41, 70, 71, 72, 75, 76, 77, 85, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135,
        ],
        "an error of a copy engine",
        S::Medium,
        N::RestartWork,
    ),
    (
        &[43],
        "a channel was reset after an application's fault",
        S::Low,
        N::Record,
    ),
    (&[44], "a fault while contexts were switched", S::Low, N::Record),
    (&[45], "work was removed because of an earlier error", S::Low, N::Record),
    (&[46], "the GPU stopped processing", S::High, N::DrainAndReset),
    (
        &[
            47, 65, 68, 69, 82, 83, 84, 86, 88, 89, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 138, 139,
        ],
        "an error of a video, image or class engine",
        S::Medium,
        N::RestartWork,
    ),
    (&[48], "a double-bit memory error", S::High, N::DrainAndReset),
    (&[54], "auxiliary power is missing", S::Critical, N::Inspect),
    (
        &[56, 57, 58],
        "an error of display or frame buffer",
        S::High,
        N::DrainAndReset,
    ),
    (&[60, 80], "a damaged push buffer", S::Medium, N::RestartWork),
    (&[61, 62], "the power management unit halted", S::High, N::DrainAndReset),
    (&[63], "a memory row or page was retired", S::Low, N::ResetWhenIdle),
    (
        &[64],
        "a memory row or page could not be retired",
        S::Critical,
        N::DrainAndReset,
    ),
    (&[73], "an error of a video encoder", S::Medium, N::RestartWork),
    (&[74], "an NVLink error", S::High, N::CheckLink),
    (&[78], "a virtual GPU did not start", S::Medium, N::UpdateSoftware),
    (&[79], "the GPU has fallen off the bus", S::Critical, N::DrainAndReboot),
    (
        &[81, 90, 91],
        "an error of a cache or of display memory",
        S::High,
        N::DrainAndReset,
    ),
    (
        &[92],
        "an excessive rate of single-bit memory errors",
        S::Medium,
        N::Record,
    ),
    (
        &[94],
        "a contained uncorrectable memory error",
        S::Medium,
        N::RestartWork,
    ),
    (
        &[95],
        "an uncontained uncorrectable memory error",
        S::Critical,
        N::DrainAndReset,
    ),
    (&[109], "switching contexts timed out", S::High, N::DrainAndReset),
    (&[110], "a security fault", S::High, N::DrainAndReset),
    (
        &[119, 120],
        "the GPU's system processor does not answer",
        S::High,
        N::DrainAndReset,
    ),
    (&[121], "an error of the chip-to-chip link", S::Medium, N::Record),
    (
        &[122, 123, 124],
        "the firmware's memory cannot be read or written",
        S::Medium,
        N::UpdateSoftware,
    ),
    (&[125], "the firmware's file system is damaged", S::Medium, N::Inspect),
    (&[136], "an NVLink could not be trained", S::High, N::DrainAndReset),
    (
        &[137],
        "a privileged NVLink error, usually of a peer",
        S::Medium,
        N::CheckLink,
    ),
    (&[140], "an unrecovered memory error", S::Critical, N::DrainAndReset),
    (&[142], "an error for NVIDIA's support", S::High, N::AskPerson),
    (&[143], "the GPU could not be started", S::Critical, N::DrainAndReset),
    (
        &[144, 145, 146, 147, 148, 149, 150],
        "an NVLink 5 error",
        S::High,
        N::CheckLink,
    ),
    (
        &[151],
        "keys of confidential computing could not be rotated",
        S::High,
        N::DrainAndReboot,
    ),
    (
        &[154],
        "the driver wants another recovery action",
        S::Medium,
        N::FollowDriver,
    ),
    (
        &[155],
        "an NVLink error that software defines",
        S::High,
        N::DrainAndReset,
    ),
    (&[156], "a resource was retired", S::High, N::DrainAndReset),
    (&[157], "a resource could not be retired", S::High, N::Inspect),
    (&[158], "a fatal timeout of the GPU", S::Critical, N::DrainAndReset),
    (&[159], "an error of the coherent link", S::Medium, N::UpdateSoftware),
    (&[162, 163], "power smoothing engaged or let go", S::Info, N::Record),
    (
        &[164, 165],
        "the power smoothing hardware is near its end of life",
        S::Medium,
        N::AskPerson,
    ),
    (&[166, 170], "an error of a secure NVLink", S::High, N::AskPerson),
    (&[167], "a fatal timeout on PCIe", S::Critical, N::DrainAndReboot),
    (&[168], "the GPU has less memory than it had", S::High, N::Inspect),
    (&[169], "the security processor halted", S::High, N::DrainAndReset),
    (
        &[171],
        "an uncorrectable error in device memory",
        S::High,
        N::DrainAndReset,
    ),
    (
        &[172],
        "an uncorrectable error in on-chip memory",
        S::High,
        N::DrainAndReset,
    ),
    (
        &[173],
        "a fatal error of the chip-to-chip link",
        S::Critical,
        N::DrainAndReboot,
    ),
    (&[174], "a process was killed with its channel", S::Low, N::Record),
    (&[175], "an error of the memory subsystem", S::High, N::DrainAndReset),
    (&[176], "a corrected PCIe error", S::Low, N::Record),
];

/// What is known of a code. One that is not in the catalogue holds new work and asks a person: it never resets anything.
pub fn xid(code: u32) -> Xid {
    let row = TABLE.iter().find(|(codes, ..)| codes.contains(&code));
    row.map_or(
        Xid {
            meaning: "an error that this catalogue does not know",
            severity: S::Medium,
            next: N::AskPerson,
        },
        |(_, meaning, severity, next)| Xid {
            meaning,
            severity: *severity,
            next: *next,
        },
    )
}

/// What the driver's own recovery action means. Source: `nvmlDeviceGpuRecoveryAction_t`.
pub const fn recovery_action(action: i64) -> Option<Xid> {
    let (meaning, severity, next) = match action {
        1 => ("the driver wants the GPU reset", S::High, N::DrainAndReset),
        2 | 7 => ("the driver wants the machine restarted", S::Critical, N::DrainAndReboot),
        3 => ("the driver wants work that uses peers drained", S::High, N::CheckLink),
        4 => ("the driver wants the GPU drained and reset", S::High, N::DrainAndReset),
        5 => (
            "the driver wants memory sharing between nodes recovered",
            S::High,
            N::AskPerson,
        ),
        6 => ("the driver wants the bus reset", S::High, N::DrainAndReboot),
        _ => return None,
    };
    Some(Xid {
        meaning,
        severity,
        next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_catalogue_once() {
        let mut codes: Vec<u32> = TABLE.iter().flat_map(|(codes, ..)| *codes).copied().collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn the_catalogue_says_what_the_field_says() {
        for (code, severity, next) in [
            (13, S::Low, N::RestartWork),
            (45, S::Low, N::Record),
            (48, S::High, N::DrainAndReset),
            (54, S::Critical, N::Inspect),
            (63, S::Low, N::ResetWhenIdle),
            (79, S::Critical, N::DrainAndReboot),
            (94, S::Medium, N::RestartWork),
            (95, S::Critical, N::DrainAndReset),
            (154, S::Medium, N::FollowDriver),
        ] {
            assert_eq!((xid(code).severity, xid(code).next), (severity, next), "XID {code}");
        }
    }

    #[test]
    fn an_unknown_code_resets_nothing() {
        for code in [0, 1, 999, u32::MAX] {
            assert_eq!(xid(code).next, N::AskPerson, "XID {code}");
        }
    }
}
