//! How often somebody may try a password or a code: by name, and by network address.
//!
//! After [`FREE`] failures each further try must wait, twice as long as the one before, at most [`LONGEST`]. A success forgets the
//! name's failures, not the address's. Pure: the caller says when it is.
//!
//! Invariant: at most [`MOST_KEYS`] keys are remembered; those whose wait is over longest give way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use wire::time::Mono;

/// Failures that cost nothing: people mistype.
const FREE: u32 = 5;
/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Failures are forgotten after this time without one.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// Names and addresses that are remembered.
const MOST_KEYS: usize = 10_000;

/// Whose tries are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Everybody who tries this name, in lower case.
    Name(String),
    /// Everybody at this address.
    Address(IpAddr),
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Throttle(BTreeMap<Key, Failed>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    free_at: Mono,
    last: Mono,
}

impl Throttle {
    /// How long these must wait before they may try; `None` now.
    pub fn wait(&self, keys: &[Key], now: Mono) -> Option<Duration> {
        let waits = keys.iter().filter_map(|key| self.0.get(key));
        let longest = waits.map(|failed| failed.free_at.since(now)).max()?;
        (!longest.is_zero()).then_some(longest)
    }

    /// They tried, and were wrong.
    pub fn failed(&mut self, keys: &[Key], now: Mono) {
        for key in keys {
            self.make_room(key, now);
            let failed = self.0.entry(key.clone()).or_insert(Failed {
                times: 0,
                free_at: now,
                last: now,
            });
            if now.since(failed.last) > FORGOTTEN {
                failed.times = 0;
            }
            failed.times = failed.times.saturating_add(1);
            failed.last = now;
            failed.free_at = now + wait_after(failed.times, key);
        }
    }

    /// This name was right.
    pub fn succeeded(&mut self, name: &Key) {
        self.0.remove(name);
    }

    fn make_room(&mut self, key: &Key, now: Mono) {
        if self.0.len() < MOST_KEYS || self.0.contains_key(key) {
            return;
        }
        self.0.retain(|_, failed| now.since(failed.last) <= FORGOTTEN);
        if self.0.len() >= MOST_KEYS
            && let Some(oldest) = self.0.iter().min_by_key(|(_, failed)| (failed.free_at, failed.last))
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
    }
}

/// Many people share an address behind a proxy, so it may fail four times as often.
fn wait_after(times: u32, key: &Key) -> Duration {
    let free = match key {
        Key::Name(_) => FREE,
        Key::Address(_) => 4 * FREE,
    };
    match times.checked_sub(free) {
        None | Some(0) => Duration::ZERO,
        Some(beyond) => FIRST.saturating_mul(1 << (beyond - 1).min(20)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Key {
        Key::Name(text.to_owned())
    }

    #[test]
    fn each_failure_beyond_five_doubles_the_wait_and_success_forgets() {
        let mut throttle = Throttle::default();
        let keys = [name("ann")];
        let mut now = Mono(0);
        for _ in 0..5 {
            throttle.failed(&keys, now);
            assert_eq!(throttle.wait(&keys, now), None);
        }
        for seconds in [1, 2, 4, 8] {
            throttle.failed(&keys, now);
            assert_eq!(throttle.wait(&keys, now), Some(Duration::from_secs(seconds)));
            now = now + Duration::from_secs(seconds);
            assert_eq!(throttle.wait(&keys, now), None);
        }
        assert_eq!(throttle.wait(&[name("bob")], now), None, "others are not held up");
        throttle.succeeded(&keys[0]);
        throttle.failed(&keys, now);
        assert_eq!(throttle.wait(&keys, now), None);
    }

    #[test]
    fn the_wait_is_bounded_and_failures_are_forgotten() {
        let mut throttle = Throttle::default();
        let keys = [name("ann")];
        (0..200).for_each(|_| throttle.failed(&keys, Mono(0)));
        assert_eq!(throttle.wait(&keys, Mono(0)), Some(LONGEST));
        let later = Mono(0) + FORGOTTEN + Duration::from_secs(1);
        throttle.failed(&keys, later);
        assert_eq!(throttle.wait(&keys, later), None);
    }

    #[test]
    fn one_address_that_tries_many_names_is_slowed_down_too() {
        let mut throttle = Throttle::default();
        let address = Key::Address(IpAddr::from([192, 0, 2, 1]));
        for n in 0..21 {
            throttle.failed(&[name(&format!("user{n}")), address.clone()], Mono(0));
        }
        assert!(throttle.wait(&[name("ann"), address], Mono(0)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..MOST_KEYS + 10 {
            throttle.failed(&[name(&n.to_string())], Mono(0));
        }
        assert_eq!(throttle.0.len(), MOST_KEYS);
    }
}
