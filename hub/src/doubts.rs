//! Whom this hub doubts: addresses that had their requests for a certificate refused again and again.
//!
//! Decides whether such an address may try once more, and whether one more refusal is worth a line in the log. Never decides who
//! gets a certificate, and never keeps an agent's session out: those come to another door.
//!
//! Invariant: bounded by `MOST_PLACES`; at most `LINES` lines in each `SPAN`, and what they leave out is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::enroll::Refusal;
use wire_transport::place;

/// What is counted together.
const SPAN: Duration = Duration::from_secs(60);
/// Refusals of one address in a span: a person who mistypes, or a site whose token has ended.
const TRIES: u32 = 10;
/// Lines about refusals in a span, all addresses together.
const LINES: u32 = 20;
/// Addresses that are remembered; beyond it those that are doubted least recently are forgotten.
const MOST_PLACES: usize = 4_096;

/// The memory.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    places: HashMap<IpAddr, Count>,
    lines: Option<Count>,
    untold: u64,
}

/// How often since when.
#[derive(Debug, Clone, Copy)]
struct Count {
    since: Instant,
    times: u32,
}

impl Count {
    fn one_more(before: Option<Self>, now: Instant) -> Self {
        match before {
            Some(count) if now.saturating_duration_since(count.since) < SPAN => Self {
                times: count.times.saturating_add(1),
                ..count
            },
            _ => Self { since: now, times: 1 },
        }
    }
}

impl Doubts {
    /// Whether an address may try.
    pub fn is_welcome(&self, address: IpAddr, now: Instant) -> bool {
        let known = self.lock();
        let count = known.places.get(&place(address));
        count.is_none_or(|count| count.times < TRIES || now.saturating_duration_since(count.since) >= SPAN)
    }

    /// A request was refused. What the hub itself is to blame for is no reason for doubt.
    pub fn refused(&self, address: IpAddr, refusal: Refusal, detail: &str) {
        let now = Instant::now();
        if !matches!(refusal, Refusal::Unavailable) {
            self.doubt(address, now);
        }
        if let Some(untold) = self.is_told(now) {
            tracing::info!(%address, ?refusal, detail, untold, "refused a certificate");
        }
    }

    fn doubt(&self, address: IpAddr, now: Instant) {
        let mut known = self.lock();
        if known.places.len() >= MOST_PLACES {
            known
                .places
                .retain(|_, count| now.saturating_duration_since(count.since) < SPAN);
        }
        let oldest = || known.places.iter().min_by_key(|(_, count)| count.since);
        if known.places.len() >= MOST_PLACES
            && let Some(oldest) = oldest().map(|(place, _)| *place)
        {
            known.places.remove(&oldest);
        }
        let place = place(address);
        let count = Count::one_more(known.places.get(&place).copied(), now);
        known.places.insert(place, count);
    }

    /// Whether one more line is written, and how many were left out before it.
    fn is_told(&self, now: Instant) -> Option<u64> {
        let mut known = self.lock();
        let lines = Count::one_more(known.lines, now);
        known.lines = Some(lines);
        if lines.times > LINES {
            known.untold += 1;
            return None;
        }
        Some(std::mem::take(&mut known.untold))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::from(last.to_be_bytes())
    }

    #[test]
    fn an_address_that_is_refused_again_and_again_waits_and_others_do_not() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        for _ in 0..TRIES {
            assert!(doubts.is_welcome(address(1), now));
            doubts.doubt(address(1), now);
        }
        assert!(!doubts.is_welcome(address(1), now));
        assert!(doubts.is_welcome(address(2), now));
        assert!(doubts.is_welcome(address(1), now + SPAN));
    }

    #[test]
    fn the_log_is_not_filled_and_says_what_it_left_out() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        let told = (0..1_000).filter_map(|_| doubts.is_told(now)).count();
        assert_eq!(told, LINES as usize);
        assert_eq!(doubts.is_told(now + SPAN), Some(980));
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        for last in 0..5_000 {
            doubts.doubt(address(last), now + Duration::from_millis(u64::from(last)));
        }
        assert_eq!(doubts.lock().places.len(), MOST_PLACES);
    }
}
