//! Measurements, side by side in one run: `cargo bench -p updraft-benches --bench append`.
//!
//! What several of them use: how they begin, the disk by itself, producers that keep so many records under way, and
//! the table of results.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

pub mod start;
pub mod disk;
pub mod load;
pub mod table;
