//! The hub: sessions, store, enrolment, API and console around the pure core.
fn main() {}
