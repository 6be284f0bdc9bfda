//! From a real log into real databases.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod rig;

mod exactly_once;
mod handover;
