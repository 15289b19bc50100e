//! How often one identity may ask: a bucket for each that fills again all the time.
//!
//! Limits for those who are known are per identity, never per address, because a site is often one address. Whoever is over the
//! limit is told when to come again; the fleet's own sessions do not pass here.
//!
//! Invariant: at most `MOST_KNOWN` buckets; a full one is the same as none, so those go first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Identities that are remembered at once: more have asked within seconds only on a hub under attack, and then full ones go.
const MOST_KNOWN: usize = 16_384;
/// How many seconds' worth of requests may come at once: a page of the console asks for a dozen things, a script for hundreds.
const BURST_S: f64 = 10.0;

/// What is left of one identity's requests.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Everybody's buckets.
#[derive(Debug)]
pub struct Limits {
    per_second: Option<f64>,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

/// What a request was allowed, for its headers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowed {
    /// Requests that may come at once.
    pub most: u64,
    /// Requests that are left now.
    pub left: u64,
}

impl Limits {
    /// So many requests a second for each identity; 0 is no limit.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: (per_second > 0).then(|| f64::from(per_second)),
            buckets: Mutex::default(),
        }
    }

    /// Takes one request of an identity's, or says how long it should wait. `None` inside: there is no limit.
    pub fn take(&self, who: &str, now: Instant) -> Result<Option<Allowed>, Duration> {
        let Some(rate) = self.per_second else {
            return Ok(None);
        };
        let most = rate * BURST_S;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_KNOWN && !buckets.contains_key(who) {
            buckets.retain(|_, bucket| bucket.filled(rate, most, now) < most);
        }
        let bucket = match buckets.get_mut(who) {
            Some(bucket) => bucket,
            None => buckets.entry(who.to_owned()).or_insert(Bucket { left: most, at: now }),
        };
        bucket.left = bucket.filled(rate, most, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / rate));
        }
        bucket.left -= 1.0;
        Ok(Some(Allowed {
            most: whole(most),
            left: whole(bucket.left),
        }))
    }
}

impl Bucket {
    fn filled(&self, rate: f64, most: f64, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + passed * rate).min(most)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and ten times a u32"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let limits = Limits::new(2);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        for left in (0..20).rev() {
            assert_eq!(limits.take("ann", at(0)), Ok(Some(Allowed { most: 20, left })));
        }
        assert_eq!(limits.take("ann", at(0)), Err(Duration::from_millis(500)));
        assert!(limits.take("bob", at(0)).is_ok(), "one does not use up another's");
        assert!(limits.take("ann", at(499)).is_err());
        assert!(limits.take("ann", at(1_000)).is_ok());
    }

    #[test]
    fn nobody_is_limited_where_there_is_no_limit() {
        let limits = Limits::new(0);
        let now = Instant::now();
        assert!((0..10_000).all(|_| limits.take("ann", now) == Ok(None)));
    }
}
