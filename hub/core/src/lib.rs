//! The hub as a pure state machine: it is told ([`Hub::handle`]), then asked ([`Hub::poll_effect`], [`Hub::poll_timeout`]).
//!
//! Never waits, never reads a clock, never does I/O, never draws randomness beyond its seed.
//!
//! Invariant: an `Ack`, a `Command` or a bundle leaves only after the row that it stands for has come back as [`Input::Stored`].
//!
//! Read next: `input.rs` and `effect.rs` (the border), `hub.rs` (the turn), `sessions.rs` (the conversation with one agent).

mod access;
mod admission;
mod agents;
mod bundles;
mod chain;
mod checkpoints;
mod clusters;
mod commands;
mod cx;
mod documents;
mod domains;
mod effect;
mod feed;
mod fleet;
mod hub;
pub mod idempotency;
mod ingest;
mod input;
mod journal;
mod pace;
mod peek;
pub mod placement;
pub mod plans;
mod planted;
mod random;
mod restore;
mod retention;
mod roles;
pub mod rollouts;
mod rooms;
pub mod scaling;
mod sessions;
pub mod tasks;
mod timers;
mod views;
pub mod webhooks;
mod windows;
mod writer;

pub use access::{Access, AccessRequest, ApiToken, Invite, NewUser, Session, User};
pub use agents::{
    AgentRequest, Agents, Certificates, Fork, How, Identity, JoinToken, Joining, NewToken, Rejoining, Renewing, Shut,
};
pub use chain::Hole;
pub use checkpoints::{Checkpointing, Held, JournalBreak};
pub use clusters::{
    Attempt, Cluster, ClusterChange, ClusterRequest, DeploymentStanding, KubeEffect, KubeInput, NodeStanding, Standing,
    Was,
};
pub use documents::encode as encode_document;
pub use documents::{Document, DocumentError, Put, StoredDocument, Unreadable, decode as decode_document};
pub use effect::{Answer, Batch, Change, Effect, Row, Samples, Token};
pub use feed::is_charted;
pub use hub::Hub;
pub use input::{Input, Recovered, Request, SessionId, Settings, StoredAgent};
pub use planted::Planted;
pub use retention::{Quota, Spared, fair_share};
pub use rooms::{Amount, KubeDeployment, KubeFacts, KubeNode, KubeUse, Mend, PlacementAsk};
pub use tasks::{NewTask, Right, Task, TaskRequest, TaskState};
pub use views::{Latest, Reported};
pub use wire::frame::STOPPED;
