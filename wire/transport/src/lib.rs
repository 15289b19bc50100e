//! QUIC with mutual TLS for both ends: endpoint, TLS settings, framed streams.
