//! Which policy was in force at a node when: as the node's own journal says.
//!
//! The hub keeps every policy that was published here. One that it does not have, of a hub that was lost, is replaced by the
//! newest, and that is said.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::Bundle;
use wire::api::{NodeView, SimulatedReadingsView};
use wire::bundle::BundlePayload;
use wire::entry::{EntryBody, Event};
use wire::ids::{Epoch, Generation};
use wire::time::{Mono, Wall};
use wire::{BundleRef, codec};

use crate::store::{Store, StoreError, Walk};

/// Entries looked through for changes of a node's policy: half a second of reading.
const MOST_ENTRIES: usize = 50_000;

/// A node's policies, oldest first.
pub struct InForce {
    /// At the beginning.
    pub first: BundleRef,
    /// From when on another one was.
    pub changes: Vec<(Epoch, Mono, BundleRef)>,
    /// Not all of the journal was looked through.
    pub cut: bool,
}

impl InForce {
    /// Walks the node's journal back to this time.
    pub fn read(store: &dyn Store, node: &NodeView, since: Wall) -> Result<Self, StoreError> {
        let present = BundleRef {
            generation: node.policy_generation,
            digest: node.policy_digest,
        };
        let (mut first, mut changes, mut seen) = (present, Vec::new(), 0);
        store.walk_back(&node.name, &mut |epoch, raw| {
            seen += 1;
            // What a hostile agent made is counted by `verify`, and nowhere else.
            if let Ok(entry) = raw.decode() {
                if entry.at.wall < since {
                    return Walk::Break(());
                }
                if let EntryBody::Event(Event::BundleActivated { bundle, before }) = entry.body {
                    changes.push((epoch, entry.at.mono, bundle));
                    first = before.unwrap_or(BundleRef::NONE);
                }
            }
            match seen < MOST_ENTRIES {
                true => Walk::Continue(()),
                false => Walk::Break(()),
            }
        })?;
        changes.reverse();
        Ok(Self {
            first,
            changes,
            cut: seen >= MOST_ENTRIES,
        })
    }
}

/// Policies that were read already.
#[derive(Default)]
pub struct Bundles {
    known: Vec<(BundleRef, Arc<Bundle>)>,
    compared_with: BTreeSet<Generation>,
    lost: BTreeSet<Generation>,
    stands_for: Option<Generation>,
}

impl Bundles {
    /// A policy as it was published; the newest where this hub does not have it.
    pub fn get(&mut self, store: &dyn Store, wanted: BundleRef) -> Result<Arc<Bundle>, StoreError> {
        self.compared_with.insert(wanted.generation);
        if let Some((_, bundle)) = self.known.iter().find(|(known, _)| *known == wanted) {
            return Ok(Arc::clone(bundle));
        }
        let stored = match wanted == BundleRef::NONE {
            true => Some(Bundle::without_rules()),
            false => store.bundle(&wanted)?.and_then(|signed| parsed(&signed)),
        };
        let bundle = match stored {
            Some(bundle) => bundle,
            None => {
                self.lost.insert(wanted.generation);
                let newest = store.bundles(1)?.pop();
                let newest = newest.and_then(|(reference, signed)| Some((reference, parsed(&signed)?)));
                self.stands_for = newest.as_ref().map(|(reference, _)| reference.generation);
                newest.map(|(_, bundle)| bundle).unwrap_or_else(Bundle::without_rules)
            }
        };
        let bundle = Arc::new(bundle);
        self.known.push((wanted, Arc::clone(&bundle)));
        Ok(bundle)
    }

    /// What was compared with.
    pub fn tell(self, view: &mut SimulatedReadingsView) {
        let list = |all: &BTreeSet<Generation>| all.iter().map(Generation::to_string).collect::<Vec<_>>().join(", ");
        if !self.lost.is_empty() {
            let stands_for = match self.stands_for {
                Some(newest) => format!("the newest, {newest}, stood for it"),
                None => "no rules stood for it".to_owned(),
            };
            view.replaced = Some(format!("policy {} is not stored here: {stands_for}", list(&self.lost)));
        }
        view.compared_with = self.compared_with.into_iter().collect();
    }
}

fn parsed(signed: &wire::SignedBundle) -> Option<Bundle> {
    let payload: BundlePayload = codec::decode(&signed.payload).ok()?;
    Bundle::parse_signed(&payload.text).ok()
}
