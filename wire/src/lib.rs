//! Every word that travels between processes or is stored on a disk, once.
//!
//! Pure: no clock, no I/O, no randomness. Every type here is plain data with `serde`; bytes on the wire and in the
//! journal are postcard (non-recursive, trailing bytes are an error), and JSON appears only in [`api`].
//!
//! Read next: [`entry`] (what is journaled), [`frame`] (what travels), [`decision`] (what was judged and why).

pub mod access;
pub mod action;
pub mod api;
pub mod breakglass;
pub mod bundle;
pub mod change;
pub mod chart;
pub mod checkpoint;
pub mod codec;
pub mod decision;
pub mod demand;
pub mod domains;
pub mod enroll;
pub mod entry;
pub mod exposition;
pub mod fault;
pub mod frame;
pub mod ids;
pub mod kube;
pub mod parcel;
pub mod plan;
pub mod probe;
pub mod reading;
pub mod roles;
#[cfg(feature = "schema")]
mod schema;
mod sealed;
pub mod telemetry;
pub mod time;
pub mod view;

pub use access::{Permission, Role};
pub use action::{Action, ActionKind, Origin, Outcome, OutcomeState};
pub use breakglass::{BreakGlass, BreakGlassPayload};
pub use bundle::{Beacon, BundleRef, SignedBundle};
pub use change::{Caller, ChangeRecord, DocumentRef, Via};
pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use decision::{Decision, Verdict};
pub use demand::Demand;
pub use entry::{Entry, EntryBody, RawEntry};
pub use frame::Frame;
pub use ids::{AgentId, CommandId, DecisionId, Digest, Epoch, Generation, HubEpoch, PlanId, Seq};
pub use parcel::Parcel;
pub use plan::{Plan, PlanState, StepState};
pub use reading::{DeviceId, Quantity, Reading, Series, Unit};
pub use roles::{RoleChain, RoleName, Roles, SignedRoles};
pub use time::{Mono, Now, Wall};
