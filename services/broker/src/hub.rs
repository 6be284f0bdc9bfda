//! What all connections of the broker share.

use std::time::Duration;

use proto::rpc::{OpenSession, RefusalKind, SessionState};
use raft_log::client::{ClientError, LogClient, Producer};
use tokio_util::task::TaskTracker;

use crate::config::BrokerOptions;
use crate::connect::Refusal;
use crate::feed::Feed;
use crate::holder::{Holder, LEASE};
use crate::metrics::Metrics;
use crate::namespace::Warner;
use crate::packet::Connect;
use crate::reason::Reason;
use crate::registry::Registry;
use crate::session::Start;
use crate::updates::Updates;

/// How long a client waits for the log's answer to its CONNECT.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Whether a session exists is asked of a node that is near.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a CONNECT is decided again because the client connected elsewhere meanwhile.
const ATTEMPTS: usize = 5;

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) options: BrokerOptions,
    pub(crate) holder: Holder,
    pub(crate) log: LogClient,
    pub(crate) producer: Producer,
    pub(crate) feed: Feed,
    pub(crate) updates: Updates,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) warner: Warner,
    /// Connections, and what they leave behind.
    pub(crate) tasks: TaskTracker,
}

impl Hub {
    /// Where the client's session starts, and whether it existed. A session that ends with its
    /// connection needs no entry in the log, unless there is an older one to resume or to end.
    pub(crate) async fn open(
        &self,
        connect: &Connect,
        assigned: bool,
    ) -> Result<(Start, bool), Refusal> {
        let opening = async {
            let known = match assigned {
                true => Some(0),
                false => self.known_epoch(&connect.client_id).await,
            };
            if connect.session_expiry > 0 || known.is_some_and(|epoch| epoch > 0) {
                self.open_persistent(connect, known).await
            } else {
                self.open_fresh().await
            }
        };
        tokio::time::timeout(OPEN_TIMEOUT, opening)
            .await
            .unwrap_or_else(|_| {
                let detail = "the hub's log does not answer; try again later";
                Err(Refusal::new(Reason::ServerUnavailable, detail))
            })
    }

    async fn open_fresh(&self) -> Result<(Start, bool), Refusal> {
        Ok((Start::fresh(self.feed.end().await), false))
    }

    /// The session's new epoch, with another expiry.
    pub(crate) async fn open_again(
        &self,
        client_id: &str,
        epoch: u64,
        expiry_seconds: u32,
    ) -> Result<u64, ClientError> {
        let open = OpenSession {
            expected_epoch: Some(epoch),
            ..self.open_session(client_id, expiry_seconds)
        };
        Ok(self.log.open_session(open).await?.session_epoch)
    }

    fn open_session(&self, client_id: &str, expiry_seconds: u32) -> OpenSession {
        OpenSession {
            client_id: client_id.to_owned(),
            holder: self.holder.hold(),
            clean: false,
            expiry_seconds,
            lease_nanos: i64::try_from(LEASE.as_nanos()).unwrap_or(i64::MAX),
            expected_epoch: None,
            attempt: rand::random::<u64>().max(1),
        }
    }

    async fn open_persistent(
        &self,
        connect: &Connect,
        known: Option<u64>,
    ) -> Result<(Start, bool), Refusal> {
        let unavailable = |detail: String| Refusal::new(Reason::ServerUnavailable, detail);
        let state = self.commit_connect(connect, known).await;
        let state = state.map_err(|error| unavailable(error.to_string()))?;
        self.feed.end().await;
        Ok((Start::of(&state), state.present))
    }

    /// Commits the CONNECT after the one that the log is known to have committed last: a CONNECT
    /// that nobody waits for any more then comes too late instead of taking the session.
    async fn commit_connect(
        &self,
        connect: &Connect,
        known: Option<u64>,
    ) -> Result<SessionState, ClientError> {
        let mut open = OpenSession {
            clean: connect.clean_start,
            expected_epoch: known,
            ..self.open_session(&connect.client_id, connect.session_expiry)
        };
        for _ in 1..ATTEMPTS {
            match self.log.open_session(open.clone()).await {
                Err(ClientError::Refused(refusal))
                    if refusal.kind() == RefusalKind::StaleSession =>
                {
                    open.expected_epoch = Some(refusal.expected);
                }
                outcome => return outcome,
            }
        }
        self.log.open_session(open).await
    }

    /// Epoch of the client's session as a near node knows it, 0 when there is none. A log that does
    /// not answer knows nothing.
    async fn known_epoch(&self, client_id: &str) -> Option<u64> {
        let known = tokio::time::timeout(LOOKUP_TIMEOUT, self.log.session(client_id)).await;
        let session = known.ok()?.ok()?;
        Some(session.map_or(0, |session| session.session_epoch))
    }
}

/// An id for a client that brings none \[MQTT-3.1.3-6\].
pub(crate) fn fresh_client_id() -> String {
    format!("updraft-{:016x}", rand::random::<u64>())
}
