//! Everything that touches openraft: its types, and our storage, state machine and network under
//! them. Nothing outside this module names one of its types, so that a new version of it stays a
//! matter of these files.
//!
//! [`store`] keeps openraft's log in segment files, [`machine`] applies it, [`network`] and
//! [`service`] are the two ends of the wire between nodes, [`convert`] turns openraft's types
//! into messages and back.

pub(crate) mod types;
pub(crate) mod convert;
pub(crate) mod store;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod heard;
pub(crate) mod peers;
pub(crate) mod succession;
pub(crate) mod service;

#[cfg(test)]
mod tests;
