//! Thousands of cores in one seeded process, with every fault that one machine can imagine.
