//! A console on a real log of one node, asked over HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

mod sign_in;
mod guarded;
mod pages;
mod tags;
mod trends;
mod waves;
mod lab;
mod tls;
