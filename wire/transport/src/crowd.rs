//! Counts who is inside by where they come from, so that one place never takes all the room of strangers.
//!
//! An IPv4 address is a place; of an IPv6 address the first 64 bits are, because whoever has one has all of them.
//!
//! Invariant: holds a row only for places that somebody of is inside.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many are inside, by place. Clones share one count.
#[derive(Debug, Clone, Default)]
pub struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One that is inside, until this is dropped.
#[derive(Debug)]
pub struct Inside {
    crowd: Crowd,
    place: IpAddr,
}

impl Crowd {
    /// One more of this address; `None` if its place has `most` inside already.
    pub fn enter(&self, address: IpAddr, most: usize) -> Option<Inside> {
        let place = place(address);
        let mut counts = self.lock();
        let inside = counts.entry(place).or_default();
        if *inside >= most {
            return None;
        }
        *inside += 1;
        let crowd = self.clone();
        Some(Inside { crowd, place })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut counts = self.crowd.lock();
        if let Some(inside) = counts.get_mut(&self.place) {
            *inside = inside.saturating_sub(1);
            if *inside == 0 {
                counts.remove(&self.place);
            }
        }
    }
}

/// What counts as one place.
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: &str) {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(place(address).to_string(), expected);
    }

    #[test]
    fn a_network_of_one_owner_is_one_place() {
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }

    #[test]
    fn a_full_place_leaves_the_others_alone() {
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        let crowd = Crowd::default();
        let (one, two) = (crowd.enter(here, 2), crowd.enter(here, 2));
        assert!(one.is_some() && two.is_some() && crowd.enter(here, 2).is_none());
        assert!(crowd.enter(there, 2).is_some());
        drop(one);
        let three = crowd.enter(here, 2);
        assert!(three.is_some());
        drop((two, three));
        assert!(crowd.lock().is_empty(), "nobody is remembered who has left");
    }
}
