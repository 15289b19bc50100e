//! Bugs that can be switched on, so that the simulation can show that it would notice them.
//!
//! Without the feature `planted`, which no product names, the switch does not exist and every question here answers no.
//!
//! Read next: `testbed/sim`, the only user.

/// Which bug.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Planted {
    /// None: the core as it ships.
    #[default]
    Nothing,
    /// Asks for a step of a plan again after a restart, under another id, instead of finding out what became of it.
    RepeatSteps,
    /// Leaves plans alone that a process before this one has begun.
    LeavePlans,
    /// Joins the outcome of a plan to its prediction twice.
    CountTwice,
}

impl Planted {
    pub(crate) fn is(self, bug: Self) -> bool {
        cfg!(feature = "planted") && self == bug
    }
}
