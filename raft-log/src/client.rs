//! How the services of a hub reach its log over gRPC, whichever node leads.
//!
//! [`LogClient`] finds the leader and follows it; [`Producer`] groups records into batches and
//! appends them exactly once; [`LogClient::tail`] reads from an offset on and goes on by itself
//! after a fault.

mod channels;
mod cluster;
mod last;
mod producer;
mod tail;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use proto::rpc::command::Operation;
use proto::rpc::propose_response::Reply;
use proto::rpc::{self, CursorPosition, CursorState, RefusalKind, SessionState, SessionUpdate};
use proto::{Batch, Nanos, Offset, Record};
use tokio::time::Instant;

use crate::environment::{Environment, Real};
use channels::Channels;
pub(crate) use channels::connect_in;
pub use channels::connect_lazy;
pub use last::{LastValue, LastValuesPage};
pub use producer::{AppendError, Pending, Producer, ProducerOptions};
pub use tail::TailFrom;

/// How long a request that changes something waits for a leader and a quorum.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before the next node is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port` of the hub's log nodes. Reads go to the first one that answers.
    pub endpoints: Vec<String>,
    pub group: u32,
    /// Clear text when absent.
    pub tls: Option<tonic::transport::ClientTlsConfig>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    #[error("log endpoint {endpoint:?} is not valid: {reason}")]
    Endpoint { endpoint: String, reason: String },
    #[error("no log nodes are configured")]
    NoEndpoints,
    /// The log has decided; asking again changes nothing.
    #[error("the log refused: {}", .0.message)]
    Refused(rpc::Refusal),
    /// Nobody took it in time; it may or may not have been committed.
    #[error("the log did not answer: {reason}")]
    Unavailable { reason: String },
    #[error("the log answered with something else than was asked for")]
    UnexpectedReply,
    #[error(
        "the log has deleted what was to be read: offsets {from} to {} (retention); it begins at \
         {first}", .first - 1
    )]
    Deleted { from: u64, first: u64 },
}

impl ClientError {
    /// The claim or session was taken over by somebody else.
    pub fn is_fenced(&self) -> bool {
        let kind = |kind: RefusalKind| i32::from(kind);
        matches!(self, ClientError::Refused(refusal)
            if refusal.kind == kind(RefusalKind::Fenced)
                || refusal.kind == kind(RefusalKind::StaleSession))
    }
}

/// A handle on a hub's log; cheap to clone.
#[derive(Clone, Debug)]
pub struct LogClient {
    channels: Channels,
    group: u32,
}

impl LogClient {
    /// Connects when it is first used.
    pub fn new(config: ClientConfig) -> Result<LogClient, ClientError> {
        LogClient::new_in(Arc::new(Real), config)
    }

    /// On another machine than the real one.
    pub fn new_in(
        environment: Arc<dyn Environment>,
        config: ClientConfig,
    ) -> Result<LogClient, ClientError> {
        let channels = Channels::new(environment, &config.endpoints, config.tls.as_ref())?;
        Ok(LogClient {
            channels,
            group: config.group,
        })
    }

    /// What the nearest node knows.
    pub async fn status(&self) -> Result<rpc::StatusResponse, ClientError> {
        let group = self.group;
        self.nearest(|mut log| async move { log.status(rpc::StatusRequest { group }).await })
            .await
    }

    pub async fn cursors(&self) -> Result<Vec<CursorState>, ClientError> {
        let group = self.group;
        let cursors =
            self.nearest(|mut log| async move { log.cursors(rpc::CursorsRequest { group }).await });
        Ok(cursors.await?.cursors)
    }

    /// A client's persistent session, as the nearest node has applied it.
    pub async fn session(&self, client_id: &str) -> Result<Option<SessionState>, ClientError> {
        let session = self.nearest(|mut log| {
            let request = rpc::SessionRequest {
                group: self.group,
                client_id: client_id.into(),
            };
            async move { log.session(request).await }
        });
        Ok(session.await?.session)
    }

    /// Makes `holder` the only consumer under this name for `lease`; again before it ends.
    /// Refused as fenced while somebody else holds it.
    pub async fn claim_cursor(
        &self,
        name: &str,
        holder: &str,
        lease: Duration,
        pinning: bool,
    ) -> Result<CursorState, ClientError> {
        let claim = rpc::ClaimCursor {
            name: name.into(),
            holder: holder.into(),
            lease_nanos: i64::try_from(lease.as_nanos()).unwrap_or(i64::MAX),
            pinning,
        };
        match self.propose(Operation::ClaimCursor(claim)).await? {
            Reply::Cursor(cursor) => Ok(cursor),
            _ => Err(ClientError::UnexpectedReply),
        }
    }

    /// Lets go of a cursor that nobody holds any more, so that it keeps no records; refused as fenced
    /// while somebody does. Whoever claims it again goes on where it stands.
    pub async fn release_cursor(&self, name: &str) -> Result<CursorState, ClientError> {
        self.claim_cursor(name, "", Duration::ZERO, false).await
    }

    pub async fn commit_cursors(&self, cursors: Vec<CursorPosition>) -> Result<(), ClientError> {
        self.propose(Operation::CommitCursors(rpc::CommitCursors { cursors }))
            .await
            .map(drop)
    }

    /// Commits an MQTT CONNECT; from then on nothing of the client's earlier connections is taken.
    pub async fn open_session(&self, open: rpc::OpenSession) -> Result<SessionState, ClientError> {
        match self.propose(Operation::OpenSession(open)).await? {
            Reply::Session(session) => Ok(session),
            _ => Err(ClientError::UnexpectedReply),
        }
    }

    /// Says that this holder of sessions lives: see [`rpc::HoldSessions`].
    pub async fn hold_sessions(&self, holder: &str, lease: Duration) -> Result<(), ClientError> {
        let hold = rpc::HoldSessions {
            holder: holder.into(),
            lease_nanos: i64::try_from(lease.as_nanos()).unwrap_or(i64::MAX),
        };
        self.propose(Operation::HoldSessions(hold)).await.map(drop)
    }

    pub async fn update_sessions(&self, sessions: Vec<SessionUpdate>) -> Result<(), ClientError> {
        self.propose(Operation::UpdateSessions(rpc::UpdateSessions { sessions }))
            .await
            .map(drop)
    }

    /// Where records begin that were committed at `time` or later, as the nearest node has applied
    /// them.
    pub async fn offset_at(&self, time: Nanos) -> Result<Offset, ClientError> {
        let request = rpc::OffsetAtRequest {
            group: self.group,
            time: time.0,
        };
        let found = self.nearest(|mut log| async move { log.offset_at(request).await });
        Ok(Offset(found.await?.offset))
    }

    /// The retained messages whose topics match, and the offset they are current up to.
    pub async fn retained(
        &self,
        filters: Vec<String>,
    ) -> Result<(Vec<Record>, Offset), ClientError> {
        let request = rpc::RetainedRequest {
            group: self.group,
            filters,
        };
        let retained = self.nearest(|mut log| {
            let request = request.clone();
            async move { log.retained(request).await }
        });
        let mut stream = retained.await?;
        let mut records = Vec::new();
        let mut current = Offset(0);
        while let Some(response) = stream.message().await.map_err(unavailable)? {
            current = Offset(response.next_offset);
            if !response.batch.is_empty() {
                let batch = Batch::decode(&response.batch).map_err(unavailable)?;
                records.extend(batch);
            }
        }
        Ok((records, current))
    }

    /// Opens a producer; its records are appended in the order they are given.
    pub fn producer(&self, options: ProducerOptions) -> Producer {
        Producer::start(self.clone(), options)
    }

    /// Proposes until it is committed, refused for good or [`PROPOSE_TIMEOUT`] is over. Every
    /// operation that goes this way may be repeated without harm.
    pub async fn propose(&self, operation: Operation) -> Result<Reply, ClientError> {
        let command = rpc::Command {
            leader_time: 0,
            operation: Some(operation),
        };
        let request = rpc::ProposeRequest {
            group: self.group,
            command: Some(command),
        };
        let deadline = Instant::now() + PROPOSE_TIMEOUT;
        loop {
            self.learn_members();
            let mut log = self.channels.leader();
            let attempt = tokio::time::timeout_at(deadline, log.client.propose(request.clone()));
            let answered = tokio::select! {
                answered = attempt => answered,
                () = self.displaced(log.index) => continue,
            };
            let status = match answered {
                Ok(Ok(response)) => {
                    return response
                        .into_inner()
                        .reply
                        .ok_or(ClientError::UnexpectedReply);
                }
                Ok(Err(status)) => status,
                Err(_) => tonic::Status::deadline_exceeded("no leader with a quorum answered"),
            };
            let refusal = refusal_of(&status);
            if !is_transient(&refusal) {
                return Err(ClientError::Refused(refusal));
            }
            if Instant::now() + RETRY_PAUSE > deadline {
                return Err(unavailable(refusal.message));
            }
            self.channels.follow(log.index, &refusal);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks one node after the other, starting with the one that answered last.
    async fn nearest<T, F>(&self, ask: impl Fn(channels::Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let mut reasons = Vec::new();
        for _ in 0..self.channels.len() {
            let log = self.channels.nearest();
            match ask(log.client).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => {
                    self.channels.skip(log.index);
                    reasons.push(format!(
                        "{}: {}",
                        self.channels.address(log.index),
                        why(&status)
                    ));
                }
            }
        }
        Err(unavailable(reasons.join(", ")))
    }
}

/// The innermost reason: the outer ones only say "transport error".
pub(crate) fn why(status: &tonic::Status) -> String {
    let mut innermost: &dyn std::error::Error = status;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => innermost.to_string(),
    }
}

fn unavailable(reason: impl ToString) -> ClientError {
    ClientError::Unavailable {
        reason: reason.to_string(),
    }
}

/// A status without our detail comes from the transport: nobody decided anything.
fn refusal_of(status: &tonic::Status) -> rpc::Refusal {
    crate::refusal::from_status(status).unwrap_or_else(|| rpc::Refusal {
        kind: RefusalKind::NoQuorum.into(),
        message: status.message().to_owned(),
        ..Default::default()
    })
}

/// Whether the same request may be taken later, or by another node.
fn is_transient(refusal: &rpc::Refusal) -> bool {
    matches!(
        RefusalKind::try_from(refusal.kind),
        Ok(RefusalKind::NotLeader
            | RefusalKind::NoQuorum
            | RefusalKind::Full
            | RefusalKind::ShuttingDown)
    )
}
