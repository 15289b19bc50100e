//! When to try the hub again.
//!
//! A short outage should end within a blink, and a hub that comes back must not be trampled. So: a fast phase of [`FAST_PHASE`] with
//! small random delays, then exponential delays to [`LONGEST`] with jitter added above them, and a slot that the hub named
//! comes before both. A delay is never long beside the outage that it follows, so that whoever mends a path does not wait as long again.
//!
//! Invariant: outside the fast phase no two tries are closer than [`FIRST_DELAY`]; no delay is longer than
//! `LONGEST`, nor than a [`SHARE`]th of the outage, plus a quarter of it, unless the hub asked for it.

use std::time::Duration;

use wire::time::Mono;

/// How long an outage is taken for a short one.
pub(crate) const FAST_PHASE: Duration = Duration::from_secs(30);
/// Longest delay in the fast phase: median 150 ms, so that half of all returns take well below half a second.
const FAST_DELAY_MS: u64 = 300;
/// First delay after the fast phase.
pub(crate) const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Longest delay before jitter.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);
/// A delay is at most this part of the outage so far: a path that was cut for ten minutes is found again within half a minute.
const SHARE: u32 = 20;
/// A session that lasted this long ends the outage before it; a shorter one was a part of it.
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

/// A small generator of its own (SplitMix64): jitter only, nothing secret.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in `0..=most`, near enough.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % most.saturating_add(1)
    }
}

#[derive(Debug)]
pub(crate) struct Backoff {
    random: Random,
    /// When the present outage began; `None` while there is none.
    down_since: Option<Mono>,
    /// Delays given outside the fast phase.
    slow: u32,
    /// The slot that the hub named for the next try.
    asked: Option<Duration>,
    /// The hub said that haste is pointless.
    hopeless: bool,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            down_since: None,
            slow: 0,
            asked: None,
            hopeless: false,
        }
    }

    /// The hub names when to come back.
    pub(crate) fn ask(&mut self, retry_after: Duration) {
        self.asked = Some(retry_after);
    }

    /// The hub refuses this identity or version: only a person can change that.
    pub(crate) fn despair(&mut self) {
        self.hopeless = true;
    }

    /// A session that was up for this long has ended.
    pub(crate) fn session_ended(&mut self, lasted: Duration) {
        if lasted >= SETTLED {
            self.down_since = None;
            self.slow = 0;
        }
    }

    /// Whether the hub has said when the next try comes, or that haste is pointless.
    pub(crate) fn is_bound(&self) -> bool {
        self.asked.is_some() || self.hopeless
    }

    /// How long to wait before the next try.
    pub(crate) fn next_delay(&mut self, now: Mono) -> Duration {
        let since = *self.down_since.get_or_insert(now);
        if let Some(asked) = self.asked.take() {
            // A slot is a moment, not a crowd: a tenth is added, never taken away.
            let tenth = u64::try_from(asked.as_millis() / 10).unwrap_or(u64::MAX);
            return asked + Duration::from_millis(self.random.up_to(tenth.min(10_000)));
        }
        if std::mem::take(&mut self.hopeless) {
            return self.jittered(LONGEST);
        }
        if now.since(since) < FAST_PHASE {
            return Duration::from_millis(self.random.up_to(FAST_DELAY_MS));
        }
        let share = (now.since(since) / SHARE).max(FIRST_DELAY);
        let delay = FIRST_DELAY
            .saturating_mul(2u32.saturating_pow(self.slow))
            .min(LONGEST)
            .min(share);
        self.slow = self.slow.saturating_add(1);
        self.jittered(delay)
    }

    fn jittered(&mut self, delay: Duration) -> Duration {
        let most = u64::try_from(delay.as_millis() / 4).unwrap_or(u64::MAX);
        delay + Duration::from_millis(self.random.up_to(most))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Delays of an outage in which every try fails at once.
    fn delays(seed: u64, tries: usize) -> Vec<(Mono, Duration)> {
        let mut backoff = Backoff::new(seed);
        let mut now = Mono(5_000);
        (0..tries)
            .map(|_| {
                let delay = backoff.next_delay(now);
                let at = now;
                now = now + delay + Duration::from_millis(1);
                (at, delay)
            })
            .collect()
    }

    #[test]
    fn a_named_slot_comes_before_everything() {
        let mut backoff = Backoff::new(1);
        backoff.ask(Duration::from_secs(20));
        let delay = backoff.next_delay(Mono(0));
        assert!((20_000..=22_000).contains(&delay.as_millis()), "{delay:?}");
        assert!(backoff.next_delay(Mono(0)) <= Duration::from_millis(FAST_DELAY_MS));
    }

    #[test]
    fn a_refused_identity_does_not_knock_often() {
        let mut backoff = Backoff::new(1);
        backoff.despair();
        assert!(backoff.next_delay(Mono(0)) >= LONGEST);
    }

    #[test]
    fn only_a_session_that_lasted_starts_a_new_fast_phase() {
        let mut backoff = Backoff::new(1);
        backoff.next_delay(Mono(0));
        backoff.session_ended(Duration::from_secs(3));
        assert!(backoff.next_delay(Mono(31_000)) >= FIRST_DELAY);
        backoff.session_ended(SETTLED);
        assert!(backoff.next_delay(Mono(60_000)) <= Duration::from_millis(FAST_DELAY_MS));
    }

    proptest! {
        #[test]
        fn delays_keep_their_bounds(seed: u64) {
            let start = Mono(5_000);
            let all = delays(seed, 400);
            for (at, delay) in &all {
                prop_assert!(*delay <= LONGEST + LONGEST / 4);
                if at.since(start) < FAST_PHASE {
                    prop_assert!(*delay <= Duration::from_millis(FAST_DELAY_MS));
                } else {
                    prop_assert!(*delay >= FIRST_DELAY);
                    // A cut of six and a half minutes once cost 51 s more.
                    let share = (at.since(start) / SHARE).max(FIRST_DELAY);
                    prop_assert!(*delay <= share + share / 4);
                }
            }
            prop_assert!(all[399].1 >= LONGEST, "in the end the delays are long");
        }
    }
}
