//! Kubernetes clusters.
