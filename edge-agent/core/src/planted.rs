//! Bugs that can be switched on, so that the simulation can show that it would notice them.
//!
//! Without the feature `planted`, which no product names, the switch does not exist and every question here answers no.
//!
//! Read next: `testbed/sim`, the only user.

use crate::Agent;

/// Which bug.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Planted {
    /// None: the core as it ships.
    #[default]
    Nothing,
    /// Starts an action together with the append of its decision instead of after it.
    ActBeforeAppend,
    /// Activates a bundle without looking at the generation floor.
    SkipFloor,
    /// Goes on in the same epoch after the journal was lost.
    ReuseEpoch,
    /// Forgets which commands were applied.
    CommandTwice,
    /// Repeats an action after a crash instead of probing it.
    RepeatBlindly,
    /// Sheds telemetry without a gap entry.
    ShedSilently,
    /// Begins after a restart as if nothing had been done before.
    ForgetBudgets,
    /// Believes that it is always its turn.
    TakeTurn,
    /// Takes a beacon that was heard before for a fresh one.
    OldBeacon,
    /// Takes another bundle of the same generation.
    EqualGeneration,
    /// Forgets over a restart that a person holds the node.
    ForgetHold,
    /// Goes on with the authority that it had.
    KeepAuthority,
    /// Takes what is under way for stored when its session moves to another path.
    SkipOnMove,
    /// Takes a neighbour's word for a proof that policy is fresh.
    FreshByPeers,
    /// Makes an entry of whatever a neighbour passes on in vain.
    NoteStrangers,
}

impl Agent {
    /// Switches a bug on.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: Planted) {
        self.planted = bug;
    }

    pub(crate) fn has_planted(&self, bug: Planted) -> bool {
        cfg!(feature = "planted") && self.planted == bug
    }
}
