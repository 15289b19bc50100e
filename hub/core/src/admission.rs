//! Decides who may begin a session now, and when the others come back.
//!
//! Two buckets of tokens: one for the hub, so that a restarted hub is not trampled by its fleet, and one for each identity,
//! so that one sick agent does not use up everybody's. Never per address: a site behind one NAT is many agents.
//!
//! Invariant: in any span the hub admits at most `max_handshakes` + `span` x `8 x max_handshakes` per second, and two agents
//! that are refused at the same time get different slots.

use std::time::Duration;

use wire::Mono;

/// A handshake takes a round trip and a commit; an eighth of a second is a slow one.
const TURNOVER_PER_SECOND: u64 = 8;
/// One identity may begin this many sessions at once: a fast phase after a short outage is five or six tries.
const IDENTITY_BURST: u64 = 20;
/// Then one in this time: an agent's own backoff is slower than that.
const IDENTITY_EVERY: Duration = Duration::from_secs(1);
/// No slot is further away: an agent's own backoff ends here as well.
const FARTHEST_SLOT: Duration = Duration::from_secs(300);

/// Tokens in microseconds of time, so that any rate fits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// When it will be full again, in microseconds.
    full_at_us: u64,
}

impl Bucket {
    /// Takes one token, or says how long until there is one.
    pub(crate) fn take(&mut self, now: Mono, burst: u64, every_us: u64) -> Result<(), Duration> {
        let now_us = now.0.saturating_mul(1_000);
        let full_at_us = self.full_at_us.max(now_us).saturating_add(every_us);
        let latest_us = now_us.saturating_add(burst.saturating_mul(every_us));
        if full_at_us > latest_us {
            return Err(Duration::from_micros(full_at_us - latest_us));
        }
        self.full_at_us = full_at_us;
        Ok(())
    }
}

/// Takes one of an identity's own tokens.
pub(crate) fn admit_identity(bucket: &mut Bucket, now: Mono) -> Result<(), Duration> {
    let every_us = u64::try_from(IDENTITY_EVERY.as_micros()).unwrap_or(u64::MAX);
    bucket.take(now, IDENTITY_BURST, every_us)
}

/// The hub's own bucket and its slots.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    bucket: Bucket,
    max_handshakes: u64,
    /// The last slot that was given away, in microseconds.
    slots_until_us: u64,
}

impl Admission {
    pub(crate) fn new(max_handshakes: usize) -> Self {
        Self {
            bucket: Bucket::default(),
            max_handshakes: (max_handshakes as u64).max(1),
            slots_until_us: 0,
        }
    }

    fn every_us(&self) -> u64 {
        (1_000_000 / (TURNOVER_PER_SECOND * self.max_handshakes)).max(1)
    }

    /// Admits one more handshake beside `open` others, or gives a slot.
    pub(crate) fn admit(&mut self, open: usize, now: Mono) -> Result<(), Duration> {
        let free = (open as u64) < self.max_handshakes;
        let every_us = self.every_us();
        if free && self.bucket.take(now, self.max_handshakes, every_us).is_ok() {
            return Ok(());
        }
        Err(self.slot(now))
    }

    /// The next free slot: how long to wait for it.
    pub(crate) fn slot(&mut self, now: Mono) -> Duration {
        let now_us = now.0.saturating_mul(1_000);
        // Everything that was admitted or promised before comes first.
        let begin_us = self.slots_until_us.max(now_us.saturating_add(100_000));
        self.slots_until_us = begin_us.saturating_add(self.every_us());
        Duration::from_micros(self.slots_until_us.saturating_sub(now_us)).min(FARTHEST_SLOT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(max_handshakes: usize, arrivals_ms: &[u64], expected: &[&str]) {
        let mut admission = Admission::new(max_handshakes);
        let found: Vec<String> = arrivals_ms
            .iter()
            .map(|at| match admission.admit(0, Mono(*at)) {
                Ok(()) => "in".to_owned(),
                Err(wait) => format!("{} ms", wait.as_millis()),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_burst_is_let_in_and_the_rest_gets_slots() {
        check(1, &[0, 0, 0, 0], &["in", "225 ms", "350 ms", "475 ms"]);
        check(1, &[0, 225, 350, 475], &["in", "in", "in", "in"]);
        check(2, &[0, 0, 0], &["in", "in", "162 ms"]);
    }

    #[test]
    fn a_full_house_lets_nobody_in() {
        let mut admission = Admission::new(3);
        assert!(admission.admit(3, Mono(0)).is_err());
        assert!(admission.admit(2, Mono(0)).is_ok());
    }

    #[test]
    fn one_identity_cannot_use_up_the_tokens() {
        let mut bucket = Bucket::default();
        let admitted = (0..100)
            .filter(|_| admit_identity(&mut bucket, Mono(0)).is_ok())
            .count();
        assert_eq!(admitted as u64, IDENTITY_BURST);
        assert!(admit_identity(&mut bucket, Mono(1_000)).is_ok());
    }

    proptest! {
        #[test]
        fn no_span_admits_more_than_its_share(
            max in 1usize..50, steps in proptest::collection::vec(0u64..40, 1..400)
        ) {
            let mut admission = Admission::new(max);
            let mut now = 0;
            let mut admitted = Vec::new();
            let mut slots = Vec::new();
            for step in steps {
                now += step;
                match admission.admit(0, Mono(now)) {
                    Ok(()) => admitted.push(now),
                    Err(wait) => slots.push(now * 1_000 + wait.as_micros() as u64),
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                for (count, to) in admitted[index..].iter().enumerate() {
                    let allowed = max as u64 + (to - from + 1) * 8 * max as u64 / 1_000 + 1;
                    prop_assert!(count as u64 <= allowed);
                }
            }
            prop_assert!(slots.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
