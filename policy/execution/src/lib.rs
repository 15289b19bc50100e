//! Intent, effect, outcome.
