//! The same suite on every backend, then what only PostgreSQL can go through.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "this is a test"
)]

mod backend;
mod fixture;

mod suite;

mod lists;
mod trends;
mod waves;

mod crash;
mod postgres;
