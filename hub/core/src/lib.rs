//! The hub as a pure state machine: it is told ([`Hub::handle`]), then asked ([`Hub::poll_effect`], [`Hub::poll_timeout`]).
//!
//! Never waits, never reads a clock, never does I/O, never draws randomness beyond its seed.
//!
//! Invariant: an `Ack`, a `Command` or a bundle leaves only after the row that it stands for has come back as [`Input::Stored`].
//!
//! Read next: `input.rs` and `effect.rs` (the border), `hub.rs` (the turn), `sessions.rs` (the conversation with one agent).

mod effect;
mod input;

pub use effect::{Answer, Batch, Change, Effect, Row, Token};
pub use input::{Input, Recovered, Request, SessionId, Settings, StoredAgent};
