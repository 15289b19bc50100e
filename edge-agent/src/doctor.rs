//! `sentinel-agent doctor`: what this machine needs so that the agent can work, each with what was found and what to do.
//!
//! Works without a hub and without a running agent, changes nothing, and waits for nothing longer than a few seconds. Decides only what a
//! sign means; a look that cannot be taken is *unknown*, never *wrong*.
//!
//! Read next: `doctor/machine.rs`, `doctor/gpu.rs`, `doctor/units.rs`, `doctor/hub.rs` (the looks), `scan.rs` (GPUs and faults).

mod gpu;
mod hub;
mod machine;
mod units;

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Config;

/// How one part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, with less.
    Reduced,
    /// Something does not work.
    Wrong,
    /// It could not be looked at.
    Unknown,
}

/// One part, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which part.
    pub part: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was seen.
    pub evidence: String,
    /// What to do about it; empty when there is nothing to do.
    pub next: String,
}

impl Found {
    fn good(part: &'static str, evidence: impl Into<String>) -> Self {
        Self::of(part, Verdict::Good, evidence, "")
    }

    fn of(part: &'static str, verdict: Verdict, evidence: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            part,
            verdict,
            evidence: evidence.into(),
            next: next.into(),
        }
    }
}

/// Looks at everything. Blocks for the deadlines of the looks at most, some ten seconds together.
pub fn examine(config: &Config) -> Vec<Found> {
    let identity = crate::identity::Identity::load(&config.state_dir);
    let mut found = vec![
        machine::state(config),
        machine::disk(config),
        machine::clock(identity.as_ref().ok()),
    ];
    found.push(machine::kernel_log(config));
    found.push(machine::files());
    found.extend(gpu::examine(config));
    found.push(machine::unit());
    found.extend(units::examine(config));
    found.push(machine::running(config));
    found.push(hub::identity(&identity));
    if let Ok(Some(identity)) = &identity {
        found.push(hub::path(config, identity));
    }
    found
}

/// Whether nothing is wrong.
pub fn is_well(found: &[Found]) -> bool {
    found.iter().all(|one| one.verdict != Verdict::Wrong)
}

/// For people: a line for each part, and below it what to do.
pub fn text(found: &[Found]) -> String {
    let mut text = String::new();
    for one in found {
        let sign = match one.verdict {
            Verdict::Good => '✓',
            Verdict::Reduced => '!',
            Verdict::Wrong => '✕',
            Verdict::Unknown => '?',
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{sign} {}: {}", one.part, one.evidence);
        if !one.next.is_empty() {
            let _ = writeln!(text, "  next: {}", one.next);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reduced_or_unknown_does_not_make_a_machine_ill() {
        let of = |verdict| Found::of("x", verdict, "seen", "do");
        assert!(is_well(&[of(Verdict::Reduced), of(Verdict::Unknown)]));
        assert!(!is_well(&[of(Verdict::Good), of(Verdict::Wrong)]));
        assert_eq!(text(&[of(Verdict::Wrong)]), "✕ x: seen\n  next: do\n");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_and_a_log_that_is_missing_have_a_next_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            state_dir: folder.path().join("state"),
            kernel_log: folder.path().join("kmsg"),
            gpu_probe: toml::from_str("enabled = false").ok(),
            ..Config::default()
        };
        let found = examine(&config);
        let of = |part: &str| found.iter().find(|one| one.part == part).expect("it is looked at");
        assert_eq!(of("state folder").verdict, Verdict::Reduced);
        assert_eq!(of("kernel log").verdict, Verdict::Reduced);
        assert!(of("hub").next.contains("sentinel token create"));
        assert_eq!(of("agent").verdict, Verdict::Reduced);
        assert!(!folder.path().join("state").exists(), "nothing is changed");
    }
}
