//! Looks at the workloads that systemd keeps: whether it can be asked about them, and whether it knows them.

use std::time::{Duration, Instant};

use super::{Found, Verdict};
use crate::config::Config;
use crate::units::{Manager, State, chain};

const PART: &str = "units";
/// For all of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// One line for each unit that a workload names; none where no workload does.
pub fn examine(config: &Config) -> Vec<Found> {
    let units = config.units();
    if units.is_empty() {
        return Vec::new();
    }
    let deadline = Instant::now() + PATIENCE;
    let mut manager = match Manager::connect(deadline) {
        Ok(manager) => manager,
        Err(error) => {
            let next = "let this user onto the system's D-Bus; without it workloads with a `unit` are neither seen nor restarted";
            return vec![Found::of(PART, Verdict::Wrong, chain(&error), next)];
        }
    };
    let look = |unit: crate::units::UnitSettings| match manager.state(&unit.unit, deadline) {
        Ok(state) => judge(&unit.unit, &state),
        Err(error) => {
            let next = "see whether systemd answers: systemctl status";
            Found::of(
                PART,
                Verdict::Unknown,
                format!("{}: {}", unit.unit, chain(&error)),
                next,
            )
        }
    };
    units.into_iter().map(look).collect()
}

fn judge(unit: &str, state: &State) -> Found {
    match (state.load.as_str(), state.active.as_str()) {
        ("loaded", "active") => Found::good(PART, format!("{unit} is active")),
        ("loaded", active) => {
            let next = format!("systemctl start {unit}");
            Found::of(PART, Verdict::Reduced, format!("{unit} is {active}"), next)
        }
        (load, _) => {
            let next =
                "see whether its name in the settings is right, and whether it is installed: systemctl list-unit-files";
            Found::of(
                PART,
                Verdict::Wrong,
                format!("systemd says that {unit} is {load}"),
                next,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_not_there_is_wrong_and_one_that_rests_is_less() {
        let verdict = |load: &str, active: &str| {
            let state = State {
                active: active.to_owned(),
                load: load.to_owned(),
                pid: None,
                invocation: Vec::new(),
                restarts: 0,
                quota_us: None,
            };
            judge("train.service", &state).verdict
        };
        assert_eq!(verdict("loaded", "active"), Verdict::Good);
        assert_eq!(verdict("loaded", "failed"), Verdict::Reduced);
        assert_eq!(verdict("not-found", "inactive"), Verdict::Wrong);
        assert_eq!(verdict("masked", "inactive"), Verdict::Wrong);
        assert!(examine(&Config::default()).is_empty());
    }
}
