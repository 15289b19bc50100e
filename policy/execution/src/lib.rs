//! Intent, effect, outcome: how one thing is carried out so that a crash at any moment neither loses nor repeats it.
//!
//! Whoever acts on the world (an agent on a device, the hub on a node or a cluster) keeps one [`Execution`] for each thing that it does. It
//! decides when the thing may be asked for, what follows from an answer, from silence and from a restart, and when it is taken
//! back; it never does anything itself, and never says what to do or why.
//!
//! Read next: `execution.rs`; `execution/model.rs` walks through every state, event and crash.

mod execution;

pub use execution::{Ability, Answer, Event, Execution, Limits, MOST_UNDOS, Probe, Reaction, Task};
