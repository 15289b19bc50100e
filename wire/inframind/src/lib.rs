//! The gRPC contract with InfraMind.
