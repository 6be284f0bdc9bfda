//! What every service needs and none should write twice.
//!
//! A service is built from a [`service::Context`] and run by [`service`]: the configuration file
//! is read and checked ([`config`]), telemetry starts ([`telemetry`]), the services open what they
//! need, and only then does anything run, until a signal or the end of one service stops them all
//! ([`shutdown`]). While they run, [`http`] tells how they are, from what the parts said about
//! themselves ([`ready`]).

pub mod service;

pub mod config;
pub mod tls;

pub mod telemetry;

pub mod http;
pub mod ready;

pub mod backoff;
pub mod listen;
pub mod shutdown;
