//! The embedded InfraMind.
