//! Who may stay connected: strangers, who may say little and not for long, and people whom the door knows.
//!
//! A stranger always gets in, so that a health check is answered whatever others do; when it is full, the one that gives way is the
//! oldest stranger of the address that has most of them. People have places of their own, which no stranger takes.
//!
//! Invariant: at most [`STRANGERS`] + [`PEOPLE`] connections are open, of them at most [`PEOPLE_EACH`] people of one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use wire_transport::place;

/// Connections of which nothing is known: health checks, pages before the login, and whoever scans the port.
const STRANGERS: usize = 128;
/// Of these, from one address.
const STRANGERS_EACH: usize = 32;
/// Connections of people: 40 browsers with six each, and programs.
const PEOPLE: usize = 256;
/// Of these, from one address: many people behind one proxy, and never all.
const PEOPLE_EACH: usize = 192;

/// All places.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    last: u64,
    /// In the order of coming, with what ends each.
    strangers: BTreeMap<u64, (IpAddr, CancellationToken)>,
    people: BTreeMap<u64, IpAddr>,
}

/// One connection's place.
#[derive(Debug, Clone)]
pub struct Place(Arc<Held>);

#[derive(Debug)]
struct Held {
    places: Places,
    number: u64,
    address: IpAddr,
    gives_way: CancellationToken,
}

impl Places {
    /// A place for a stranger; somebody else's ends if there is none.
    pub fn enter(&self, address: IpAddr) -> Place {
        let address = place(address);
        let mut inside = self.lock();
        inside.make_room(address);
        inside.last += 1;
        let (number, gives_way) = (inside.last, CancellationToken::new());
        inside.strangers.insert(number, (address, gives_way.clone()));
        Place(Arc::new(Held {
            places: self.clone(),
            number,
            address,
            gives_way,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn make_room(&mut self, address: IpAddr) {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (of, _) in self.strangers.values() {
            *counts.entry(*of).or_default() += 1;
        }
        let crowded = if counts.get(&address).is_some_and(|count| *count >= STRANGERS_EACH) {
            Some(address)
        } else if self.strangers.len() >= STRANGERS {
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(of, _)| of)
        } else {
            None
        };
        let oldest = crowded.and_then(|crowded| self.strangers.iter().find(|(_, (of, _))| *of == crowded));
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some((_, gives_way)) = self.strangers.remove(&number)
        {
            gives_way.cancel();
        }
    }
}

impl Place {
    /// From where the connection comes: an IPv4 address, or the network of an IPv6 one.
    pub fn address(&self) -> IpAddr {
        self.0.address
    }

    /// The door knows who this is: the connection is no stranger's any more. False: all places of people are taken.
    pub fn is_known(&self) -> bool {
        let held = &self.0;
        let mut inside = held.places.lock();
        if inside.people.contains_key(&held.number) {
            return true;
        }
        let of_address = inside.people.values().filter(|of| **of == held.address).count();
        if inside.people.len() >= PEOPLE || of_address >= PEOPLE_EACH {
            return false;
        }
        inside.strangers.remove(&held.number);
        inside.people.insert(held.number, held.address);
        true
    }

    /// Whether it is still a stranger's.
    pub fn is_strangers(&self) -> bool {
        !self.0.places.lock().people.contains_key(&self.0.number)
    }

    /// Waits until this place is given to somebody else.
    pub async fn given_away(&self) {
        self.0.gives_way.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inside = self.places.lock();
        inside.strangers.remove(&self.number);
        inside.people.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_over(place: &Place) -> bool {
        place.0.gives_way.is_cancelled()
    }

    #[test]
    fn a_stranger_that_fills_the_port_only_displaces_itself() {
        let places = Places::default();
        let friend = places.enter(address(1));
        let many: Vec<Place> = (0..1_000).map(|_| places.enter(address(2))).collect();
        assert_eq!(many.iter().filter(|place| !is_over(place)).count(), STRANGERS_EACH);
        assert!(!is_over(&friend));
        assert!(!is_over(&places.enter(address(3))), "a newcomer gets in");
    }

    #[test]
    fn from_many_addresses_the_newest_still_gets_in_and_people_stay() {
        let places = Places::default();
        let person = places.enter(address(1));
        assert!(person.is_known() && !person.is_strangers());
        let many: Vec<Place> = (0..1_000).map(|n| places.enter(address((n % 200) as u8))).collect();
        assert!(many.last().is_some_and(|place| !is_over(place)));
        assert!(many.iter().filter(|place| !is_over(place)).count() <= STRANGERS);
        assert!(!is_over(&person));
    }

    #[test]
    fn one_address_never_has_all_places_of_people() {
        let places = Places::default();
        let mut known = 0;
        let mut held = Vec::new();
        for _ in 0..PEOPLE {
            let place = places.enter(address(1));
            known += usize::from(place.is_known());
            held.push(place);
        }
        assert_eq!(known, PEOPLE_EACH);
        assert!(places.enter(address(2)).is_known());
        drop(held);
        let inside = places.lock();
        assert!(inside.people.is_empty() && inside.strangers.is_empty());
    }
}
