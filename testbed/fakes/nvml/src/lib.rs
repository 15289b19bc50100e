//! A fake libnvidia-ml.
