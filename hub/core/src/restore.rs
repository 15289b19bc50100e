//! Finds out from a hello that this hub was restored from an older copy, and raises its hub epoch.
//!
//! The agents remember more than the hub: an acknowledgement that it no longer holds, a generation that it never gave, a hub
//! epoch above its own. Each is proof. One raise is enough for the whole fleet: an agent that still names an epoch below ours
//! only repeats what another has told before.
//!
//! Invariant: after a restore, no command leaves under a hub epoch that the hub's former self may have used, and no bundle gets
//! a generation that an agent has heard of.

use std::cmp::Ordering;

use wire::BundleRef;
use wire::frame::Hello;
use wire::ids::HubEpoch;
use wire::time::Now;

use crate::bundles::wall_number;
use crate::fleet::{Node, Place};
use crate::hub::Hub;

/// Beacon numbers are milliseconds at most; no hub lives for 34 years between two copies.
const BEACON_LEAP: u64 = 1 << 40;
/// Beyond this the two epochs have nothing to do with each other, and numbers must not be used up.
const MOST_INCARNATIONS: u64 = 1_024;

impl Hub {
    /// Takes in what a hello reveals. Returns the hub epoch that must be stored before the welcome.
    pub(crate) fn learn(&mut self, place: Place, hello: &Hello, now: Now) -> HubEpoch {
        let node = self.fleet.node(place);
        let generation = self.counted(hello.generation_floor.max(hello.bundle.generation));
        let forgotten = hello.acked > node.durable(hello.head.epoch)
            || generation > self.wanted.generation_floor.max(self.bundles.newest_generation())
            || self.forked(hello.bundle)
            || hello.hub_epoch > self.wanted.hub_epoch;
        let news = match hello.hub_epoch.cmp(&self.wanted.hub_epoch) {
            Ordering::Greater => true,
            Ordering::Equal => !repeats(node, hello),
            Ordering::Less => false,
        };
        self.wanted.generation_floor = self.wanted.generation_floor.max(generation);
        if forgotten && news {
            let before = self.wanted.hub_epoch;
            self.wanted.hub_epoch = before.max(hello.hub_epoch).next();
            // Each incarnation that we do not remember may have leapt as well.
            let incarnations = (self.wanted.hub_epoch.0 - before.0).min(MOST_INCARNATIONS);
            let number = self.wanted.beacon_floor.max(wall_number(now.wall));
            self.wanted.beacon_floor = number.saturating_add(incarnations * BEACON_LEAP);
            self.bundles.leap(self.wanted.beacon_floor);
        }
        self.wanted.hub_epoch
    }

    /// The agent has another bundle under the number of ours: ours was published by a hub that had forgotten theirs.
    pub(crate) fn forked(&self, theirs: BundleRef) -> bool {
        let ours = self.bundles.newest_reference();
        ours.generation == theirs.generation && ours.digest != theirs.digest
    }
}

/// The agent claims no more than at its last hello, which has had its consequence.
fn repeats(node: &Node, hello: &Hello) -> bool {
    node.record.told.as_ref().is_some_and(|told| {
        told.head.epoch == hello.head.epoch
            && hello.acked <= told.acked
            && hello.generation_floor <= told.generation_floor
            && hello.bundle == told.bundle
    })
}
