//! The rig: real peers that tests start themselves, and what they are tortured with.
//!
//! [`readings`] are what is sent, a stock [`client`] sends them, [`nemesis`] kills meanwhile, and
//! [`check`] compares what was sent with what is [`stored`].

pub mod readings;
pub mod client;
pub mod wire;
pub mod flood;

pub mod nemesis;
pub mod process;
pub mod service;
pub mod postgres;
pub mod otlp;
pub mod prometheus;
pub mod browser;

pub mod stored;
pub mod check;
pub mod wait;
#[cfg(feature = "sabotage")]
pub mod sabotage;
