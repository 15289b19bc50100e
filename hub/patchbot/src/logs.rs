//! Reads the text that a failed step wrote and says what failed.
//!
//! One pass over the bytes: each line is unwrapped (`line.rs`), held against the result lines of many tools (`phrases.rs`), against
//! the ways in which tools name a file and a line (`grammars.rs`), and against complaints of several lines (`blocks.rs`). What
//! remains are findings; `decide.rs` picks the one that explains the failure, or abstains.
//!
//! Never runs anything, never reads the network. Cost is linear in the log; memory is bounded by [`scan::FINDINGS`].

pub mod blocks;
pub mod decide;
pub mod grammars;
pub mod line;
pub mod name;
pub mod phrases;
pub mod scan;
