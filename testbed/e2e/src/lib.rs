//! Real processes on loopback, real faults, and a real browser.
