//! The log in a world that is simulated: the real code of `raft-log` and of the log service, with
//! openraft and gRPC, over a network, disks and clocks that fail by a seed.
//!
//! ```text
//!   plan (from the seed) ──▶ world ──steps──▶ turmoil: hosts node-1 … producer-1 … tail-1 …
//!                              │                 │ raft_log::environment::Environment
//!                              │                 ▼
//!                              │               machine: clock, net, disk (Storage)
//!                              ▼                 │
//!   invariants ◀── look ◀── what nodes say, what disks would keep, what clients saw (history)
//! ```
//!
//! Reading order: [`plan`] says what goes wrong, [`world`] makes it happen and looks, [`invariants`]
//! judge. A failing seed is replayed by `cargo sim --seeds <seed> -v`.
//!
//! One process runs one seed: nothing is left over from the seed before, and a replay is the same to
//! the message. What does not follow from the seed: sled's own threads (the offset index lies on the
//! real file system, and answers the same whatever they do), the wall clock in the `date` header of
//! HTTP and in h2's memory of streams that were reset, and the durations in metrics and traces.

pub mod command;
pub mod plan;
pub mod world;
pub mod invariants;
pub mod look;
pub mod history;
pub mod coverage;
mod host;
mod clients;
mod machine;
mod net;
pub mod disk;
pub mod entropy;
