//! The executable as a person uses it: real processes, real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tidy;
mod metrics;
mod cli;
mod init;
mod schema;
mod compose;
mod demo;
mod lab;
mod view;
mod audit;
mod guides;
