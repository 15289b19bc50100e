//! PatchBot.
