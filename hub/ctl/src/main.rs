//! The command line for a hub and for an agent own socket.
fn main() {}
