//! The broker over a real log of one node, and clients that reach it over TCP.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod clients;
mod hub;
mod misuse;
mod nodes;
mod publish;
mod session;
mod subscribe;
mod wire;
