//! Real processes under faults.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

mod init;
mod nab;
mod quorum;
mod membership;
mod guards;
#[cfg(feature = "sabotage")]
mod controls;
mod bad_input;
mod browser;
mod k3s;
mod telemetry;
