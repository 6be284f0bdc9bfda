//! Why the forwarder can't start, and why a connection to the parent ended.

use kit::config::ConfigError;
use proto::rpc::{Refusal, RefusalKind};
use raft_log::client::ClientError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("forwarder: configuration")]
    Config(#[from] ConfigError),
    #[error("forwarder: the log of this hub")]
    Log(#[from] ClientError),
}

/// Why a lane's connection ended; it is made again, sooner or later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Another node of this hub forwards the lane.
    #[error("another node of this hub forwards")]
    Elsewhere,
    #[error("the log of this hub: {0}")]
    Log(ClientError),
    #[error("the log of this node is not part of the hub, or the hub is not formed yet")]
    NotFormed,
    #[error("the parent can't be reached: {0}")]
    Unreachable(String),
    #[error("the parent can't commit at the moment: {}", .0.message)]
    Busy(Refusal),
    /// Trying again changes nothing: a person must look.
    #[error("the parent refused: {}", .0.message)]
    Refused(Refusal),
    #[error(
        "this hub and its parent disagree about {origin}: {what}; this hub lost data or was \
         restored from a backup"
    )]
    Forked { origin: String, what: String },
    /// Retention never passes this cursor: it was claimed when the records were gone.
    #[error(
        "{0}; the parent takes no gap, so it can't have this hub's log any more: form this hub \
         anew below its parent, or give it a parent before records are deleted"
    )]
    Deleted(ClientError),
    #[error("shutdown")]
    Shutdown,
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Ended {
        match error {
            error if error.is_fenced() => Ended::Elsewhere,
            error @ ClientError::Deleted { .. } => Ended::Deleted(error),
            error => Ended::Log(error),
        }
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Ended {
        match refusal.kind() {
            RefusalKind::NotLeader
            | RefusalKind::NoQuorum
            | RefusalKind::ShuttingDown
            | RefusalKind::Full
            | RefusalKind::Outdated => Ended::Busy(refusal),
            _ => Ended::Refused(refusal),
        }
    }
}

impl From<tonic::Status> for Ended {
    fn from(status: tonic::Status) -> Ended {
        match raft_log::refusal::from_status(&status) {
            Some(refusal) => refusal.into(),
            None => Ended::Unreachable(status.message().to_owned()),
        }
    }
}

/// The innermost reason; the outer ones only say "transport error".
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
