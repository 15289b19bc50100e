//! Decides the next move of a rollout: a new image taken to a workload in steps that measurements may stop.
//!
//! Told what was observed and measured ([`Rollout::advance`], [`Rollout::measured`]), it answers with changes to make. It is level
//! based: each answer follows from its own state and what is observed now, so a change that was lost, done twice or done by somebody
//! else needs no memory, and a hub that starts again goes on where it was.
//!
//! Invariants: ready replicas of all roles together are never taken below what there was at the start; nothing shrinks on account of
//! something that could not be read; missing data is never success; every phase that is not an end has a deadline and leaves it for
//! another phase; a rollout is `Completed` only when the new image was seen to run on all replicas and nothing of the rollout is left.
//!
//! Read next: `rollouts/spec.rs` (what is asked), `rollouts/facts.rs` (what is observed, what is changed), `rollouts/machine.rs` (the
//! moves), `rollouts/verdict.rs` (measurements), `rollouts/commands.rs` (people), `rollouts/subject.rs` (documents, entries and effects).

mod commands;
mod facts;
mod machine;
mod phase;
mod record;
mod report;
mod sizes;
mod spec;
mod subject;
mod v1;
mod verdict;

#[cfg(test)]
mod tests;

pub use commands::{Command, Refused};
pub use facts::{Change, Facts, Look, Measure, Role, RoleFacts, Seen};
pub use machine::{Advance, Moved, Rollout, Start, StartError};
pub use phase::Phase;
pub use record::RolloutRecord;
pub use spec::{Analysis, Deadlines, ErrorQuery, MetricQuery, RolloutSpec, Route, SpecError, Step, Traffic};
pub use subject::RolloutRequest;
pub(crate) use subject::Rollouts;
pub use verdict::{Check, Measured};
