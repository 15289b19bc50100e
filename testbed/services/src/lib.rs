//! Starters of the real neighbours that tests use.
