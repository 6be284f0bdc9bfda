//! The vocabulary of Updraft: what a record is, how records are encoded and what the services
//! say to each other. It knows nothing of any other part.
//!
//! A reader starts with [`record`], goes on to [`batch`] (records encoded together, once) and
//! [`envelope`] (what a batch travels in); [`rpc`] is what is generated from the `.proto` files.

pub mod ids;
pub mod record;
pub mod batch;
pub mod envelope;
pub mod topic;
pub mod rules;
pub mod payload;
pub mod wave;
pub mod report;
pub mod rpc;

pub use batch::Batch;
pub use envelope::Origin;
pub use ids::{HubPath, Incarnation, Lane, Nanos, NodeId, Offset, ProducerId, Scope, Sequence};
pub use record::{Quality, Record, Value};
pub use topic::TopicFilter;
