//! The driver against a real control plane, which starts once for all tests here, and against a server that answers badly on purpose.
//!
//! Pods of the control plane run no containers (kwok), so logs cannot be read here.

mod faults;
mod nodes;
mod plane;
mod watching;
mod workloads;
