//! Messages and gRPC services generated from `proto/updraft/v1/*.proto`.

mod generated {
    #![allow(
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        clippy::unwrap_used,
        missing_debug_implementations,
        unreachable_pub,
        reason = "generated code is not held to the house style"
    )]
    tonic::include_proto!("updraft.v1");
}

pub use generated::*;

/// What one gRPC message may hold: a batch of the largest record and its envelope.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;
