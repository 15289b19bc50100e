//! Scaling of deployments by their load: how many replicas there should be, and the plans that bring them.
//!
//! Pure: loads and forecasts are told, never asked for. Read next: `scaling/scaler.rs` (how many), `scaling/subject.rs` (when).

mod record;
mod scaler;
mod subject;

pub use record::{ScalingRecord, ScalingRule};
pub use scaler::{Desired, Measured, Scaler, Spec, Why};
pub(crate) use subject::Scaling;
pub use subject::{LoadSeen, ScalingRequest};
