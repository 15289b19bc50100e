//! How fast one agent may fill the hub's disk.
//!
//! Decides how long an acknowledgement waits. An agent has at most one window of entries unacknowledged, so a late acknowledgement
//! makes it wait with the rest in its own journal: nothing is dropped, no session ends, and whoever drains the backlog of a whole
//! journal is not slowed at all. One that does not wait is turned away.
//!
//! Invariant: in any span one agent's stored bytes are at most [`BURST_BYTES`] + [`RUDE_BYTES`] + span x [`BYTES_PER_SECOND`], and
//! one frame.
//! Read next: `ingest.rs` (who asks), `retention.rs` (how much of it stays).

use std::time::Duration;

use wire::ids::Epoch;
use wire::time::Mono;

/// What an agent may send at once: everything that a journal of the usual size holds.
const BURST_BYTES: u64 = 64 * 1024 * 1024;
/// And then in each second: a thousand entries, a hundred times what a busy node makes.
const BYTES_PER_SECOND: u64 = 256 * 1024;
/// An agent that goes on although nothing is acknowledged: four windows.
const RUDE_BYTES: u64 = 4 * 1024 * 1024;
/// How long after it was slowed people are told that it is.
const TOLD_FOR: Duration = Duration::from_secs(300);

/// How much an agent has sent, as a bucket that empties with time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Bytes in it at `at`.
    level: u64,
    at: Mono,
    /// Epochs whose acknowledgement waits.
    pub(crate) withheld: Vec<Epoch>,
    slowed_at: Option<Mono>,
}

impl Pace {
    fn level(&self, now: Mono) -> u64 {
        let passed_ms = now.0.saturating_sub(self.at.0);
        self.level
            .saturating_sub(passed_ms.saturating_mul(BYTES_PER_SECOND) / 1_000)
    }

    /// So many bytes came.
    pub(crate) fn took(&mut self, bytes: usize, now: Mono) {
        self.level = self.level(now).saturating_add(bytes as u64);
        self.at = now;
    }

    /// How long an acknowledgement has to wait, if it has to.
    pub(crate) fn wait(&mut self, now: Mono) -> Option<Duration> {
        let over = self.level(now).checked_sub(BURST_BYTES).filter(|over| *over > 0)?;
        self.slowed_at = Some(now);
        Some(time_for(over))
    }

    /// How long it has to stay away: it does not wait for acknowledgements.
    pub(crate) fn is_rude(&self, now: Mono) -> Option<Duration> {
        let over = self.level(now).checked_sub(BURST_BYTES)?;
        (over > RUDE_BYTES).then(|| time_for(over))
    }

    /// It was slowed lately.
    pub(crate) fn is_slowed(&self, now: Mono) -> bool {
        self.slowed_at
            .is_some_and(|at| now.0.saturating_sub(at.0) < TOLD_FOR.as_millis() as u64)
    }

    /// For people: what is so about a node that is slowed.
    pub(crate) fn finding() -> String {
        format!(
            "floods: it makes more than {} KiB of entries a second, so the hub takes them no faster than that; they wait in its journal \
             and nothing is lost. `sentinel get entries` shows what repeats",
            BYTES_PER_SECOND / 1024
        )
    }
}

/// How long a bucket takes to lose so much.
fn time_for(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1_000).div_ceil(BYTES_PER_SECOND).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_journal_is_taken_at_once_and_what_comes_after_it_waits() {
        let mut pace = Pace::default();
        let now = Mono(1_000);
        pace.took(64 * 1024 * 1024, now);
        assert_eq!(pace.wait(now), None);
        assert!(!pace.is_slowed(now));
        pace.took(1024 * 1024, now);
        assert_eq!(pace.wait(now), Some(Duration::from_secs(4)));
        assert_eq!(pace.is_rude(now), None);
        assert!(pace.is_slowed(now));
        assert_eq!(pace.wait(now + Duration::from_secs(4)), None);
        assert!(pace.is_slowed(now + Duration::from_secs(5)));
        assert!(!pace.is_slowed(now + TOLD_FOR));
    }

    #[test]
    fn whoever_does_not_wait_is_kept_away() {
        let mut pace = Pace::default();
        let mut now = Mono(1_000);
        let mut stored: u64 = 0;
        // A frame of 64 KiB each millisecond for a minute, whatever is answered.
        for _ in 0..60_000 {
            now = Mono(now.0 + 1);
            if pace.is_rude(now).is_none() {
                pace.took(65_536, now);
                stored += 65_536;
            }
        }
        let allowed = BURST_BYTES + RUDE_BYTES + 60 * BYTES_PER_SECOND + 65_536;
        assert!(stored <= allowed, "{stored} of {allowed}");
        assert!(stored > allowed - 2 * 65_536, "and no less: {stored}");
    }

    #[test]
    fn a_busy_node_is_never_slowed() {
        let mut pace = Pace::default();
        for second in 0..100_000 {
            let now = Mono(second * 1_000);
            pace.took(20_000, now);
            assert_eq!(pace.wait(now), None);
        }
    }
}
