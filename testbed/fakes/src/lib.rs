//! Simulated neighbours: GPUs behind the probe pipe ([`gpu`]), and what both fakes share ([`control`]).
//!
//! Nothing here ships. The agent knows none of it: it starts `sentinel-fake-gpu` as it would start any probe, and
//! `sentinel-fake-workload` as it would start any supervised process.

pub mod control;
pub mod gpu;
