//! Refusals as they cross gRPC: a status code for everybody, and the whole [`Refusal`] as a
//! machine-readable detail for our own clients.

use prost::Message;
use proto::rpc::{Refusal, RefusalKind};
use tonic::{Code, Status};

pub fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal {
        kind: kind.into(),
        message: message.into(),
        ..Default::default()
    }
}

/// The gRPC status of a refusal, with the refusal in its details.
pub fn to_status(refusal: &Refusal) -> Status {
    let code = match RefusalKind::try_from(refusal.kind).unwrap_or_default() {
        RefusalKind::NotLeader | RefusalKind::NoQuorum | RefusalKind::ShuttingDown => {
            Code::Unavailable
        }
        RefusalKind::Full => Code::ResourceExhausted,
        RefusalKind::Gap
        | RefusalKind::UnknownProducer
        | RefusalKind::Fenced
        | RefusalKind::Outdated => Code::FailedPrecondition,
        RefusalKind::Forked | RefusalKind::StaleSession => Code::Aborted,
        RefusalKind::Scope => Code::PermissionDenied,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::Unspecified => Code::Unknown,
    };
    Status::with_details(
        code,
        refusal.message.clone(),
        refusal.encode_to_vec().into(),
    )
}

/// `None` when the status was not made by [`to_status`].
pub fn from_status(status: &Status) -> Option<Refusal> {
    if status.details().is_empty() {
        return None;
    }
    Refusal::decode(status.details()).ok()
}
