//! The agent: sensors, actuators, journal, link and local API around the pure core.
fn main() {}
