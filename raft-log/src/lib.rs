//! The replicated log of a hub, as a library.
//!
//! ```text
//! client ──gRPC──▶ node ──openraft──▶ raft::store ──▶ segment files      (what was said)
//!                    ▲                     │
//!                    │                     └──▶ raft::machine ──▶ state   (what follows from it)
//!                    └── tails read ◀── shared ◀──────┴──▶ index, checkpoints
//! ```
//!
//! Reading order: [`client`] is what the other services use; [`node`] puts a node together;
//! [`state`] is what entries do; [`segment`] keeps frames on disk and knows nothing of Raft;
//! [`environment`] is the machine under all of it.

pub mod client;
pub mod node;
pub mod refusal;
pub mod trace;
pub mod state;
pub mod environment;
mod shared;
mod index;
mod checkpoint;
mod raft;
pub mod segment;
#[cfg(feature = "sabotage")]
pub mod sabotage;

pub use node::{Node, NodeConfig, NodeError};
