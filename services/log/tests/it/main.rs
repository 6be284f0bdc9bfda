//! The log service as its clients see it: real ports, real files, nodes started and stopped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;
mod cluster;
mod membership;
mod succession;
mod readiness;
mod producer;
mod uplink;
mod reports;
mod retention;
mod last;
#[cfg(feature = "sabotage")]
mod compare;
