//! The real `sentinel` against a hub and nodes that a test speaks for: what is asked, what is printed, and how it ends.
#![allow(clippy::unwrap_used)]

mod context;
mod glass;
mod lists;
mod policy;
mod rows;
mod support;
mod verbs;
