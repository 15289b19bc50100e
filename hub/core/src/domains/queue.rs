//! Who waits for a turn, in the order of asking.
//!
//! Joining, leaving and asking whether somebody waits cost the same however many wait.
//!
//! Invariant: everyone who waits stands in it once.

use std::collections::BTreeMap;

use crate::fleet::Place;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BTreeMap<i64, Place>,
    tickets: BTreeMap<Place, i64>,
}

impl Queue {
    /// Waits behind all others; whoever waits already keeps its place.
    pub(super) fn join(&mut self, place: Place) {
        let last = self.order.last_key_value().map_or(0, |(ticket, _)| *ticket);
        self.take(place, last.saturating_add(1));
    }

    /// Waits before all others; whoever waits already keeps its place.
    pub(super) fn join_first(&mut self, place: Place) {
        let first = self.order.first_key_value().map_or(0, |(ticket, _)| *ticket);
        self.take(place, first.saturating_sub(1));
    }

    fn take(&mut self, place: Place, ticket: i64) {
        if !self.contains(place) {
            self.tickets.insert(place, ticket);
            self.order.insert(ticket, place);
        }
    }

    /// Waits no more.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(ticket) = self.tickets.remove(&place) {
            self.order.remove(&ticket);
        }
    }

    /// Whether it waits.
    pub(super) fn contains(&self, place: Place) -> bool {
        self.tickets.contains_key(&place)
    }

    /// Everyone, in order.
    pub(super) fn in_order(&self) -> Vec<Place> {
        self.order.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_stands_once_in_the_order_of_asking() {
        let mut queue = Queue::default();
        for place in [5, 3, 5, 9] {
            queue.join(place);
        }
        queue.join_first(1);
        queue.join_first(9);
        assert_eq!(queue.in_order(), [1, 5, 3, 9]);
        queue.remove(5);
        queue.remove(7);
        queue.join(5);
        assert_eq!(queue.in_order(), [1, 3, 9, 5]);
        assert!(queue.contains(9) && !queue.contains(7));
    }
}
