//! Hubs one above the other, within the test's process: real ports, real files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;
mod topology;
