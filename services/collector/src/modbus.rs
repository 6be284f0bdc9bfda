//! Modbus TCP: a device is asked for its registers again and again.
//!
//! ```text
//! tags ─▶ Plan: blocks of adjacent registers ─▶ one read each ─▶ decode ─▶ one sample per tag
//! ```
//!
//! Every poll gives a sample of every tag, changed or not. After a time-out or any other fault of
//! the connection it is dropped: an answer that comes late must never be taken for the next one.

mod address;
mod decode;
mod plan;
mod poll;

pub(crate) use address::Address;
pub(crate) use poll::{Modbus, Settings};
