//! Why the writer can't start, and why a stretch of writing ended.

use std::time::Duration;

use historian::{OpenError, Retry};
use kit::config::ConfigError;
use proto::Offset;
use proto::envelope::Invalid;
use proto::rpc::RefusalKind;
use raft_log::client::ClientError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("writer: configuration")]
    Config(#[from] ConfigError),
    #[error("writer: the log of this hub")]
    Log(#[from] ClientError),
    #[error("writer")]
    Open(#[from] OpenError),
    #[error("writer: opening the historian panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Why a stretch of writing ended; another one follows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Another node of this hub writes to the same historian.
    #[error("another node of this hub writes")]
    Elsewhere,
    #[error("the log of this hub: {0}")]
    Log(ClientError),
    #[error(transparent)]
    Historian(#[from] historian::Error),
    #[error(
        "the historian has everything below offset {cursor}, which is beyond the end of this hub's \
         log: this is another hub's historian, or the log lost data; give this hub a new \
         historian, or bring its log back"
    )]
    Ahead { cursor: Offset },
    /// Nobody else had the lease when the historian was taken from us.
    #[error(
        "another process writes to the same historian as {holder:?} of the same hub; give each \
         node an id of its own, or stop one of the two"
    )]
    Twin { holder: String },
    #[error("the log delivered what no log delivers: {0}")]
    Delivery(#[from] Invalid),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Ended {
        if error.is_fenced() {
            Ended::Elsewhere
        } else {
            Ended::Log(error)
        }
    }
}

/// How loud an end is, and when the next stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// As soon as it makes sense: nothing is wrong with this writer.
    Soon,
    /// The more often in a row, the later.
    WithBackoff,
    /// A person must look.
    Loud,
}

impl Ended {
    /// What failed, if anything did: a hand-over to another node is as it should be.
    pub(crate) fn of(&self) -> Option<&'static str> {
        match self {
            Ended::Elsewhere | Ended::Historian(historian::Error::Fenced { .. }) => None,
            Ended::Log(_) | Ended::Delivery(_) => Some("log"),
            Ended::Historian(_) | Ended::Ahead { .. } | Ended::Twin { .. } => Some("historian"),
        }
    }

    pub(crate) fn next(&self) -> Next {
        match self {
            Ended::Elsewhere => Next::Soon,
            Ended::Log(_) => Next::WithBackoff,
            Ended::Historian(error) => match error.retry() {
                Retry::WithBackoff => Next::WithBackoff,
                Retry::Slowly => Next::Loud,
                // As it should be when the lease was lost; asking for the lease will tell.
                Retry::Never => Next::Soon,
            },
            Ended::Ahead { .. } | Ended::Twin { .. } | Ended::Delivery(_) => Next::Loud,
        }
    }

    /// A position beyond the log's end is refused as invalid by the log itself, which unlike a
    /// single node knows its end.
    pub(crate) fn of_position(error: ClientError, cursor: Offset) -> Ended {
        match &error {
            ClientError::Refused(refusal) if refusal.kind() == RefusalKind::Invalid => {
                Ended::Ahead { cursor }
            }
            _ => error.into(),
        }
    }
}

const SOON: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LOUD_PAUSE: Duration = Duration::from_secs(15);

/// The pause after the `failures`th end in a row (from 1), made longer or shorter by `jitter`
/// (0 to 1), so that the writers of many hubs don't come back to one database all at once.
pub(crate) fn pause(next: Next, failures: u32, jitter: f64) -> Duration {
    match next {
        Next::Soon => SOON,
        Next::Loud => LOUD_PAUSE,
        Next::WithBackoff => {
            let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
            doubled
                .min(LONGEST_PAUSE)
                .mul_f64(0.5 + jitter.clamp(0.0, 1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_an_end() {
        let unavailable = || historian::Error::Unavailable("x".into());
        let fenced = || historian::Error::Fenced {
            stream: "s".into(),
            epoch: 1,
            found: 2,
        };
        let refused = |kind: RefusalKind| {
            let refusal = proto::rpc::Refusal {
                kind: kind.into(),
                ..Default::default()
            };
            ClientError::Refused(refusal)
        };
        let cursor = Offset(9);
        for (ended, next) in [
            (Ended::from(unavailable()), Next::WithBackoff),
            (Ended::from(fenced()), Next::Soon),
            (Ended::from(refused(RefusalKind::Fenced)), Next::Soon),
            (Ended::from(ClientError::NoEndpoints), Next::WithBackoff),
            (
                Ended::of_position(refused(RefusalKind::Invalid), cursor),
                Next::Loud,
            ),
            (
                Ended::of_position(refused(RefusalKind::Fenced), cursor),
                Next::Soon,
            ),
        ] {
            assert_eq!(ended.next(), next, "{ended}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let millis = |failures, jitter| pause(Next::WithBackoff, failures, jitter).as_millis();
        assert_eq!(
            (millis(1, 0.5), millis(2, 0.5), millis(4, 0.5)),
            (100, 200, 800)
        );
        assert_eq!((millis(1, 0.0), millis(1, 1.0)), (50, 150));
        assert_eq!(millis(u32::MAX, 0.5), 10_000);
        assert_eq!(pause(Next::Loud, 9, 0.5), LOUD_PAUSE);
    }
}
