//! Simulated neighbours: GPUs behind the probe pipe, and a workload that can leak.
