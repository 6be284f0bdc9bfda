//! The executable as a person uses it: real processes, real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tidy;
mod cli;
mod demo;
mod audit;
