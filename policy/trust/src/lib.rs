//! Predictions joined to outcomes.
