//! Which settings differ between two readings of the files, and which of them count without a restart.
//!
//! Decides nothing about values: both readings are valid. What needs a restart is said by its key, so that nobody waits for it in vain.
//!
//! Invariant: every key of [`Config`] is compared; a new one does not compile until it is.
//! Read next: `agent/reload.rs` (who asks).

use super::Config;

/// Keys whose new values count at once.
const LIVE: &[&str] = &[
    "sample_every",
    "block_every",
    "append_deadline",
    "metrics_compat",
    "bundle",
];

/// Keys with another value than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// They count at once.
    pub live: Vec<&'static str>,
    /// They count from the next start on.
    pub restart: Vec<&'static str>,
}

/// Compares what counts with what the files say now.
pub fn changes(now: &Config, next: &Config) -> Changes {
    macro_rules! differing {
        ($($key:ident)*) => {{
            // Names every field, so that none is forgotten.
            let Config { $($key: _),* } = now;
            [$((stringify!($key), now.$key != next.$key)),*]
        }};
    }
    let all = differing!(
        state_dir socket page hub journal_limit sample_every block_every append_deadline silence labels gpu_probe ceilings faults hooks profiles kernel_log metrics
        metrics_compat mesh workload name trust_domain policy_keys root_pin bundle
    );
    let differing = all.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key);
    let (live, restart) = differing.partition(|key| LIVE.contains(key));
    Changes { live, restart }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_counts_at_once_and_what_needs_a_restart_are_told_apart() {
        let now = Config::default();
        assert_eq!(changes(&now, &now), Changes::default());
        let next = Config {
            sample_every: Duration::from_secs(5),
            bundle: Some("b.json".into()),
            kernel_log: "kmsg".into(),
            journal_limit: 1 << 20,
            ..Config::default()
        };
        let found = changes(&now, &next);
        assert_eq!(found.live, ["sample_every", "bundle"]);
        assert_eq!(found.restart, ["journal_limit", "kernel_log"]);
    }
}
