//! What cargo run starts: a real hub and real agents on this machine, and a tour.
fn main() {}
