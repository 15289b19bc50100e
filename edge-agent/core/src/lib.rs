//! The agent as a pure state machine: it is told ([`Agent::handle`]), then asked ([`Agent::poll_effect`], [`Agent::poll_timeout`]).
//!
//! Never waits, never reads a clock, never does I/O, never draws randomness beyond its seed.
//!
//! Invariant: nothing that anyone else can see (an `Act`, the `Send` of an entry) is queued before the record that explains it
//! has come back as [`Input::Appended`]; the one exception are protective actions while the journal fails, which are counted.
//!
//! Read next: `input.rs` and `effect.rs` (the border), `agent.rs` (the turn).

mod actions;
mod agent;
mod backoff;
mod bundles;
mod clock;
mod commands;
mod devices;
mod domains;
mod effect;
pub mod faults;
mod findings;
mod glass;
mod input;
mod link;
mod marks;
mod mesh;
mod orders;
mod planted;
mod record;
mod recover;
mod roles;
mod sync;
mod telemetry;
mod view;

#[cfg(test)]
mod testing;

pub use agent::Agent;
pub use effect::{Batch, Effect, GATHER, LocalAnswer, Log, Token};
pub use input::{ActionResult, AppendError, Floor, Input, Loaded, LocalRequest, ProbeResult, Recovered, Run, Settings};
pub use mesh::{
    Bound, Doubts, GIFTS_A_MINUTE, Homing, Shared, better_than, carrier, carriers, could_carry, is_there_another,
};
#[doc(hidden)]
pub use planted::Planted;
pub use view::{LinkState, OpenAction, Standing};
