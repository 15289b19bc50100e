//! Finds out from a hello that this hub was restored from an older copy, and raises its hub epoch.
//!
//! The agents remember more than the hub: an acknowledgement that it no longer holds, a generation that it never gave, a hub
//! epoch above its own. Each is proof. One raise is enough for the whole fleet: an agent that still names an epoch below ours
//! only repeats what another has told before.
//!
//! All of this is one agent's word, which nothing proves. So it is believed only near to our own numbers and only so often, from one
//! identity and from all together; a bundle that an agent names counts only once it is here and its signature holds
//! (`bundles.rs`). A word that is not believed costs its own agent only: it is turned away where it would not follow us anyway.
//!
//! Invariant: after a restore, no command leaves under a hub epoch that the hub's former self may have used, and no bundle gets
//! a generation that an agent has heard of.

use std::cmp::Ordering;
use std::time::Duration;

use wire::BundleRef;
use wire::frame::Hello;
use wire::ids::{Generation, HubEpoch};
use wire::time::{Mono, Now};

use crate::admission::Bucket;
use crate::bundles::wall_number;
use crate::fleet::{Node, Place};
use crate::hub::Hub;

/// Beacon numbers are milliseconds at most; no copy that is two years older than its original is restored.
const BEACON_LEAP: u64 = 1 << 36;
/// Hub epochs that a former self may be ahead: each is a restore of its own.
const MOST_INCARNATIONS: u64 = 64;
/// Generations that a former self may be ahead without a bundle that proves it: publications between two copies.
const MOST_GENERATIONS: u64 = 1_024;
/// One identity is believed this often at once: a hub that is restored, and once more because the first copy was the wrong one.
const IDENTITY_BURST: u64 = 4;
/// Then once in this time: what an agent remembers of a former hub, it tells once.
const IDENTITY_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// All together are believed this often at once: agents of different memory that come back one after the other.
const FLEET_BURST: u64 = 64;
/// Then once in this time. Each takes [`MOST_INCARNATIONS`] leaps of the beacon numbers at most: they last for eighty years of it.
const FLEET_EVERY: Duration = Duration::from_secs(600);

/// How often unproven words may still be believed.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    fleet: Bucket,
}

impl Trust {
    /// Takes one of the identity's own and one of the fleet's.
    fn take(&mut self, identity: &mut Bucket, now: Mono) -> bool {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let own = identity.take(now, IDENTITY_BURST, micros(IDENTITY_EVERY));
        own.is_ok() && self.fleet.take(now, FLEET_BURST, micros(FLEET_EVERY)).is_ok()
    }
}

impl Hub {
    /// Takes in what a hello reveals. Returns the hub epoch that must be stored before the welcome, or why its word is not taken
    /// although the agent would follow no hub that does not take it.
    pub(crate) fn learn(&mut self, place: Place, hello: &Hello, now: Now) -> Result<HubEpoch, String> {
        let told = self.counted(hello.generation_floor);
        let floor = self.wanted.generation_floor.max(self.bundles.newest_generation());
        let near = Generation(floor.0.saturating_add(MOST_GENERATIONS));
        let generation = if told <= near { told } else { Generation(0) };
        let ahead = self.counted(hello.bundle.generation) > floor;
        let node = self.fleet.node(place);
        let forgotten = hello.acked > node.durable(hello.head.epoch)
            || generation > floor
            || ahead
            || self.forked(hello.bundle)
            || hello.hub_epoch > self.wanted.hub_epoch;
        let news = match hello.hub_epoch.cmp(&self.wanted.hub_epoch) {
            Ordering::Greater => true,
            Ordering::Equal => !repeats(node, hello),
            Ordering::Less => false,
        };
        if hello.hub_epoch > self.most_hub_epoch(now) {
            return Err(format!(
                "hub epoch {} lies beyond all that can have been: this hub is at {}; if it was made anew, its clock is behind",
                hello.hub_epoch, self.wanted.hub_epoch
            ));
        }
        let needs_trust = forgotten && news || generation > self.wanted.generation_floor;
        if needs_trust && !self.trust.take(&mut self.fleet.node_mut(place).trust, now.mono) {
            if hello.hub_epoch > self.wanted.hub_epoch {
                return Err("this identity has told of too many former hubs: come again tomorrow".to_owned());
            }
            return Ok(self.wanted.hub_epoch);
        }
        self.wanted.generation_floor = self.wanted.generation_floor.max(generation);
        if forgotten && news {
            self.raise_above(hello.hub_epoch, now);
        }
        Ok(self.wanted.hub_epoch)
    }

    /// Above all that a former self can have had: a new store begins at the seconds of its clock, each restore adds one.
    fn most_hub_epoch(&self, now: Now) -> HubEpoch {
        let seconds = wall_number(now.wall) / 1_000;
        HubEpoch(self.wanted.hub_epoch.0.max(seconds).saturating_add(MOST_INCARNATIONS))
    }

    /// A new incarnation, above ours and `theirs`.
    pub(crate) fn raise_above(&mut self, theirs: HubEpoch, now: Now) {
        let before = self.wanted.hub_epoch;
        self.wanted.hub_epoch = before.max(theirs).next();
        // Each incarnation that we do not remember may have leapt as well.
        let incarnations = (self.wanted.hub_epoch.0 - before.0).min(MOST_INCARNATIONS);
        let number = self.wanted.beacon_floor.max(wall_number(now.wall));
        self.wanted.beacon_floor = number.saturating_add(incarnations * BEACON_LEAP);
        self.bundles.leap(self.wanted.beacon_floor);
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
