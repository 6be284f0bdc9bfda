//! What all connections of the broker share.

use std::time::Duration;

use proto::rpc::OpenSession;
use raft_log::client::{ClientError, LogClient, Producer};
use tokio_util::task::TaskTracker;

use crate::config::BrokerOptions;
use crate::connect::Refusal;
use crate::feed::Feed;
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

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) options: BrokerOptions,
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
        let persistent =
            connect.session_expiry > 0 || !assigned && self.has_session(&connect.client_id).await;
        let opening = async {
            if persistent {
                self.open_persistent(connect).await
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
        expiry_seconds: u32,
    ) -> Result<u64, ClientError> {
        let open = OpenSession {
            client_id: client_id.to_owned(),
            holder: self.holder(),
            clean: false,
            expiry_seconds,
        };
        Ok(self.log.open_session(open).await?.session_epoch)
    }

    fn holder(&self) -> String {
        format!("node {}", self.options.node_id)
    }

    async fn open_persistent(&self, connect: &Connect) -> Result<(Start, bool), Refusal> {
        let open = OpenSession {
            client_id: connect.client_id.clone(),
            holder: self.holder(),
            clean: connect.clean_start,
            expiry_seconds: connect.session_expiry,
        };
        let state = self
            .log
            .open_session(open)
            .await
            .map_err(|error| Refusal::new(Reason::ServerUnavailable, error.to_string()))?;
        self.feed.end().await;
        Ok((Start::of(&state), state.present))
    }

    /// A log that does not answer is as good as no session.
    async fn has_session(&self, client_id: &str) -> bool {
        let known = tokio::time::timeout(LOOKUP_TIMEOUT, self.log.session(client_id)).await;
        matches!(known, Ok(Ok(Some(_))))
    }
}

/// An id for a client that brings none \[MQTT-3.1.3-6\].
pub(crate) fn fresh_client_id() -> String {
    format!("updraft-{:016x}", rand::random::<u64>())
}
