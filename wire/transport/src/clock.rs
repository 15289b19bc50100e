//! Decides what time it is when a certificate is checked.
//!
//! A machine whose clock stands in 1970, or years ahead, must still reach its hub. So a time that an authenticated hub told us,
//! carried on by the monotonic clock, comes first; before the first such time, the wall clock counts, but never below a floor
//! (build time, last journaled time) that is certainly past.
//!
//! Any of these may itself have come from a clock that ran ahead once. So that nobody is locked out for ever by that, a
//! certificate counts also where the machine's own clock, as it is now, says that it is valid (`tls.rs`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;
use wire::time::Wall;

/// The time for certificate checks. Clones share one state.
#[derive(Debug, Clone)]
pub struct CertificateClock(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    floor: Wall,
    learned: Option<(Wall, Instant)>,
}

impl CertificateClock {
    /// The wall clock, but never before `floor`.
    pub fn new(floor: Wall) -> Self {
        Self(Arc::new(Mutex::new(Known { floor, learned: None })))
    }

    /// Takes over a time that the authenticated hub told; from now on it is carried on by the monotonic clock.
    pub fn learn(&self, hub: Wall) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.learned = Some((hub, Instant::now()));
        known.floor = known.floor.max(hub);
    }

    /// Whether a hub has told the time since the start.
    pub fn is_learned(&self) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.learned.is_some()
    }

    /// The time now, as well as it is known.
    pub fn now(&self) -> Wall {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.learned {
            Some((at, since)) => Wall(at.0.saturating_add(milliseconds(since.elapsed()))),
            None => system_now().max(known.floor),
        }
    }
}

/// What the machine's clock says now, whatever was learned.
pub(crate) fn machine_time() -> UnixTime {
    unix(system_now())
}

fn unix(wall: Wall) -> UnixTime {
    let seconds = u64::try_from(wall.0 / 1000).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

impl rustls::time_provider::TimeProvider for CertificateClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.now()))
    }
}

fn system_now() -> Wall {
    Wall(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => milliseconds(since),
        Err(before) => -milliseconds(before.duration()),
    })
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Year 2100: ahead of any machine that runs this test.
    const AHEAD: Wall = Wall(4_102_444_800_000);

    #[test]
    fn a_clock_behind_the_floor_counts_as_the_floor() {
        assert_eq!(CertificateClock::new(AHEAD).now(), AHEAD);
    }

    #[test]
    fn a_clock_that_is_years_ahead_yields_to_what_the_hub_said() {
        let clock = CertificateClock::new(Wall(0));
        assert!(clock.now() > Wall(1_700_000_000_000));
        clock.learn(Wall(1_000_000));
        assert!(clock.now() < Wall(1_000_000 + 3_600_000));
    }
}
