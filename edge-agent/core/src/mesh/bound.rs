//! How much a neighbour may say in a minute: what it passes on costs a signature's check, whatever it is worth.
//!
//! Invariant: in no minute are more than twice as many taken as the bound says.

use std::time::Duration;

use wire::time::Mono;

/// What one neighbour may pass on in a minute: a hub signs a few beacons in that time.
pub const GIFTS_A_MINUTE: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// Things of one kind in the present minute.
#[derive(Debug, Clone)]
pub struct Bound {
    since: Option<Mono>,
    count: u32,
    most: u32,
}

impl Bound {
    /// So many a minute at most.
    pub fn new(most: u32) -> Self {
        Self {
            since: None,
            count: 0,
            most,
        }
    }

    /// Whether there is room for one more.
    pub fn takes(&mut self, now: Mono) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= MINUTE) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_full_and_the_next_one_is_not() {
        let mut bound = Bound::new(2);
        let taken = |bound: &mut Bound, at| (0..5).filter(|_| bound.takes(Mono(at))).count();
        assert_eq!(taken(&mut bound, 5_000), 2);
        assert_eq!(taken(&mut bound, 64_999), 0);
        assert_eq!(taken(&mut bound, 65_000), 2);
    }
}
